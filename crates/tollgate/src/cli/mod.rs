//! The command line. Data goes to stdout, messages to stderr.

mod apply;
mod backup;
mod check;
mod key;
mod output;
mod restore;
mod serve;
mod tables;
mod token;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::ConfigProblem;
use crate::demo;

pub(crate) use output::{print_json, print_line, tell_terminal};

/// The exit status for a configuration that cannot work (`EX_CONFIG` of sysexits).
const EX_CONFIG: u8 = 78;

/// The exit status of `diff` when there is a difference.
const DIFFERENT: u8 = 2;

/// The exit status of `tables` when it lists some that cannot be read.
const UNREADABLE: u8 = 3;

#[derive(Parser)]
#[command(name = "tollgate", about = "One governed place to call language models", version)]
struct Arguments {
    /// How data is printed
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Json,
    Table,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(ConfigFile),
    /// Try it: server, provider simulator and endpoints in one process, no keys, no network
    Demo(demo::DemoArguments),
    /// Check a configuration and print the effective values with their origin
    Check(ConfigFile),
    /// Make a server as YAML files say; a second apply changes nothing
    Apply(apply::ApplyArguments),
    /// Print what `apply` would do; exits with 2 when that is anything
    Diff(apply::ApplyArguments),
    /// Access tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// List the Delta tables: where they are, with rows and versions; exits with 3 when some cannot be read
    Tables(ConfigFile),
    /// The keys that seal the secrets
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Copy the data folder, while the server runs
    Backup(backup::BackupArguments),
    /// Make a data folder of a backup
    Restore(restore::RestoreArguments),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration file; without it, the defaults and TOLLGATE_* variables
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error);
            let config = error.chain().any(|cause| cause.is::<ConfigProblem>());
            if config { ExitCode::from(EX_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let output = arguments.output;
    match arguments.command {
        Command::Serve(file) => serve::serve(&file)?,
        Command::Demo(demo) => demo::run(&demo, output)?,
        Command::Check(file) => check::check(&file, output)?,
        Command::Apply(wanted) => apply::apply(&wanted, output)?,
        Command::Diff(wanted) => {
            let same = apply::diff(&wanted, output)?;
            return Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) });
        }
        Command::Token(command) => token::run(&command, output)?,
        Command::Tables(file) => match tables::tables(&file, output)? {
            0 => {}
            unreadable => {
                output::complain(&anyhow::anyhow!("tables that cannot be read: {unreadable}"));
                return Ok(ExitCode::from(UNREADABLE));
            }
        },
        Command::Key(command) => key::run(&command, output)?,
        Command::Backup(wanted) => backup::backup(&wanted, output)?,
        Command::Restore(wanted) => restore::restore(&wanted, output)?,
        Command::Version => version::version(output)?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "tollgate", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The runtime that everything asynchronous of a command runs on.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

//! The binary: configuration, wiring, telemetry, shutdown, command line.

mod accounting;
mod cli;
mod config;
mod data;
mod demo;
mod descriptors;
mod first_start;
mod pages;
mod server;
mod telemetry;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Named, so that no dependency's choice of a TLS provider can get in the way.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    pages::keep_small();
    descriptors::raise_limit();
    cli::run()
}

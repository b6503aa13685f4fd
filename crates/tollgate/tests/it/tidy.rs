//! Rules of this code base that no compiler checks. Each failure says what, where and why.

mod arrows;
mod licences;
mod names;
mod scan;
mod sizes;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;

use scan::Scanned;
use serde_json::Value;

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What git has or would take with `git add`, relative to the root.
fn files() -> Vec<String> {
    let listed = run("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    let there = listed.lines().filter(|path| root().join(path).is_file());
    there.map(str::to_owned).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test asks git and cargo; the server starts no processes")]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn cargo_metadata(arguments: &[&str]) -> Value {
    let arguments = [&["metadata", "--format-version", "1", "--offline"], arguments].concat();
    serde_json::from_str(&run(env!("CARGO"), &arguments)).unwrap()
}

/// A Rust file of a crate without its tests.
struct Source {
    path: String,
    scanned: Scanned,
}

impl Source {
    /// The crate's folder name.
    fn crate_name(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    fn is_in(&self, crates: &[&str]) -> bool {
        crates.contains(&self.crate_name())
    }
}

/// The product: `crates/*/src` without test files and without the tests at the end of a file.
fn product() -> Vec<Source> {
    let is_product = |path: &String| {
        let parts: Vec<&str> = path.split('/').collect();
        let is_test = parts.contains(&"tests") || parts.ends_with(&["tests.rs"]);
        path.ends_with(".rs") && parts[0] == "crates" && parts.get(2) == Some(&"src") && !is_test
    };
    let paths: Vec<String> = files().into_iter().filter(is_product).collect();
    assert!(paths.len() > 50, "only {} files were found: the rules would check nothing", paths.len());
    let source = |path: String| Source { scanned: Scanned::new(&read(&path)).without_tests(), path };
    paths.into_iter().map(source).collect()
}

/// Fails with all violations of a rule and the reason for it.
fn none(violations: &[String], why: &str) {
    assert!(violations.is_empty(), "{why}\n  {}", violations.join("\n  "));
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[test]
fn no_snapshot_waits_for_review() {
    // They are ignored by git, so they are looked for on the disk.
    let mut stale = Vec::new();
    visit(&root().join("crates"), &mut |path| {
        if path.to_string_lossy().ends_with(concat!(".snap", ".new")) {
            stale.push(path.display().to_string());
        }
    });
    none(&stale, "a snapshot that nobody accepted or deleted: `cargo insta review`");
}

fn visit(folder: &Path, see: &mut impl FnMut(PathBuf)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, see);
        } else {
            see(path);
        }
    }
}

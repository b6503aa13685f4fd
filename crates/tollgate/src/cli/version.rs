//! `tollgate version`.

use serde_json::json;

use super::{Output, print_json, print_line};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn version(output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print_json(&json!({"version": VERSION})),
        Output::Table => {
            print_line(&format!("tollgate {VERSION}"));
            Ok(())
        }
    }
}

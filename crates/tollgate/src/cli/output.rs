//! Printing. A closed pipe is no error of ours.

use std::io::{IsTerminal, Write};

use serde::Serialize;

pub(crate) fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

pub(crate) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print_line(&serde_json::to_string(value)?);
    Ok(())
}

/// Prints rows under headings, columns aligned.
pub(super) fn print_table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    print_line(&line(headings));
    rows.iter().for_each(|row| print_line(&line(std::array::from_fn(|at| row[at].as_str()))));
}

pub(super) fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr().lock(), "tollgate: {error:#}");
}

/// For what a person should see once and no log should keep.
pub(crate) fn tell_terminal(text: &str) -> bool {
    let mut stderr = std::io::stderr().lock();
    stderr.is_terminal() && writeln!(stderr, "{text}").is_ok()
}

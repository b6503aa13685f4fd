//! Files and functions stay small enough to be read in one go.

use super::{none, product};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 100;
/// Nine of ten functions are at most this long.
const USUAL_LINES: usize = 35;

#[test]
fn files_are_short() {
    let long = product().into_iter().filter_map(|source| {
        let lines = source.scanned.text.lines().count();
        (lines > FILE_LINES).then(|| format!("{}: {lines} lines", source.path))
    });
    none(
        &long.collect::<Vec<_>>(),
        &format!("a file of more than {FILE_LINES} lines has more than one subject: split it by subject"),
    );
}

#[test]
fn functions_are_short() {
    let (mut lengths, mut long) = (Vec::new(), Vec::new());
    for source in product() {
        for function in source.scanned.functions() {
            lengths.push(function.lines);
            if function.lines > FUNCTION_LINES {
                long.push(format!(
                    "{}:{}: {} has {} lines",
                    source.path, function.line, function.name, function.lines
                ));
            }
        }
    }
    lengths.sort_unstable();
    let at = |percent: usize| lengths[(lengths.len() - 1) * percent / 100];
    println!("{} functions: p50 {}, p90 {}, longest {} lines", lengths.len(), at(50), at(90), at(100));
    none(&long, &format!("a function of more than {FUNCTION_LINES} lines does more than one thing"));
    assert!(at(90) <= USUAL_LINES, "one of ten functions has {} lines or more: most must be small", at(90));
}

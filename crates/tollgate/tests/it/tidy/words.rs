//! Words and calls that must not be in the code.

use super::{Source, files, none, product, read};

/// Everything that `code` contains of `calls`, with its place.
fn calls(source: &Source, calls: &[&str]) -> Vec<String> {
    let code = &source.scanned.code;
    let found = calls.iter().flat_map(|call| code.match_indices(call));
    found.map(|(at, call)| format!("{}:{}: {call}", source.path, source.scanned.line(at))).collect()
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    let paths = files().into_iter().filter(|path| path.starts_with("crates/") && path.ends_with(".rs"));
    paths.map(|path| {
        let text = read(&path);
        (path, text)
    })
}

/// The lines of `text` that hold one of `words`.
fn lines(path: &str, text: &str, words: &[&str]) -> Vec<String> {
    let numbered = (1..).zip(text.lines());
    let found = numbered.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
    found.map(|(number, line)| format!("{path}:{number}: {}", line.trim())).collect()
}

#[test]
fn nothing_is_left_undone() {
    let mut undone = Vec::new();
    for source in product() {
        undone.extend(calls(&source, &["todo!", "unimplemented!"]));
        undone.extend(lines(&source.path, &source.scanned.text, &["TODO", "FIXME", "XXX"]));
    }
    none(&undone, "what is not done is an issue, not a comment");
}

#[test]
fn ignored_tests_say_why() {
    let ignored: Vec<String> = rust_files()
        .flat_map(|(path, text)| {
            let code = super::scan::Scanned::new(&text).code;
            lines(&path, &code, &["#[ignore]"])
        })
        .collect();
    none(&ignored, "write #[ignore = \"the reason\"]");
}

#[test]
fn pure_crates_are_pure() {
    let banned = &[
        "tokio::spawn(",
        "unbounded_channel",
        "Instant::now",
        "SystemTime",
        "std::env::var",
        "std::fs::",
        "std::net::Tcp",
    ];
    let pure = product().into_iter().filter(|source| source.is_in(&["policy", "providers", "wire"]));
    none(
        &pure.flat_map(|source| calls(&source, banned)).collect::<Vec<_>>(),
        "wire, providers and policy know no I/O, no clock, no environment: time and state are arguments",
    );
}

#[test]
fn sql_is_not_put_together() {
    let product = product();
    let formatted: Vec<String> =
        product.iter().filter(|source| source.is_in(&["store"])).flat_map(formatted_sql).collect();
    none(
        &formatted,
        "SQL is a constant and its values are bound: a query that is put together can be injected into",
    );
}

fn formatted_sql(source: &Source) -> Vec<String> {
    const VERBS: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];
    let mut found = calls(source, &["AssertSqlSafe"]);
    let (text, code) = (&source.scanned.text, &source.scanned.code);
    for (at, _) in code.match_indices("format!") {
        // To the end of the statement, in which a semicolon of the SQL is none.
        let end = code[at..].find(';').map_or(code.len(), |length| at + length);
        if VERBS.iter().any(|verb| text[at..end].contains(verb)) {
            found.push(format!("{}:{}: format! of SQL", source.path, source.scanned.line(at)));
        }
    }
    found
}

#[test]
fn formatted_sql_is_found() {
    let found = |text: &str| {
        formatted_sql(&Source { path: "a.rs".to_owned(), scanned: super::scan::Scanned::new(text) }).len()
    };
    assert_eq!(found("format!(\n\"BEGIN; SELECT {}\", x);"), 1);
    assert_eq!(found("query(AssertSqlSafe(text))"), 1);
    assert_eq!(found("format!(\"{x}\"); query(\"SELECT 1\"); // format!(\"DELETE\")"), 0);
}

#[test]
fn nothing_is_tied_to_a_machine() {
    // In two parts, so that this file does not hold them.
    const TIED: &[&str] = &[
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("index.crates", ".io"),
        concat!("pypi", ".org"),
        concat!("registry.npm", "js"),
    ];
    let is_lock = |path: &str| path.ends_with(".lock") || path.ends_with("package-lock.json");
    let mut tied = Vec::new();
    for path in files().iter().filter(|path| !is_lock(path)) {
        // Pictures and the like hold no paths.
        let Ok(text) = std::fs::read_to_string(super::root().join(path)) else { continue };
        tied.extend(lines(path, &text, TIED));
    }
    none(
        &tied,
        "a path or a registry of one machine is not there on the next one: use a relative path or a variable",
    );
}

//! Precision and recall of the recognisers of personal data. `--misses` shows what was missed and what was wrong.

#![expect(clippy::print_stdout, reason = "a command for people")]

#[path = "../tests/pii/quality.rs"]
mod quality;

use quality::{LABELLED, LEAST, Measured, PUBLIC};

fn main() {
    let show = std::env::args().any(|argument| argument == "--misses");
    let labelled = Measured::of(&[LABELLED]);
    let public = Measured::of(&[PUBLIC]);
    print("labelled set", &labelled, show);
    print("labelled set, and public text and code", &Measured::of(&[LABELLED, PUBLIC]), false);
    let wrong: u32 = public.counts.values().map(|count| count.wrong).sum();
    println!("wrong in {} passages of public text and code: {wrong}", PUBLIC.lines().count());
    if show {
        public.errors.iter().for_each(|error| println!("{error}"));
    }
    let good = labelled.counts.values().all(|count| count.precision() >= LEAST && count.recall() >= LEAST);
    println!("{} {LEAST} on the labelled set", if good { "all at least" } else { "BELOW" });
    if !good {
        std::process::exit(1);
    }
}

fn print(what: &str, measured: &Measured, show: bool) {
    println!("{what}");
    println!("{:<16} {:>9} {:>9} {:>7} {:>7}", "category", "precision", "recall", "wrong", "missed");
    for (kind, count) in &measured.counts {
        let (precision, recall) = (count.precision(), count.recall());
        println!("{kind:<16} {precision:>9.4} {recall:>9.4} {:>7} {:>7}", count.wrong, count.missed);
    }
    if show {
        measured.errors.iter().for_each(|error| println!("{error}"));
    }
    println!();
}

//! The text of every answer: `tok-0 tok-1 tok-2 …`, one token a chunk. Because it is known, the load generator
//! can check an answer byte for byte. A chunk may carry a stamp, `@T` + 20 digits + `@`: the moment it was written.

use std::fmt::Write;

const STAMP_LEN: usize = 23;

/// The text of chunk `i`.
pub fn token(i: u64) -> String {
    if i == 0 { "tok-0".to_owned() } else { format!(" tok-{i}") }
}

/// The text of `chunks` chunks together.
pub fn answer(chunks: u64) -> String {
    (0..chunks).map(token).collect()
}

/// The stamp for the moment `ns`.
pub fn stamp(ns: u64) -> String {
    format!("@T{ns:020}@")
}

/// Appends `text` without its stamps to `out` and calls `seen` with each stamp; one that was cut ends `out` until the
/// rest of it comes.
pub fn unstamp(text: &str, out: &mut String, mut seen: impl FnMut(u64)) {
    let cut = out.rfind('@').filter(|at| out.len() - at < STAMP_LEN);
    let text = cut.map_or_else(|| text.to_owned(), |at| out.split_off(at) + text);
    let mut rest = text.as_str();
    while let Some(at) = rest.find("@T") {
        let whole = rest.get(at..at + STAMP_LEN);
        let stamp = whole.and_then(|stamp| stamp[2..STAMP_LEN - 1].parse::<u64>().ok());
        let Some(ns) = stamp else { break };
        seen(ns);
        out.push_str(&rest[..at]);
        rest = rest.get(at + STAMP_LEN..).unwrap_or("");
    }
    out.push_str(rest);
}

/// Where `got` first differs from `expected`, in words; `None` if it does not.
pub fn difference(got: &str, expected: &str) -> Option<String> {
    if got == expected {
        return None;
    }
    let at = got.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
    let near = |text: &str| {
        String::from_utf8_lossy(text.as_bytes().get(at..).unwrap_or(b"")).chars().take(24).collect::<String>()
    };
    let mut words = String::new();
    let _ = write!(words, "text differs at byte {at}: got `{}`, expected `{}`", near(got), near(expected));
    let _ = write!(words, " ({} bytes of {})", got.len(), expected.len());
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_stamping() {
        let sent: String = (0..12).map(|i| stamp(i * 7) + &token(i)).collect();
        let (mut text, mut stamps) = (String::new(), Vec::new());
        unstamp(&sent, &mut text, |ns| stamps.push(ns));
        assert_eq!(text, answer(12));
        assert_eq!(stamps, (0..12).map(|i| i * 7).collect::<Vec<_>>());
        let (mut pieces, mut again) = (String::new(), Vec::new());
        for piece in sent.as_bytes().chunks(5) {
            unstamp(std::str::from_utf8(piece).unwrap(), &mut pieces, |ns| again.push(ns));
        }
        assert_eq!((pieces, again), (text, stamps));
    }

    #[test]
    fn a_lost_token_is_found() {
        let got: String = [0, 1, 3].into_iter().map(token).collect();
        assert!(difference(&got, &answer(3)).is_some_and(|words| words.contains("byte 16")));
        assert!(difference(&answer(2), &answer(3)).is_some());
        assert!(difference(&answer(3), &answer(3)).is_none());
    }
}

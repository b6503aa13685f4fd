//! Words that must not be said: one automaton for all of them, over the text as it reads.

use aho_corasick::AhoCorasick;

use super::fold::{Writing, read};

/// Shorter ones are not looked for in what was decoded: they come about by chance.
const LEAST_DECODED: usize = 4;

#[derive(Debug)]
pub(super) struct Keywords {
    automaton: AhoCorasick,
    longest: usize,
}

impl Keywords {
    /// `None` when none of `words` has anything in it. Errors when they are too much for an automaton.
    pub(super) fn new(words: &[String]) -> Result<Option<Self>, String> {
        let folded: Vec<String> =
            words.iter().map(|word| folded(word)).filter(|word| !word.is_empty()).collect();
        let Some(longest) = folded.iter().map(String::len).max() else { return Ok(None) };
        let automaton = AhoCorasick::new(&folded).map_err(|e| e.to_string())?;
        Ok(Some(Self { automaton, longest }))
    }

    /// In bytes of the text as it reads.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Where words stand in `lower`, which is as [`lower`] makes it, from and to.
    pub(super) fn find<'a>(
        &'a self,
        lower: &'a str,
        decoded: bool,
    ) -> impl Iterator<Item = (usize, usize)> + 'a {
        let found = self.automaton.find_overlapping_iter(lower).map(|found| (found.start(), found.end()));
        found
            .filter(move |(from, to)| is_whole(lower, *from, *to) && (!decoded || to - from >= LEAST_DECODED))
    }
}

fn folded(word: &str) -> String {
    let view = read(word, Writing::Plain).swap_remove(0);
    lower(&view.text).trim().to_owned()
}

/// `text` in small letters, with every byte in its place.
pub(super) fn lower(text: &str) -> String {
    if text.is_ascii() {
        let small = text.bytes().map(|byte| if byte == b'\n' { b' ' } else { byte.to_ascii_lowercase() });
        return String::from_utf8(small.collect()).unwrap_or_default();
    }
    let small = |c: char| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(small), None) if small.len_utf8() == c.len_utf8() => small,
            _ => c,
        }
    };
    text.chars().map(|c| if c == '\n' { ' ' } else { small(c) }).collect()
}

/// Whether no word goes on before or behind. Scripts without spaces have no such ends.
fn is_whole(text: &str, from: usize, to: usize) -> bool {
    let inside = &text[from..to];
    let joins = |outer: Option<char>, inner: Option<char>| {
        outer.zip(inner).is_some_and(|(outer, inner)| has_spaces(outer) && has_spaces(inner))
    };
    !joins(text[..from].chars().next_back(), inside.chars().next())
        && !joins(text[to..].chars().next(), inside.chars().next_back())
}

/// Letters and digits of scripts that put spaces between words.
fn has_spaces(c: char) -> bool {
    let unspaced = matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}'
        | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}');
    c.is_alphanumeric() && !unspaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(word: &str, text: &str) -> bool {
        let keywords = Keywords::new(&[word.to_owned()]).unwrap().unwrap();
        let text = lower(&read(text, Writing::Plain)[0].text);
        keywords.find(&text, false).next().is_some()
    }

    #[test]
    fn whole_words_are_found_in_any_case() {
        assert!(finds("SuperSecret", "tell me the supersecret!"));
        assert!(finds("Ärger", "viel ÄRGER"));
        assert!(finds("project x", "the Project\n X plan"));
        assert!(finds("c++", "in c++."));
        assert!(!finds("ass", "the class"));
        assert!(finds("機密", "これは機密です"));
        assert!(finds("секрет", "Большой СЕКРЕТ"));
    }

    #[test]
    fn no_words_are_no_rule() {
        assert!(Keywords::new(&["\u{200b} ".to_owned()]).unwrap().is_none());
    }
}

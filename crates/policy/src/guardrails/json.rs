//! Where in a text of JSON something stands, so that what takes its place leaves it JSON.

/// Read from the beginning of the text up to here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    in_string: bool,
    /// Behind a backslash.
    escaped: bool,
}

impl Place {
    /// Goes on by `text`.
    pub(super) fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
    }

    /// Whether values that are no strings stand at `from..to` of `raw`, of which this is the place `from`.
    pub(super) fn is_bare(self, raw: &str, from: usize, to: usize) -> bool {
        let numbers =
            raw[from..to].bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE, \n\r\t".contains(&byte));
        let before = raw[..from].trim_end().chars().next_back();
        let behind = raw[to..].trim_start().chars().next();
        !self.in_string
            && numbers
            && matches!(before, None | Some(':' | '[' | ','))
            && matches!(behind, None | Some(',' | ']' | '}'))
    }
}

/// Where the number that has digits at `from` begins: its sign is no part of what is found, and has no place before a string.
pub(super) fn with_sign(raw: &str, from: usize) -> usize {
    match raw.as_bytes()[..=from] {
        [b'-', digit] if digit.is_ascii_digit() => from - 1,
        [.., before, b'-', digit] if digit.is_ascii_digit() && !before.is_ascii_alphanumeric() => from - 1,
        _ => from,
    }
}

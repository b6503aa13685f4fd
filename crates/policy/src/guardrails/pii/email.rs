//! E-mail addresses, found by their `@`: RFC 5321 has at most 64 characters before it.

use super::{Entity, Hit, LONGEST};

const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = LONGEST - MAX_LOCAL - 1;

/// Endings of files, which follow an `@` in the names of pictures for fine screens.
const FILES: [&str; 12] =
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "json", "html", "txt"];

pub(super) fn find(text: &str, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    for at in memchr::memchr_iter(b'@', bytes) {
        if let Some((from, to)) = address(bytes, at) {
            hits.push(Hit { entity: Entity::EmailAddress, from, to });
        }
    }
}

fn address(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let local = |byte: &u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+-_~^{|}`".contains(byte);
    let mut from = at - bytes[..at].iter().rev().take(MAX_LOCAL).take_while(|byte| local(byte)).count();
    // What is put around an address, or before it, is no part of it.
    while from < at && !(bytes[from].is_ascii_alphanumeric() || bytes[from] == b'_') {
        from += 1;
    }
    let to = at + 1 + domain(bytes.get(at + 1..)?)?;
    let is_path = is_path(&bytes[from..at], &bytes[to..]);
    (from < at && !is_path && !is_userinfo(bytes, from)).then_some((from, to))
}

/// The length of the domain that `rest` begins with.
fn domain(rest: &[u8]) -> Option<usize> {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let (mut end, mut dots) = (0, 0);
    loop {
        let label = rest[end..].iter().take_while(|byte| part(byte)).count();
        if label == 0 || label > 63 || end + label > MAX_DOMAIN {
            break;
        }
        end += label;
        if rest.get(end) == Some(&b'.') && rest.get(end + 1).is_some_and(part) {
            end += 1;
            dots += 1;
        } else {
            break;
        }
    }
    let name = str::from_utf8(&rest[..end]).ok()?.trim_end_matches(['-', '.']);
    let top = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let punycode = top.starts_with("xn--");
    let letters = top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    (dots > 0 && (letters || punycode) && !FILES.contains(&top.as_str())).then_some(name.len())
}

/// Whether `rest` makes it the `user@host:path` of a copy over a network; a password has no such form.
fn is_path(local: &[u8], rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_prefix(b":") else { return false };
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'<>,;".contains(byte);
    let path = rest.iter().take(super::REACH).take_while(|byte| !ends(byte));
    let begins = rest.first().is_some_and(|byte| byte.is_ascii_alphabetic() || b"~/".contains(byte));
    begins && (local == b"git" || rest[0] == b'~' || path.into_iter().any(|byte| *byte == b'/'))
}

/// Whose URLs name a user without a password.
const WITH_USERS: [&[u8]; 8] =
    [b"ssh", b"git", b"git+ssh", b"sftp", b"ftp", b"postgres", b"postgresql", b"mongodb"];

/// Whether it is the `user:password@host` of a URL.
fn is_userinfo(bytes: &[u8], from: usize) -> bool {
    let before = &bytes[from.saturating_sub(super::REACH)..from];
    let word = before.rsplit(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let Some(at) = memchr::memmem::rfind(word, b"://") else { return false };
    let named = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+.-".contains(*byte);
    let scheme = &word[at - word[..at].iter().rev().take_while(named).count()..at];
    let user = &word[at + 3..];
    let password = user.contains(&b':') && !scheme.is_empty();
    (password || WITH_USERS.contains(&scheme)) && !user.iter().any(|byte| b"/?=".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;

    #[test]
    fn addresses_are_found_in_all_surroundings() {
        for (text, address) in [
            ("bob@example.com", "bob@example.com"),
            ("<bob.o'neil+x@mail.example.co.uk>,", "bob.o'neil+x@mail.example.co.uk"),
            ("mailto:bob@example.com?x", "bob@example.com"),
            ("'bob@example.com'.", "bob@example.com"),
            ("https://h/?to=bob@example.com", "bob@example.com"),
            ("bob@xn--bcher-kva.example", "bob@xn--bcher-kva.example"),
            ("a@b.co:", "a@b.co"),
            ("bob@example.com:hunter2", "bob@example.com"),
            ("://bob@example.com", "bob@example.com"),
            ("https://bob@example.com", "bob@example.com"),
        ] {
            assert!(found(text).contains(&("EMAIL_ADDRESS", address)), "{text}: {:?}", found(text));
        }
        for text in [
            "https://user:pass@example.com/",
            "ssh://git@example.com/x",
            "git@example.com:org/repo.git",
            "git@example.com:repo",
            "deploy@example.com:releases/app",
            "bob@example.com:~/file",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}

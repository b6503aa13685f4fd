//! Characters that look like others: of Unicode's `confusables.txt` those that stand for ASCII letters,
//! digits and the marks in numbers and addresses, in the scripts that are used for it.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What is looked like, and what looks like it.
const LIKE: &[(char, &str)] = &[
    ('a', "аɑαᴀ⍺"),
    ('b', "ƄЬʙᖯ"),
    ('c', "сϲᴄⲥ"),
    ('d', "ԁᴅɗᏧ"),
    ('e', "еҽєᴇ℮"),
    ('f', "ꜰƒẝ"),
    ('g', "ɡցɢᶃ"),
    ('h', "һʜհᏂ"),
    ('i', "іıɩɪι"),
    ('j', "јᴊϳ"),
    ('k', "кᴋκ"),
    ('l', "ӏʟⅼ"),
    ('m', "ᴍⅿ"),
    ('n', "ոɴп"),
    ('o', "оοօᴏσ"),
    ('p', "рρᴘⲣ"),
    ('q', "ԛգ"),
    ('r', "ʀгᴦ"),
    ('s', "ѕꜱƽ"),
    ('t', "ᴛτт"),
    ('u', "υսᴜʋ"),
    ('v', "νѵᴠ"),
    ('w', "ԝѡᴡա"),
    ('x', "хχ"),
    ('y', "уγүʏ"),
    ('z', "ᴢʐ"),
    ('A', "АΑᎪ"),
    ('B', "ВΒᏴ"),
    ('C', "СϹᏟ"),
    ('D', "ᎠⅮ"),
    ('E', "ЕΕᎬ"),
    ('F', "Ϝ"),
    ('G', "Ԍ"),
    ('H', "НΗᎻ"),
    ('I', "ІΙӀ"),
    ('J', "ЈᎫ"),
    ('K', "КΚᏦ"),
    ('L', "Ꮮ"),
    ('M', "МΜ"),
    ('N', "Ν"),
    ('O', "ОΟՕ"),
    ('P', "РΡ"),
    ('Q', "Ԛ"),
    ('S', "ЅՏ"),
    ('T', "ТΤ"),
    ('U', "Ս"),
    ('V', "Ѵ"),
    ('W', "Ԝ"),
    ('X', "ХΧ"),
    ('Y', "ΥҮ"),
    ('Z', "Ζ"),
    ('-', "‐‑‒–—―−⁃﹘➖"),
    ('.', "․。｡۔"),
    ('/', "⁄∕╱"),
    ('\'', "’ʼ"),
];

/// The zeros of decimal digits: nine more follow each.
const ZEROS: [u32; 24] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0xa8d0,
];

/// Where the letters from A on are that Unicode calls no compatibility forms: flags, and letters in dark
/// circles and squares.
const LETTERS: [u32; 3] = [0x1f1e6, 0x1f150, 0x1f170];

static PLAIN: LazyLock<HashMap<char, char>> =
    LazyLock::new(|| LIKE.iter().flat_map(|(plain, like)| like.chars().map(move |c| (c, *plain))).collect());

/// `c`, or what it looks like.
pub(super) fn plain(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let code = u32::from(c);
    let from = |base: u32, zeros: &[u32], count: u32| {
        let zero = zeros.iter().find(|zero| (**zero..**zero + count).contains(&code))?;
        char::from_u32(base + code - zero)
    };
    let digit = from(0x30, &ZEROS, 10);
    digit.or_else(|| from(0x61, &LETTERS, 26)).or_else(|| PLAIN.get(&c).copied()).unwrap_or(c)
}

//! Telephone numbers: those of the North American plan in their usual forms, and international ones with `+`.

use super::nearby::About;
use super::shape::{Shape, compile, digits, is_own, stands_alone};
use super::{Entity, Hit, Reading};

/// Area code and exchange begin with 2 to 9.
static NATIONAL: Shape = Shape::new(|| {
    compile(concat!(
        r"(?:(?:\+?1|001)[ .-]?)?(?:\([2-9][0-9]{2}\)[ .-]?|[2-9][0-9]{2}[ ./-])[2-9][0-9]{2}[ .-][0-9]{4}",
        r"(?: ?(?:x|X|ext\.?|#) ?[0-9]{1,6})?"
    ))
});
static BARE: Shape =
    Shape::new(|| compile(r"\+?1?[2-9][0-9]{2}[2-9][0-9]{6}(?: ?(?:x|ext\.?) ?[0-9]{1,6})?"));
static INTERNATIONAL: Shape = Shape::new(|| compile(r"\+[1-9][0-9]{0,2}(?:[ .-]?\(?[0-9]{1,4}\)?){2,6}"));

pub(super) fn find(reading: &Reading<'_>, hits: &mut Vec<Hit>) {
    let text = reading.text;
    let mut push = |from: usize, to: usize| hits.push(Hit { entity: Entity::PhoneNumber, from, to });
    for (from, to) in NATIONAL.find(text) {
        let written = &text[from..to];
        let told = written.contains(['-', '(', '.', '+']) || reading.nearby.says(About::Phone, from, to);
        if told && begins(text, from) && is_own(reading, About::Phone, from, to) {
            push(from, to);
        }
    }
    for (from, to) in BARE.find(text) {
        if reading.nearby.says(About::Phone, from, to) && is_own(reading, About::Phone, from, to) {
            push(from, to);
        }
    }
    for (from, to) in INTERNATIONAL.find(text) {
        let count = digits(&text[from..to]).len();
        if (10..=15).contains(&count) && stands_alone(text, from, to) {
            push(from, to);
        }
    }
}

/// A number in another's middle is none: the country code of `+1-212-555-0147` is no end of a word.
fn begins(text: &str, from: usize) -> bool {
    let bytes = text.as_bytes();
    let digit = |back: usize| from.checked_sub(back).is_some_and(|at| bytes[at].is_ascii_digit());
    !(digit(2) && matches!(bytes[from - 1], b' ' | b'(') && digit(3) && digit(4))
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;

    #[test]
    fn numbers_are_found_in_their_forms() {
        for text in [
            "212-555-0147",
            "(212) 555-0147",
            "(212)555-0147x1234",
            "212.555.0147",
            "+1-212-555-0147",
            "001-212-555-0147x55555",
            "+1 212 555 0147",
            "+44 20 7946 0958",
            "+491711234567",
        ] {
            assert!(found(text).contains(&("PHONE_NUMBER", text)), "{text}: {:?}", found(text));
        }
        assert!(found("call me: 2125550147").contains(&("PHONE_NUMBER", "2125550147")));
        for text in ["2125550147", "212 555 0147", "112-555-0147", "212-155-0147", "+1.50", "id-212-555-0147"]
        {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}

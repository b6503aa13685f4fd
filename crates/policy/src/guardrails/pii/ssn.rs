//! Social Security numbers: area 000, 666 and 900 on, group 00 and serial 0000 are never given (SSA POMS RM 10201).

use super::nearby::About;
use super::shape::{Shape, compile, digits, is_own, one_separator};
use super::{Entity, Hit, Reading};

static NUMBER: Shape = Shape::new(|| compile("[0-9]{3}[ .-][0-9]{2}[ .-][0-9]{4}|[0-9]{9}"));

pub(super) fn find(reading: &Reading<'_>, hits: &mut Vec<Hit>) {
    let text = reading.text;
    for (from, to) in NUMBER.find(text) {
        let written = &text[from..to];
        // Only the form with hyphens says by itself what it is.
        let told = written.contains('-') || reading.nearby.says(About::Ssn, from, to);
        if told
            && one_separator(written)
            && is_given(&digits(written))
            && is_own(reading, About::Ssn, from, to)
        {
            hits.push(Hit { entity: Entity::UsSsn, from, to });
        }
    }
}

fn is_given(number: &[u8]) -> bool {
    let area = &number[..3];
    area != [0, 0, 0]
        && area != [6, 6, 6]
        && area[0] != 9
        && number[3..5] != [0, 0]
        && number[5..] != [0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;

    #[test]
    fn numbers_that_are_given_are_found() {
        for text in ["536-90-4399", "ssn 536 90 4399", "SSN: 536904399", "{\"ssn\":\"536904399\"}"] {
            assert!(found(text).iter().any(|(entity, _)| *entity == "US_SSN"), "{text}");
        }
        for text in [
            "000-12-3456",
            "666-12-3456",
            "536-00-4399",
            "536-90-0000",
            "536 90 4399",
            "536904399",
            "536-90.4399",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}

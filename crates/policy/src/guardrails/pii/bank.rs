//! Bank accounts of the United States, which are numbers like any other and told by the words around them, and
//! routing numbers, which have the ABA's check digit.

use super::nearby::About;
use super::shape::{Shape, compile, digits, is_own};
use super::{Entity, Hit, Reading};

static ACCOUNT: Shape = Shape::new(|| compile("[0-9]{6,17}|[0-9]{2,9}(?:[ -][0-9]{2,9}){1,3}"));
static ROUTING: Shape = Shape::new(|| compile("[0-9]{9}|[0-9]{4}-[0-9]{4}-[0-9]"));

pub(super) fn find(reading: &Reading<'_>, hits: &mut Vec<Hit>) {
    let (text, nearby) = (reading.text, &reading.nearby);
    for (from, to) in ROUTING.find(text) {
        let number = digits(&text[from..to]);
        if is_routing(&number)
            && nearby.says(About::Routing, from, to)
            && is_own(reading, About::Routing, from, to)
        {
            hits.push(Hit { entity: Entity::AbaRoutingNumber, from, to });
        }
    }
    for (from, to) in ACCOUNT.find(text) {
        let plain = text[from..to].bytes().all(|byte| byte.is_ascii_digit());
        let told = nearby.says_before(About::Account, from)
            || (plain
                && nearby.says(About::AnyAccount, from, to)
                && nearby.says(About::Bank, from, to)
                && !nearby.says(About::Otherwise, from, to));
        let long_enough = (6..=17).contains(&digits(&text[from..to]).len());
        if told && long_enough && !is_date(&text[from..to]) && is_own(reading, About::Account, from, to) {
            hits.push(Hit { entity: Entity::UsBankNumber, from, to });
        }
    }
}

fn is_date(text: &str) -> bool {
    let parts: Vec<usize> = text.split(['-', ' ']).map(str::len).collect();
    parts == [4, 2, 2]
        || parts == [2, 2, 4]
        || (parts == [8] && (text.starts_with("19") || text.starts_with("20")) && is_day(text))
}

fn is_day(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| {
        text.get(range).and_then(|part| part.parse::<u32>().ok()).unwrap_or(0)
    };
    (1..=12).contains(&number(4..6)) && (1..=31).contains(&number(6..8))
}

/// The first two digits tell the district, and `3(d1+d4+d7) + 7(d2+d5+d8) + d3+d6+d9` is a multiple of ten.
fn is_routing(number: &[u8]) -> bool {
    let district = number[0] * 10 + number[1];
    let sum: u32 = number
        .iter()
        .zip([3, 7, 1].into_iter().cycle())
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum();
    matches!(district, 0..=12 | 21..=32 | 61..=72 | 80) && sum.is_multiple_of(10) && sum > 0
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;

    #[test]
    fn words_tell_an_account_and_a_check_digit_a_routing_number() {
        assert_eq!(found("routing 021000021"), [("ABA_ROUTING_NUMBER", "021000021")]);
        assert!(found("routing 021000022").is_empty() && found("021000021").is_empty());
        for text in ["account number: 12345678", "my checking 000123456789", "bank account 12-3456789"] {
            assert!(found(text).iter().any(|(entity, _)| *entity == "US_BANK_NUMBER"), "{text}");
        }
        for text in ["AWS account 123456789012", "account id 1234567", "account number since 2026-11-27"] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}

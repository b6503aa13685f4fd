//! Payment cards: a known issuer's prefix, its length, and Luhn's check digit (ISO/IEC 7812).

use super::nearby::About;
use super::shape::{Shape, compile, digits, is_own, one_separator};
use super::{Entity, Hit, Reading};

static BARE: Shape = Shape::new(|| compile("[0-9]{12,19}"));
static FOURS: Shape = Shape::new(|| compile("[0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}"));
static FOURS_AND_THREE: Shape =
    Shape::new(|| compile("[0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}[ .-][0-9]{3}"));
static FIFTEEN: Shape = Shape::new(|| compile("[0-9]{4}[ .-][0-9]{6}[ .-][0-9]{4,5}"));

pub(super) fn find(reading: &Reading<'_>, hits: &mut Vec<Hit>) {
    let text = reading.text;
    for shape in [&BARE, &FOURS, &FOURS_AND_THREE, &FIFTEEN] {
        for (from, to) in shape.find(text) {
            let number = digits(&text[from..to]);
            let rare = number.len() < 14 && !reading.nearby.says(About::Card, from, to);
            if !rare
                && is_card(&number)
                && one_separator(&text[from..to])
                && is_own(reading, About::Card, from, to)
            {
                hits.push(Hit { entity: Entity::CreditCard, from, to });
            }
        }
    }
}

fn is_card(number: &[u8]) -> bool {
    let prefix = number[..4].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
    let length = number.len();
    let issued = match prefix {
        4000..=4999 => matches!(length, 13 | 16 | 19),
        5100..=5599 | 2221..=2720 => length == 16,
        3400..=3499 | 3700..=3799 | 2131 | 1800 => length == 15,
        3000..=3059 | 3600..=3699 | 3800..=3999 => matches!(length, 14 | 16 | 19),
        3500..=3599 => matches!(length, 16..=19),
        6011 | 6440..=6599 | 6200..=6299 | 8100..=8199 => matches!(length, 16..=19),
        5000..=5099 | 5600..=5899 | 6000..=6999 | 604 => matches!(length, 12..=19),
        _ => false,
    };
    issued && luhn(number)
}

fn luhn(number: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let mut odd = false;
    let sum: u32 = number.iter().rev().fold(0, |sum, digit| {
        let value = if odd { doubled(*digit) } else { *digit };
        odd = !odd;
        sum + u32::from(value)
    });
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;

    #[test]
    fn cards_are_found_in_their_forms() {
        for text in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "5500.0055.5555.5559",
            "3782 822463 10005",
            "378282246310005",
        ] {
            assert_eq!(found(text).first(), Some(&("CREDIT_CARD", text)), "{text}");
        }
        assert_eq!(
            found("pay 4111 1111 1111 1111 123 12/27").first(),
            Some(&("CREDIT_CARD", "4111 1111 1111 1111"))
        );
        for text in ["4111111111111112", "4111 1111-1111 1111", "1234567812345670", "x4111111111111111"] {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}

//! From tokens to money. Pure: the same tokens at the same time cost the same, so that costs can be computed
//! again when prices change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use providers::nearest;
use serde::Deserialize;
use wire::cost::Cost;
use wire::counts::{TokenCounts, TokenKind};

/// The version of an entity's own prices.
pub const ENTITY: &str = "entity";

/// Highest price that is taken, in USD per million tokens.
const HIGHEST: f64 = 1e6;

/// Trillionths of a US dollar per token in one US dollar per million tokens.
const PICO_PER_USD_PER_MILLION: f64 = 1e6;
const PICO_PER_NANO: u128 = 1000;

/// The prices that come with the program; `prices/update.py` makes them.
static BUNDLED: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("../prices/prices.json")).unwrap_or_default());

#[derive(Debug, Default, Deserialize)]
struct Table {
    version: String,
    /// By the provider's name. Of several models that match a name the first counts.
    providers: HashMap<String, Vec<Model>>,
}

#[derive(Debug, Deserialize)]
struct Model {
    #[serde(rename = "match")]
    patterns: Vec<String>,
    prices: Vec<Period>,
}

/// The prices of one model, from the oldest to the newest.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    version: Arc<str>,
    periods: Vec<Period>,
}

/// Prices from a time on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Period {
    /// Seconds since the epoch.
    #[serde(default)]
    since: i64,
    #[serde(flatten)]
    rates: BTreeMap<String, Rate>,
}

/// USD per million tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Rate {
    Flat(f64),
    /// The base, then a length of the input in tokens and the rate of calls that are longer, and so on.
    Tiers(Vec<f64>),
}

impl Prices {
    /// What comes with the program for a provider's model; `None` for one that is not known.
    pub fn bundled(provider: &str, model: &str) -> Option<Self> {
        let model = model.to_lowercase();
        let table = &*BUNDLED;
        let models = table.providers.get(provider)?;
        let found = models.iter().find(|known| known.patterns.iter().any(|p| matches(p, &model)))?;
        Some(Self { version: table.version.as_str().into(), periods: found.prices.clone() })
    }

    /// An entity's own, in USD per million tokens by kind. `None` where it has none.
    pub fn of_entity(rates: Option<&BTreeMap<String, f64>>) -> Option<Self> {
        let rates = rates?.iter().map(|(kind, usd)| (kind.clone(), Rate::Flat(*usd))).collect();
        Some(Self { version: ENTITY.into(), periods: vec![Period { since: 0, rates }] })
    }

    /// What `tokens` cost at `at_ms`, in milliseconds since the epoch. `None` where one of the kinds that
    /// were used has no price.
    pub fn cost(&self, tokens: &TokenCounts, at_ms: i64) -> Option<Cost> {
        let at = at_ms.div_euclid(1000);
        let period = self.periods.iter().rev().find(|period| period.since <= at)?;
        let used = tokens.iter().filter(|(_, count)| *count > 0);
        let costs =
            used.map(|(kind, count)| Some(u128::from(count) * self.rate(period, kind, tokens.input())?));
        let pico = costs.sum::<Option<u128>>()?;
        let nano_usd = u64::try_from((pico + PICO_PER_NANO / 2) / PICO_PER_NANO).unwrap_or(u64::MAX);
        Some(Cost { nano_usd, prices: Arc::clone(&self.version) })
    }

    /// In trillionths of a dollar per token. A kind without a price of its own costs what the kind does that
    /// it is a part of, where it cannot cost more.
    fn rate(&self, period: &Period, kind: TokenKind, input: u64) -> Option<u128> {
        let mut kind = kind;
        loop {
            if let Some(rate) = period.rates.get(kind.as_str()) {
                return Some(rate.at(input));
            }
            kind = self.whole(period, kind)?;
        }
    }

    /// What a kind of tokens is a part of, and costs no more than.
    fn whole(&self, period: &Period, kind: TokenKind) -> Option<TokenKind> {
        // The table leaves out what costs as much as text; an entity's own prices say no such thing.
        let leaves_out = &*self.version != ENTITY;
        let has_audio = period.rates.contains_key(TokenKind::InputAudio.as_str());
        match kind {
            TokenKind::CacheRead => Some(TokenKind::Input),
            TokenKind::Reasoning => Some(TokenKind::Output),
            TokenKind::CacheReadAudio if has_audio => Some(TokenKind::InputAudio),
            // To write for an hour costs more than for five minutes.
            TokenKind::Input | TokenKind::Output | TokenKind::CacheWrite1h => None,
            _ if !leaves_out => None,
            TokenKind::CacheWrite5m | TokenKind::InputAudio | TokenKind::InputImage => Some(TokenKind::Input),
            TokenKind::CacheReadAudio => Some(TokenKind::CacheRead),
            TokenKind::OutputAudio | TokenKind::OutputImage => Some(TokenKind::Output),
        }
    }
}

impl Rate {
    fn at(&self, input: u64) -> u128 {
        let usd = match self {
            Self::Flat(usd) => *usd,
            Self::Tiers(tiers) => {
                let longer = tiers.get(1..).unwrap_or_default().chunks_exact(2);
                let base = tiers.first().copied().unwrap_or_default();
                longer.filter(|tier| input as f64 > tier[0]).map(|tier| tier[1]).next_back().unwrap_or(base)
            }
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a price; the cast saturates"
        )]
        let pico = (usd * PICO_PER_USD_PER_MILLION).round() as u128;
        pico
    }
}

/// Whether `model` is what all parts of `pattern` say: `=` is it, `^` and `$` stand at its begin and end, `*` in it,
/// `!` not in it; after `~` a `#` is one digit and a `*` at the end any rest.
fn matches(pattern: &str, model: &str) -> bool {
    pattern.split(' ').all(|part| {
        let Some((sign, text)) = part.split_at_checked(1) else { return false };
        match sign {
            "=" => model == text,
            "^" => model.starts_with(text),
            "$" => model.ends_with(text),
            "*" => model.contains(text),
            "!" => !model.contains(text),
            "~" => is_like(text, model),
            _ => false,
        }
    })
}

fn is_like(pattern: &str, model: &str) -> bool {
    let (text, model) = match pattern.strip_suffix('*') {
        Some(text) => (text, model.get(..text.len()).unwrap_or_default()),
        None => (pattern, model),
    };
    let same = |(p, m): (u8, u8)| if p == b'#' { m.is_ascii_digit() } else { p == m };
    text.len() == model.len() && text.bytes().zip(model.bytes()).all(same)
}

/// Why an entity's own prices cannot be: the kind, and what is wrong.
pub(crate) fn check(rates: &BTreeMap<String, f64>) -> Result<(), (String, String)> {
    let kinds = || TokenKind::ALL.into_iter().map(TokenKind::as_str);
    for (kind, usd) in rates {
        if !kinds().any(|known| known == kind) {
            let hint = nearest(kind, kinds()).map(|near| format!("; did you mean {near:?}?"));
            return Err((kind.clone(), format!("is no kind of token{}", hint.unwrap_or_default())));
        }
        if !(0.0..=HIGHEST).contains(usd) {
            return Err((
                kind.clone(),
                format!("{usd} must be between 0 and {HIGHEST} USD per million tokens"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400_000;

    type Named = (String, String);

    /// Models whose prices are known, or not: data, as the table is.
    #[derive(Deserialize)]
    struct Known {
        priced: Vec<Named>,
        unknown: Vec<Named>,
        longer_is_dearer: Named,
    }

    fn known() -> Known {
        serde_json::from_str(include_str!("../prices/known.json")).unwrap()
    }

    fn bundled((provider, model): &Named) -> Prices {
        Prices::bundled(provider, model).unwrap_or_else(|| panic!("{provider} {model} has no price"))
    }

    fn own(rates: &[(&str, f64)]) -> Prices {
        let rates = rates.iter().map(|(kind, usd)| ((*kind).to_owned(), *usd)).collect();
        Prices::of_entity(Some(&rates)).unwrap()
    }

    fn nano(prices: &Prices, tokens: TokenCounts, at: i64) -> Option<u64> {
        prices.cost(&tokens, at).map(|cost| cost.nano_usd)
    }

    #[test]
    fn the_table_is_whole() {
        assert!(BUNDLED.version.starts_with("genai-prices "), "{:?}", BUNDLED.version);
        for (provider, models) in &BUNDLED.providers {
            assert!(providers::find(provider).is_some() && !models.is_empty(), "{provider}");
            for model in models {
                let known = |kind: &String| TokenKind::ALL.iter().any(|k| k.as_str() == kind);
                assert!(
                    model.prices.iter().all(|p| !p.rates.is_empty() && p.rates.keys().all(known)),
                    "{model:?}"
                );
                assert!(model.prices.is_sorted_by_key(|period| period.since), "{model:?}");
                assert!(
                    model
                        .patterns
                        .iter()
                        .all(|p| p.split(' ').all(|part| part.starts_with(['=', '^', '$', '*', '!', '~'])))
                );
            }
        }
    }

    /// Text is so much cheaper than speech that nobody could have left the price of it out.
    #[test]
    fn no_model_of_audio_is_priced_as_text() {
        for model in BUNDLED.providers.values().flatten() {
            let speaks = model.patterns.iter().any(|pattern| pattern.contains("audio"));
            assert!(
                !speaks || model.prices.iter().all(|period| period.rates.contains_key("output_audio")),
                "{model:?}"
            );
        }
    }

    /// The sums of the issues of other gateways, where the cache was charged twice or at the full rate.
    #[test]
    fn each_kind_is_charged_once_and_at_its_own_rate() {
        let prices = own(&[
            ("input", 3.0),
            ("cache_read", 0.3),
            ("cache_write_5m", 3.75),
            ("cache_write_1h", 6.0),
            ("output", 15.0),
        ]);
        let tokens = TokenCounts::new(1000, 500)
            .and(TokenKind::CacheRead, 10_000)
            .and(TokenKind::CacheWrite5m, 2000)
            .and(TokenKind::CacheWrite1h, 100)
            .and(TokenKind::Reasoning, 300);
        let micro = 1000 * 3 + 3000 + 7500 + 600 + 500 * 15 + 300 * 15;
        assert_eq!(nano(&prices, tokens, DAY), Some(micro * 1000));
        assert_eq!(&*prices.cost(&tokens, DAY).unwrap().prices, "entity");
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        for (provider, model) in known().unknown {
            assert_eq!(Prices::bundled(&provider, &model), None);
        }
        let input_only = own(&[("input", 0.02)]);
        assert_eq!(nano(&input_only, TokenCounts::new(1_000_000, 0), 0), Some(20_000_000));
        assert_eq!(nano(&input_only, TokenCounts::new(1, 1), 0), None);
        assert_eq!(nano(&own(&[("input", 0.0), ("output", 0.0)]), TokenCounts::new(5, 5), 0), Some(0));
    }

    #[test]
    fn what_may_cost_more_than_its_whole_has_no_price_without_one() {
        use TokenKind::{
            CacheRead, CacheReadAudio, CacheWrite1h, CacheWrite5m, InputAudio, InputImage, OutputAudio,
            OutputImage, Reasoning,
        };
        let of = |prices: &Prices, kind| nano(prices, TokenCounts::default().and(kind, 1000), 0);
        let prices = own(&[("input", 1.0), ("output", 3.0)]);
        for (kind, usd) in [(CacheRead, 1), (Reasoning, 3)] {
            assert_eq!(of(&prices, kind), Some(usd * 1_000_000), "{kind:?}");
        }
        assert_eq!(of(&own(&[("input_audio", 7.0)]), CacheReadAudio), Some(7_000_000));
        for kind in
            [CacheWrite5m, CacheWrite1h, InputAudio, CacheReadAudio, InputImage, OutputAudio, OutputImage]
        {
            assert_eq!(of(&prices, kind), None, "{kind:?}");
            assert_eq!(of(&own(&[(kind.as_str(), 7.0)]), kind), Some(7_000_000), "{kind:?}");
        }
        // In the table, what is left out costs what text does, but an hour is no five minutes.
        let rates = [("input", 1.0), ("output", 3.0)].map(|(kind, usd)| (kind.to_owned(), Rate::Flat(usd)));
        let periods = vec![Period { since: 0, rates: rates.into() }];
        let table = Prices { version: "v".into(), periods };
        assert_eq!((of(&table, InputAudio), of(&table, OutputImage)), (Some(1_000_000), Some(3_000_000)));
        assert_eq!((of(&table, CacheWrite5m), of(&table, CacheWrite1h)), (Some(1_000_000), None));
    }

    #[test]
    fn a_long_call_costs_the_higher_rate_throughout() {
        let prices = bundled(&known().longer_is_dearer);
        let at = 1_760_000_000_000;
        let (short, long) =
            (TokenCounts::new(200_000, 10), TokenCounts::new(1, 10).and(TokenKind::CacheRead, 200_000));
        assert_eq!(nano(&prices, short, at), Some(200_000 * 3000 + 10 * 15_000));
        assert_eq!(nano(&prices, long, at), Some(6000 + 200_000 * 600 + 10 * 22_500));
    }

    #[test]
    fn the_price_is_that_of_the_day() {
        let of =
            |since, usd| Period { since, rates: BTreeMap::from([("input".to_owned(), Rate::Flat(usd))]) };
        let prices = Prices { version: "v".into(), periods: vec![of(0, 2.0), of(86_400, 1.0)] };
        let tokens = TokenCounts::new(1000, 0);
        let costs = [0, DAY - 1, DAY, 9 * DAY].map(|at| nano(&prices, tokens, at));
        assert_eq!(costs, [Some(2_000_000), Some(2_000_000), Some(1_000_000), Some(1_000_000)]);
    }

    #[test]
    fn names_are_found_as_providers_write_them() {
        let at = 1_795_000_000_000;
        for named in known().priced {
            assert!(nano(&bundled(&named), TokenCounts::new(1000, 0), at) > Some(0), "{named:?}");
        }
        let speech = |model: &str| matches("^gemini-2.5-pro !-tts", model);
        assert!(speech("gemini-2.5-pro-x") && !speech("gemini-2.5-pro-preview-tts"));
        let dated = |model: &str| matches("~gpt-6-sol-####-##-##", model);
        assert!(dated("gpt-6-sol-2026-01-31") && !dated("gpt-6-sol-2026-01-3x") && !dated("gpt-6-sol"));
        assert!(matches("~m-#*", "m-1-preview") && !matches("~m-#*", "m-x") && !matches("~m-#*", "m"));
    }

    #[test]
    fn prices_of_an_entity_are_checked_by_name_and_bound() {
        let check = |kind: &str, usd| check(&BTreeMap::from([(kind.to_owned(), usd)])).err();
        assert_eq!(check("cache_read", 0.3), None);
        assert!(check("cached_read", 0.3).unwrap().1.contains("\"cache_read\""));
        for usd in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(check("input", usd).is_some(), "{usd}");
        }
    }

    proptest! {
        /// A call costs the sum of its kinds, and more tokens never cost less.
        #[test]
        fn costs_add_up(input in 0..1_u64 << 32, output in 0..1_u64 << 32, usd in 0.0..100.0_f64) {
            let prices = own(&[("input", usd), ("output", 2.0 * usd)]);
            let cost = |tokens| nano(&prices, tokens, 0).unwrap();
            let (both, apart) = (cost(TokenCounts::new(input, output)), cost(TokenCounts::new(input, 0)) + cost(TokenCounts::new(0, output)));
            prop_assert!(both.abs_diff(apart) <= 1);
            prop_assert!(cost(TokenCounts::new(input + 1, output)) >= both);
        }
    }
}

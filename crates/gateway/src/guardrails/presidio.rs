//! A Presidio analyser beside the recognisers: `POST …/analyze` gives what it finds in one text, by places
//! that count characters.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::Request;
use policy::guardrails::{Presidio, Writing};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::remote;
use super::texts::Text;
use crate::Gateway;

/// Texts that are analysed at once.
const AT_ONCE: usize = 8;

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Finding {
    entity_type: String,
    start: usize,
    end: usize,
    score: f64,
}

/// The kinds that are found, and the texts masked if `mask`. Errors with why they could not be analysed.
pub(super) async fn analyse(
    gateway: &Gateway,
    analyser: &Presidio,
    limit: Duration,
    texts: &mut [Text],
    mask: bool,
) -> Result<BTreeSet<String>, String> {
    let found = tokio::time::timeout(limit, all(gateway, analyser, texts)).await;
    let found = found
        .map_err(|_| format!("the Presidio analyser gave nothing within {} ms", limit.as_millis()))??;
    let mut kinds = BTreeSet::new();
    for (text, mut findings) in texts.iter_mut().zip(found) {
        // The score is in percent, and the threshold small.
        #[expect(clippy::cast_precision_loss, reason = "0 to 100")]
        let least = analyser.least_score as f64 / 100.0;
        // What is masked already is no name.
        findings.retain(|found| found.score >= least && found.start < found.end);
        kinds.extend(findings.iter().map(|found| name(&found.entity_type)));
        if mask {
            text.text = masked(&text.text, text.writing, findings)
                .ok_or("what the Presidio analyser found in JSON cannot be masked")?;
        }
    }
    Ok(kinds)
}

async fn all(gateway: &Gateway, analyser: &Presidio, texts: &[Text]) -> Result<Vec<Vec<Finding>>, String> {
    let one = |text: String| async move {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let body = json!({"text": text, "language": analyser.language});
        let request = Request::post(analyser.uri.clone());
        let answer = remote::post(gateway, "the Presidio analyser", request, &body).await?;
        serde_json::from_value(answer)
            .map_err(|e| format!("the Presidio analyser's answer cannot be read: {e}"))
    };
    let texts: Vec<String> = texts.iter().map(|text| text.text.clone()).collect();
    stream::iter(texts.into_iter().map(one)).buffered(AT_ONCE).try_collect().await
}

/// As placeholders have it: letters, digits and `_`.
fn name(entity: &str) -> String {
    entity.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

/// `None` where JSON would be none any more.
fn masked(text: &str, writing: Writing, mut findings: Vec<Finding>) -> Option<String> {
    findings.sort_by_key(|found| (found.start, usize::MAX - found.end));
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for found in findings {
        let place = |count: usize| places.get(count).copied().unwrap_or(text.len());
        let (from, to) = (place(found.start), place(found.end));
        if from >= at {
            out.push_str(&text[at..from]);
            out.extend(["<", &name(&found.entity_type), ">"]);
        }
        at = at.max(to);
    }
    out.push_str(&text[at..]);
    let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    (writing == Writing::Plain || !is_json(text) || is_json(&out)).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(entity: &str, start: usize, end: usize) -> Finding {
        Finding { entity_type: entity.into(), start, end, score: 0.9 }
    }

    #[test]
    fn places_count_characters_and_overlaps_are_one() {
        let findings = vec![finding("PERSON", 0, 4), finding("LOCATION", 2, 4), finding("LOCATION", 8, 14)];
        let masked = |text, writing, findings| super::masked(text, writing, findings);
        let plain = masked("Jörg in Zürich.", Writing::Plain, findings);
        assert_eq!(plain.as_deref(), Some("<PERSON> in <LOCATION>."));
        assert_eq!(masked("{\"a\":17}", Writing::Json, vec![finding("AGE", 5, 7)]), None);
        let within = masked("{\"a\":\"17\"}", Writing::Json, vec![finding("AGE", 6, 8)]);
        assert_eq!(within.as_deref(), Some("{\"a\":\"<AGE>\"}"));
    }
}

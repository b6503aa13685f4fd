//! Takes the entity's key out of what an upstream says of it: some repeat a key that they refuse, whole or in
//! part, and callers are not to know it.

use http::HeaderMap;
use providers::UpstreamError;
use serde_json::Value;

const HIDDEN: &str = "***";

/// Characters in a row that show a key; fewer where the word has a mask in it (`sk-p****7Q4A`), so that the
/// rest of it is known to be of a key.
const TELLING: usize = 8;
const TELLING_IN_MASK: usize = 4;
const MASKS: [&str; 3] = ["**", "..", "…"];

/// `headers` are those of the request: their values that are secret are the keys.
pub(super) fn unkeyed(mut error: UpstreamError, headers: &HeaderMap) -> UpstreamError {
    for value in headers.values().filter(|value| value.is_sensitive()) {
        // Without the scheme before it.
        let key = value.to_str().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
        if key.len() >= TELLING_IN_MASK {
            hide_in(&mut error.message, key);
            hide_within(&mut error.body, key);
        }
    }
    error
}

fn hide_within(value: &mut Value, key: &str) {
    match value {
        Value::String(text) => hide_in(text, key),
        Value::Array(items) => items.iter_mut().for_each(|item| hide_within(item, key)),
        Value::Object(fields) => fields.iter_mut().for_each(|(_, value)| hide_within(value, key)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn hide_in(text: &mut String, key: &str) {
    let words = text.split(|c: char| c.is_whitespace() || "\"'`(),;:<>{}[]=&".contains(c));
    let telling: Vec<String> = words.filter(|word| shows(word, key)).map(str::to_owned).collect();
    for word in telling {
        *text = text.replace(&word, HIDDEN);
    }
}

fn shows(word: &str, key: &str) -> bool {
    let masked = MASKS.iter().any(|mask| word.contains(mask));
    let telling = if masked { TELLING_IN_MASK } else { TELLING.min(key.len()) };
    (telling..=key.len())
        .filter_map(|end| key.get(end - telling..end))
        .any(|part| word.len() >= telling && word.contains(part))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::AUTHORIZATION;
    use serde_json::json;

    use super::*;

    const KEY: &str = "sk-proj-Zx81kQwe77Q4A";

    fn told(body: &Value) -> (String, Value) {
        let mut headers = HeaderMap::new();
        let mut value = HeaderValue::from_str(&format!("Bearer {KEY}")).unwrap();
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        headers.insert("x-plain", HeaderValue::from_static("Incorrect"));
        let error = UpstreamError::read(401, body.to_string().as_bytes(), |body| {
            Some(body["error"]["message"].as_str()?.to_owned())
        });
        let error = unkeyed(error, &headers);
        (error.message, error.body)
    }

    #[test]
    fn a_key_is_hidden_whole_cut_and_masked() {
        for shown in [KEY, &KEY[..10], &KEY[8..17], "sk-proj-*****7Q4A", "sk-p...", "…7Q4A"] {
            let sentence = format!("Incorrect API key: '{shown}'. Get one at https://p.example/keys");
            let body = json!({"error": {"message": sentence, "details": [{"key": shown}], "code": 7}});
            let (message, body) = told(&body);
            assert_eq!(message, "Incorrect API key: '***'. Get one at https://p.example/keys", "{shown}");
            assert_eq!(body["error"]["message"], message);
            assert_eq!(
                (&body["error"]["details"][0]["key"], &body["error"]["code"]),
                (&json!("***"), &json!(7))
            );
        }
    }

    #[test]
    fn what_shows_no_key_stays_as_it_is() {
        let body =
            json!({"error": {"message": "Incorrect sk-proj key, sk-… is expected (sk-ant-api03-...)"}});
        assert_eq!(told(&body).1, body);
    }
}

//! What callers attach to a request for accounting: an id and a context in the body, tags in a header of their own
//! (CONTRACT §6.2). Databricks names no bounds; ours keep the records of a call small.

use std::collections::BTreeMap;

use http::HeaderMap;
use wire::error::ApiError;

/// A JSON object whose values are text.
const REQUEST_TAGS: &str = "databricks-ai-gateway-request-tags";

/// Characters of an id.
const MAX_ID: usize = 256;

/// Keys of a map, and characters of a key and of a value.
const MAX_KEYS: usize = 64;
const MAX_TEXT: usize = 1024;

/// Errors where it is longer than an id may be.
pub(crate) fn check_id(name: &str, id: &str) -> Result<(), ApiError> {
    if is_within(id, MAX_ID) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{name}: it must have at most {MAX_ID} characters")))
}

/// Errors where there is more in it than is put on record.
pub(crate) fn check(name: &str, map: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if map.len() > MAX_KEYS {
        let message = format!("{name}: it has {} keys, at most {MAX_KEYS} are possible", map.len());
        return Err(ApiError::bad_request(message));
    }
    if map.iter().all(fits) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "{name}: keys and values must have at most {MAX_TEXT} characters each"
    )))
}

/// What of it is put on record, of a call that is refused for the rest.
pub(crate) fn kept_id(id: String) -> Option<String> {
    is_within(&id, MAX_ID).then_some(id)
}

/// As [`kept_id`].
pub(crate) fn kept(map: BTreeMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().filter(|(key, value)| fits((key, value))).take(MAX_KEYS).collect()
}

fn fits((key, value): (&String, &String)) -> bool {
    is_within(key, MAX_TEXT) && is_within(value, MAX_TEXT)
}

fn is_within(text: &str, most: usize) -> bool {
    text.chars().nth(most).is_none()
}

/// The tags of a request; of several headers all count, and of one name the last.
pub(crate) fn request_tags(headers: &HeaderMap) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for value in headers.get_all(REQUEST_TAGS) {
        if value.as_bytes().trim_ascii().is_empty() {
            continue;
        }
        let read: BTreeMap<String, String> = serde_json::from_slice(value.as_bytes()).map_err(|e| {
            ApiError::bad_request(format!(
                "the header Databricks-Ai-Gateway-Request-Tags must be a JSON object of texts, such as {{\"team\": \"a\"}}: {e}"
            ))
        })?;
        tags.extend(read);
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(values: &[&str]) -> Result<BTreeMap<String, String>, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(REQUEST_TAGS, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request_tags(&headers)
    }

    #[test]
    fn tags_are_texts_by_name() {
        let tags = read(&[r#"{"team": "größe", "run":"1"}"#, "", r#"{"run":"2"}"#]).unwrap();
        assert_eq!(tags, [("team".into(), "größe".into()), ("run".into(), "2".into())].into());
        assert!(read(&[]).unwrap().is_empty() && read(&["{}"]).unwrap().is_empty());
    }

    #[test]
    fn what_is_attached_is_bounded() {
        let map = |count: usize, length: usize| -> BTreeMap<String, String> {
            (0..count).map(|at| (format!("k{at}"), "é".repeat(length))).collect()
        };
        assert!(check("x", &map(MAX_KEYS, MAX_TEXT)).is_ok() && check_id("x", &"é".repeat(MAX_ID)).is_ok());
        for (bad, kept_of_it) in [(map(MAX_KEYS + 1, 1), MAX_KEYS), (map(2, MAX_TEXT + 1), 0)] {
            assert_eq!(check("x", &bad).unwrap_err().status, 400);
            assert_eq!(kept(bad).len(), kept_of_it);
        }
        assert_eq!(check_id("x", &"x".repeat(MAX_ID + 1)).unwrap_err().status, 400);
        assert_eq!(kept_id("x".repeat(MAX_ID + 1)), None);
    }

    #[test]
    fn what_is_no_object_of_texts_is_refused() {
        for bad in
            ["x", "[]", "null", r#"{"n":1}"#, r#"{"n":null}"#, r#"{"n":{}}"#, r#""a=b""#, r#"{"a":"b"} x"#]
        {
            let error = read(&[bad]).unwrap_err();
            assert!(error.status == 400 && error.message.contains("Request-Tags"), "{bad}");
        }
    }
}

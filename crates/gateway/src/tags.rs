//! What callers attach to a request for accounting, in a header of its own: CONTRACT §6.2.

use std::collections::BTreeMap;

use http::HeaderMap;
use wire::error::ApiError;

/// A JSON object whose values are text.
const REQUEST_TAGS: &str = "databricks-ai-gateway-request-tags";

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
    fn what_is_no_object_of_texts_is_refused() {
        for bad in
            ["x", "[]", "null", r#"{"n":1}"#, r#"{"n":null}"#, r#"{"n":{}}"#, r#""a=b""#, r#"{"a":"b"} x"#]
        {
            let error = read(&[bad]).unwrap_err();
            assert!(error.status == 400 && error.message.contains("Request-Tags"), "{bad}");
        }
    }
}

//! Parts of messages to parts of contents.

use ::wire::chat::{Content, Message, Part};
use serde_json::{Value, json};

use crate::codec::Refused;
use crate::unified::data_url;

/// The parts of a message; empty text, which the API refuses, is left out.
pub(super) fn parts(path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
    Ok(match &message.content {
        None => Vec::new(),
        Some(Content::Text(text)) => text_part(text).into_iter().collect(),
        Some(Content::Parts(parts)) => {
            let mut out = Vec::with_capacity(parts.len());
            for (at, part) in parts.iter().enumerate() {
                out.extend(one(&format!("{path}.content[{at}]"), part)?);
            }
            out
        }
    })
}

fn text_part(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({"text": text}))
}

fn one(path: &str, part: &Part) -> Result<Option<Value>, Refused> {
    Ok(match part.kind.as_str() {
        "text" | "input_text" | "output_text" | "refusal" => {
            let refusal = || part.extra.get("refusal").and_then(Value::as_str);
            part.text.as_deref().or_else(refusal).and_then(text_part)
        }
        // Thoughts are the model's own and need not come back.
        "reasoning" | "thinking" | "redacted_thinking" => None,
        "image_url" => {
            let image = part.image_url.as_ref();
            let url = image.map(|i| i.url.as_str()).unwrap_or_default();
            let told = image.and_then(|i| i.extra.get("format")).and_then(Value::as_str);
            Some(media(&format!("{path}.image_url.url"), url, told, "image/jpeg")?)
        }
        "video_url" => {
            let video = part.extra.get("video_url").unwrap_or(&Value::Null);
            let url = video["url"].as_str().unwrap_or_default();
            Some(media(&format!("{path}.video_url.url"), url, video["format"].as_str(), "video/mp4")?)
        }
        "input_audio" => Some(audio(path, part)?),
        "file" => Some(file(path, part)?),
        other => {
            return Err(Refused::new(
                format!("{path}.type"),
                format!("{other:?} is not understood by this provider"),
            ));
        }
    })
}

fn audio(path: &str, part: &Part) -> Result<Value, Refused> {
    let audio = part.extra.get("input_audio").unwrap_or(&Value::Null);
    let Some(data) = audio["data"].as_str().filter(|data| !data.is_empty()) else {
        return Err(Refused::new(format!("{path}.input_audio.data"), "is required"));
    };
    let mime_type = format!("audio/{}", audio["format"].as_str().unwrap_or("wav"));
    Ok(json!({"inlineData": {"mimeType": mime_type, "data": data}}))
}

fn file(path: &str, part: &Part) -> Result<Value, Refused> {
    let file = part.extra.get("file").unwrap_or(&Value::Null);
    let name = file["filename"].as_str().unwrap_or_default();
    let told = file["format"].as_str().or_else(|| mime_type(name));
    if let Some(data) = file["file_data"].as_str() {
        if is_reference(data) || data.starts_with("data:") {
            return media(&format!("{path}.file.file_data"), data, told, "application/pdf");
        }
        let mime_type = told.unwrap_or("application/pdf");
        return Ok(json!({"inlineData": {"mimeType": mime_type, "data": data}}));
    }
    match file["file_id"].as_str().filter(|id| is_reference(id)) {
        Some(uri) => media(&format!("{path}.file.file_id"), uri, told, "application/pdf"),
        None => Err(Refused::new(
            format!("{path}.file"),
            "must carry file_data as a base64 data URL, or a gs:// or https:// URI as file_id",
        )),
    }
}

fn is_reference(uri: &str) -> bool {
    ["https://", "http://", "gs://"].iter().any(|scheme| uri.starts_with(scheme))
}

/// Data as it is, or where it lies. `told` goes before what the ending says, and `assumed` stands for both.
fn media(path: &str, url: &str, told: Option<&str>, assumed: &str) -> Result<Value, Refused> {
    if let Some((found, data)) = data_url(url) {
        let mime_type = normal(if found.is_empty() { told.unwrap_or(assumed) } else { found });
        return Ok(json!({"inlineData": {"mimeType": mime_type, "data": data}}));
    }
    if !is_reference(url) {
        return Err(Refused::new(path, "must be an https or gs URI or a base64 data URL"));
    }
    let mime_type = normal(told.or_else(|| mime_type(url)).unwrap_or(assumed));
    Ok(json!({"fileData": {"mimeType": mime_type, "fileUri": url}}))
}

/// `image/jpg` is a common misspelling that the API refuses.
fn normal(mime_type: &str) -> &str {
    if mime_type == "image/jpg" { "image/jpeg" } else { mime_type }
}

/// What the ending of a name says.
fn mime_type(name: &str) -> Option<&'static str> {
    let path = name.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "m4a" => "audio/m4a",
        "mp4" => "video/mp4",
        "mov" => "video/mov",
        "webm" => "video/webm",
        _ => return None,
    })
}

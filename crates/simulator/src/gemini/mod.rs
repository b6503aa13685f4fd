//! Gemini: `generateContent`, streamed and not, and embeddings, at the paths of the Gemini API and of Vertex AI.

mod checks;
mod embeddings;

use std::borrow::Cow;

use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::echo::{
    Answer, Prompt, Said, Shape, Tokens, Tool, answer, chars_of, names_of, text_of, tokens_of,
};
use crate::format::{Call, Format, Refusal, Reply, decoded};
use crate::frames::{Frame, FrameWriter, Kind};

const ID: &str = "resp_simulated";
/// Base64, with the two characters that make it hard to carry.
const SIGNATURE: &str = "c2ln+m5h/HVyZQ==";
const THOUGHT: &str = "what is asked is said again";

/// Gemini.
pub(crate) struct Gemini;

impl Format for Gemini {
    fn claims(&self, path: &str) -> bool {
        let methods = [
            "generateContent",
            "streamGenerateContent",
            "countTokens",
            "embedContent",
            "batchEmbedContents",
            "predict",
        ];
        path.contains("/models/") && methods.contains(&method(path))
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        let has_key = headers.get("x-goog-api-key").is_some_and(|key| !key.is_empty());
        if has_key || token.is_some_and(|token| !token.is_empty() && !token.starts_with(REVOKED)) {
            return Ok(());
        }
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie \
                       or other valid authentication credential.";
        Err(Refusal::new(StatusCode::UNAUTHORIZED, message))
    }

    fn model<'a>(&self, path: &'a str, _body: &'a Value) -> Option<Cow<'a, str>> {
        let (_, rest) = path.rsplit_once("/models/")?;
        Some(decoded(rest.rsplit_once(':')?.0))
    }

    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let streamed = match method(call.path) {
            "generateContent" => false,
            "streamGenerateContent" => true,
            "countTokens" => return count(call),
            _ => return embeddings::reply(call),
        };
        let contents = checks::contents(call)?;
        let answer = call.answer(&prompt(call.body, contents));
        let summed_up = thoughts(call.body).unwrap_or(0);
        call.bill(Tokens { reasoning: summed_up, ..Tokens::new(0, summed_up) });
        if streamed {
            return Ok(Reply::Stream(stream(call, &answer)?));
        }
        let part = match &answer.said {
            Said::Text(text) => json!({"text": text.whole}),
            Said::Call { name, arguments, .. } => function_call(name, &arguments.whole)?,
        };
        let parts = thought(call.body).into_iter().chain([part]).collect();
        Reply::json(&event(call, parts, Some("STOP"), usage(call, &answer)))
    }

    fn error_body(&self, refusal: &Refusal, _request_id: &str) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&error(refusal))
    }

    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error> {
        writer.sse(Kind::Tail, None, &error(refusal))
    }

    fn request_id_header(&self) -> &'static str {
        "x-goog-request-id"
    }
}

/// The contents, or a whole request that holds them.
fn count(call: &Call<'_>) -> Result<Reply, Refusal> {
    let inner = call.body.get("generateContentRequest").unwrap_or(call.body);
    let call = Call { body: inner, ..*call };
    let contents = checks::contents(&call)?;
    let answer = answer(&prompt(inner, contents), call.script);
    Reply::json(&json!({"totalTokens": answer.tokens.input}))
}

/// What tokens that are accepted no more begin with.
pub(crate) const REVOKED: &str = "ya29.revoked";

/// What follows the last colon.
fn method(path: &str) -> &str {
    path.rsplit_once(':').map_or("", |(_, method)| method)
}

fn error(refusal: &Refusal) -> Value {
    let status = match refusal.status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        504 => "DEADLINE_EXCEEDED",
        501.. => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    };
    json!({"error": {"code": refusal.status.as_u16(), "message": refusal.message, "status": status}})
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    candidates: [Value; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Usage>,
    model_version: &'a str,
    response_id: &'a str,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content_token_count: Option<usize>,
    candidates_token_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts_token_count: Option<usize>,
    total_token_count: usize,
}

fn event<'a>(
    call: &Call<'a>,
    parts: Vec<Value>,
    finish: Option<&str>,
    usage_metadata: Option<Usage>,
) -> Event<'a> {
    let mut candidate = json!({"index": 0});
    candidate["content"] = json!({"role": "model", "parts": parts});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    Event { candidates: [candidate], usage_metadata, model_version: call.model, response_id: ID }
}

/// The summary of thoughts, where it is asked for.
fn thought(body: &Value) -> Option<Value> {
    let config = body.pointer("/generationConfig/thinkingConfig")?;
    let asked = field(config, "includeThoughts", "include_thoughts")?.as_bool()?;
    asked.then(|| json!({"text": THOUGHT, "thought": true}))
}

fn thoughts(body: &Value) -> Option<usize> {
    thought(body).map(|_| tokens_of(THOUGHT.len()))
}

fn function_call(name: &str, arguments: &str) -> Result<Value, serde_json::Error> {
    let args: Map<String, Value> = serde_json::from_str(arguments)?;
    Ok(json!({"functionCall": {"name": name, "args": args}, "thoughtSignature": SIGNATURE}))
}

fn usage(call: &Call<'_>, answer: &Answer) -> Option<Usage> {
    let tokens = answer.tokens;
    let summed_up = thoughts(call.body);
    let thoughts = tokens.reasoning + summed_up.unwrap_or(0);
    call.with_usage().then_some(Usage {
        prompt_token_count: tokens.input,
        cached_content_token_count: (tokens.cached > 0).then_some(tokens.cached),
        candidates_token_count: tokens.output - tokens.reasoning,
        thoughts_token_count: (thoughts > 0).then_some(thoughts).or(summed_up),
        total_token_count: tokens.total() + summed_up.unwrap_or(0),
    })
}

fn stream(call: &Call<'_>, answer: &Answer) -> Result<Vec<Frame>, serde_json::Error> {
    let mut writer = FrameWriter::default();
    if let Some(thought) = thought(call.body) {
        writer.sse(Kind::Head, None, &event(call, vec![thought], None, None))?;
    }
    match &answer.said {
        Said::Text(text) => {
            for piece in text.chunks() {
                writer.sse(Kind::Chunk, None, &event(call, vec![json!({"text": piece})], None, None))?;
            }
        }
        // A call comes whole.
        Said::Call { name, arguments, .. } => {
            let part = function_call(name, &arguments.whole)?;
            writer.sse(Kind::Chunk, None, &event(call, vec![part], None, None))?;
        }
    }
    let end = event(call, vec![json!({"text": ""})], Some("STOP"), usage(call, answer));
    writer.sse(Kind::Tail, None, &end)?;
    Ok(writer.finish())
}

fn parts(content: &Value) -> &Value {
    content.get("parts").unwrap_or(&Value::Null)
}

fn results(content: &Value) -> impl Iterator<Item = &Value> {
    parts(content).as_array().into_iter().flatten().filter_map(|part| part.get("functionResponse"))
}

fn prompt<'a>(body: &'a Value, contents: &'a [Value]) -> Prompt<'a> {
    let is_user = |content: &&Value| content.get("role").is_none_or(|role| role == "user");
    let spoken = |content: &&Value| results(content).next().is_none();
    let last_user = contents.iter().filter(is_user).rfind(spoken);
    let count = contents.iter().flat_map(results).count();
    let said: usize = contents.iter().map(|content| chars_of(parts(content))).sum();
    let answered: usize = contents
        .iter()
        .flat_map(results)
        .map(|r| r.get("response").map_or(0, |r| r.to_string().chars().count()))
        .sum();
    Prompt {
        chars: body.get("systemInstruction").map_or(0, |system| chars_of(parts(system))) + said + answered,
        last_user: last_user.map(|content| text_of(parts(content)).into_owned()).unwrap_or_default(),
        results: count,
        offered: declared(body).iter().flat_map(|list| names_of(Some(list), "/name")).collect(),
        tool: tool(body, count > 0),
        json: json_shape(body),
    }
}

/// A field in either of the spellings that JSON of protocol buffers has; the SDK sends both.
fn field<'a>(value: &'a Value, camel: &str, snake: &str) -> Option<&'a Value> {
    value.get(camel).or_else(|| value.get(snake))
}

fn declared(body: &Value) -> Vec<&Value> {
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    tools.filter_map(|tool| tool.get("functionDeclarations")).collect()
}

fn tool(body: &Value, has_result: bool) -> Option<Tool<'_>> {
    let config = body.pointer("/toolConfig/functionCallingConfig");
    let forced = match config.and_then(|config| config.get("mode")).and_then(Value::as_str) {
        Some("NONE") => return None,
        Some("ANY") => true,
        _ => false,
    };
    if has_result && !forced {
        return None;
    }
    let wanted =
        config.and_then(|config| field(config, "allowedFunctionNames", "allowed_function_names")?.get(0));
    let declared = declared(body).into_iter().filter_map(Value::as_array);
    let tool = declared.flatten().find(|tool| wanted.is_none() || tool.get("name") == wanted)?;
    let schema =
        field(tool, "parametersJsonSchema", "parameters_json_schema").or_else(|| tool.get("parameters"));
    Some(Tool { name: tool.get("name")?.as_str()?, schema: schema.unwrap_or(&Value::Null) })
}

fn json_shape(body: &Value) -> Option<Shape<'_>> {
    let config = body.get("generationConfig")?;
    let is_json = config.get("responseMimeType").is_some_and(|kind| kind == "application/json");
    let schema = config.get("responseJsonSchema").or_else(|| config.get("responseSchema"));
    is_json.then(|| schema.map_or(Shape::Any, Shape::Schema))
}

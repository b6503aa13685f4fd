//! Legacy completions: one choice per prompt.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::{CREATED, Usage, streams_usage};
use crate::echo::{Answer, Prompt, Said, Tokens};
use crate::format::{Call, Refusal, Reply};
use crate::frames::{Frame, FrameWriter, Kind};

const ID: &str = "cmpl-simulated";

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'a str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    text: &'a str,
    logprobs: Option<&'a str>,
    finish_reason: Option<&'a str>,
}

impl<'a> Choice<'a> {
    fn new(index: usize, text: &'a str, finish_reason: Option<&'a str>) -> Self {
        Self { index, text, logprobs: None, finish_reason }
    }
}

impl<'a> Completion<'a> {
    fn new(model: &'a str, choices: &'a [Choice<'a>], usage: Option<Usage>) -> Self {
        Self { id: ID, object: "text_completion", created: CREATED, model, choices, usage }
    }
}

pub(super) fn reply(call: &Call<'_>) -> Result<Reply, Refusal> {
    let prompts = texts(call.body.get("prompt").unwrap_or(&Value::Null));
    if prompts.is_empty() {
        return Err(Refusal::bad_param("prompt", "missing required parameter: prompt"));
    }
    let answers: Vec<Answer> = prompts.iter().map(|prompt| echo(prompt, call)).collect();
    let mut sum = Tokens::default();
    for answer in &answers {
        sum += answer.tokens;
    }
    let usage = Usage::of(sum);
    if call.wants_stream() {
        return Ok(Reply::Stream(stream(call, &answers, usage)?));
    }
    let choice = |(index, answer)| Choice::new(index, text(answer), Some("stop"));
    let choices: Vec<Choice<'_>> = answers.iter().enumerate().map(choice).collect();
    Reply::json(&Completion::new(call.model, &choices, call.with_usage().then_some(usage)))
}

fn echo(prompt: &str, call: &Call<'_>) -> Answer {
    let chars = prompt.chars().count();
    call.answer(&Prompt { chars, last_user: prompt.to_owned(), ..Prompt::default() })
}

fn text(answer: &Answer) -> &str {
    match &answer.said {
        Said::Text(text) => &text.whole,
        Said::Call { arguments, .. } => &arguments.whole,
    }
}

/// The texts of a `prompt` or `input`: a string, strings, token numbers, or lists of token numbers.
pub(super) fn texts(input: &Value) -> Vec<Cow<'_, str>> {
    match input {
        Value::String(text) => vec![Cow::Borrowed(text)],
        Value::Array(numbers) if numbers.first().is_some_and(Value::is_number) => vec![spelled(numbers)],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn spelled(numbers: &[Value]) -> Cow<'_, str> {
    Cow::Owned(numbers.iter().map(Value::to_string).collect::<Vec<_>>().join(" "))
}

fn stream(call: &Call<'_>, answers: &[Answer], usage: Usage) -> Result<Vec<Frame>, serde_json::Error> {
    let mut writer = FrameWriter::default();
    for (index, answer) in answers.iter().enumerate() {
        let Said::Text(text) = &answer.said else { continue };
        for piece in text.chunks() {
            let choices = [Choice::new(index, piece, None)];
            writer.sse(Kind::Chunk, None, &Completion::new(call.model, &choices, None))?;
        }
        let choices = [Choice::new(index, "", Some("stop"))];
        writer.sse(Kind::Tail, None, &Completion::new(call.model, &choices, None))?;
    }
    if streams_usage(call) {
        writer.sse(Kind::Tail, None, &Completion::new(call.model, &[], Some(usage)))?;
    }
    writer.raw(Kind::Done, b"data: [DONE]\n\n");
    Ok(writer.finish())
}

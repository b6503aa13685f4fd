//! Names of OpenTelemetry's semantic conventions for generative AI, in one place because they still change:
//! those of version 1.41.1, and those of the repository that they have moved to since.

use super::messages::{AnyValue, ArrayValue, KeyValue, Value};

pub(super) const OPERATION: &str = "gen_ai.operation.name";
pub(super) const PROVIDER: &str = "gen_ai.provider.name";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const TOKEN_TYPE: &str = "gen_ai.token.type";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const ERROR_TYPE: &str = "error.type";

/// Which of the two generations is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    V1_41,
    /// Those of the new repository, which have no version yet.
    Latest,
}

impl Names {
    pub(super) const fn schema_url(self) -> &'static str {
        match self {
            Self::V1_41 => "https://opentelemetry.io/schemas/1.41.1",
            Self::Latest => "",
        }
    }

    pub(super) const fn cache_written(self) -> &'static str {
        match self {
            Self::V1_41 => "gen_ai.usage.cache_creation.input_tokens",
            Self::Latest => "gen_ai.usage.cache_write.input_tokens",
        }
    }
}

/// Attributes of one span or data point.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn text(&mut self, key: &str, text: impl Into<String>) {
        self.add(key, Value::Text(text.into()));
    }

    pub(super) fn some_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    pub(super) fn integer(&mut self, key: &str, number: impl TryInto<i64>) {
        self.add(key, Value::Integer(number.try_into().unwrap_or(i64::MAX)));
    }

    pub(super) fn some_integer(&mut self, key: &str, number: Option<impl TryInto<i64>>) {
        if let Some(number) = number {
            self.integer(key, number);
        }
    }

    pub(super) fn some_double(&mut self, key: &str, number: Option<f64>) {
        if let Some(number) = number {
            self.add(key, Value::Double(number));
        }
    }

    pub(super) fn flag(&mut self, key: &str, flag: bool) {
        self.add(key, Value::Flag(flag));
    }

    pub(super) fn texts(&mut self, key: &str, texts: &[String]) {
        if texts.is_empty() {
            return;
        }
        let values = texts.iter().map(|text| AnyValue { value: Some(Value::Text(text.clone())) });
        self.add(key, Value::Array(ArrayValue { values: values.collect() }));
    }

    fn add(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) });
    }
}

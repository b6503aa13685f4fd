//! The Gemini format, and the token endpoint of Google.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{Bench, read};

fn path(model: &str, method: &str) -> String {
    format!("/v1beta/models/{model}:{method}")
}

fn hosted(model: &str, method: &str) -> String {
    format!("/v1/projects/p/locations/global/publishers/google/models/{model}:{method}")
}

fn contents() -> Value {
    json!({"systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [{"role": "user", "parts": [{"text": "höre mir zu"}]}]})
}

#[tokio::test]
async fn both_paths_stream_what_they_answer_unstreamed() {
    let bench = Bench::start();
    for model in ["gemini", "echo;chunks=7"] {
        for path in [path, hosted] {
            let whole = bench.post(&path(model, "generateContent"), &contents()).await.json();
            let stream = bench.post(&(path(model, "streamGenerateContent") + "?alt=sse"), &contents()).await;
            let text = "/candidates/0/content/parts/0/text";
            assert_eq!(stream.joined(text), whole.pointer(text).unwrap().as_str().unwrap());
            let events = stream.events();
            let last = events.last().unwrap();
            assert_eq!(last["usageMetadata"], whole["usageMetadata"]);
            assert_eq!(last["candidates"][0]["finishReason"], "STOP");
            assert!(events.iter().all(|event| event["modelVersion"] == model));
        }
    }
    let whole = bench.post(&path("gemini", "generateContent"), &contents()).await.json();
    let counts = json!({"promptTokenCount": 5, "candidatesTokenCount": 5, "totalTokenCount": 10});
    assert_eq!(whole["usageMetadata"], counts);
}

#[tokio::test]
async fn a_model_is_what_its_path_says_when_decoded() {
    let bench = Bench::start();
    let answer = bench.post(&path("echo%3Bchunks%3D2", "generateContent"), &contents()).await.json();
    assert_eq!(answer["modelVersion"], "echo;chunks=2");
    assert_eq!(answer["candidates"][0]["content"]["parts"][0]["text"], "tok-0 tok-1 ");
}

fn call(id: Option<&str>) -> Value {
    let mut call = json!({"name": "weather", "args": {"city": "Paris"}});
    if let Some(id) = id {
        call["id"] = id.into();
    }
    json!({"role": "model", "parts": [{"functionCall": call}]})
}

fn results(count: usize) -> Value {
    let result = json!({"functionResponse": {"name": "weather", "response": {"output": "sunny"}}});
    json!({"role": "user", "parts": vec![result; count]})
}

#[tokio::test]
async fn tools_are_called_until_there_is_a_result() {
    let bench = Bench::start();
    let mut body = contents();
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    body["tools"] = json!([{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": schema}]}]);
    let called = bench.post(&path("gemini", "generateContent"), &body).await.json();
    let part = &called["candidates"][0]["content"]["parts"][0];
    assert_eq!(part["functionCall"], json!({"name": "weather", "args": {"city": "Paris"}}));
    body["contents"].as_array_mut().unwrap().extend([call(None), results(1)]);
    let said = bench.post(&path("gemini", "generateContent"), &body).await.json();
    assert_eq!(said["candidates"][0]["content"]["parts"][0]["text"], "echo: höre mir zu");
}

async fn refused(bench: &Bench, path: &str, body: &Value) -> String {
    let got = bench.post(path, body).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}: {got:?}");
    assert_eq!(got.json()["error"]["status"], "INVALID_ARGUMENT");
    got.json()["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_the_api_refuses_is_refused() {
    let bench = Bench::start();
    let at = path("gemini", "generateContent");
    let with = |turns: &[Value]| {
        let mut body = contents();
        body["contents"].as_array_mut().unwrap().extend_from_slice(turns);
        body
    };
    let user = json!({"role": "user", "parts": [{"text": "x"}]});
    for (body, words) in [
        (json!({"contents": []}), "contents is not specified"),
        (json!({"contents": [user], "stream": true}), "Unknown name \"stream\""),
        (json!({"contents": [user], "generationConfig": {"max_tokens": 1}}), "Unknown name \"max_tokens\""),
        (json!({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}), "valid role"),
        (json!({"contents": [{"role": "user", "parts": []}]}), "at least one parts field"),
        (with(std::slice::from_ref(&user)), "alternate"),
        (with(&[call(None), results(2)]), "is equal to the number"),
        (with(&[call(None), user.clone()]), "is equal to the number"),
        (with(&[results(1)]), "is equal to the number"),
    ] {
        let message = refused(&bench, &at, &body).await;
        assert!(message.contains(words), "{body}: {message}");
    }
    let with_ids = with(&[call(Some("c")), results(1)]);
    assert_eq!(bench.post(&at, &with_ids).await.status, StatusCode::OK);
    assert!(refused(&bench, &hosted("gemini", "generateContent"), &with_ids).await.contains("\"id\""));
}

#[tokio::test]
async fn a_key_or_a_token_is_required() {
    let bench = Bench::start();
    for (name, value, status) in [
        ("x-goog-api-key", "key", StatusCode::OK),
        ("authorization", "Bearer t", StatusCode::OK),
        ("authorization", "Bearer ya29.revoked-0", StatusCode::UNAUTHORIZED),
        ("x-api-key", "key", StatusCode::UNAUTHORIZED),
    ] {
        let request = Request::post(format!("{}{}", bench.url, path("m", "generateContent")));
        let request = request.header(name, value).body(Full::from(contents().to_string())).unwrap();
        assert_eq!(read(bench.send(request).await).await.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn the_three_ways_of_embedding_give_one_vector() {
    let bench = Bench::start();
    let content = json!({"parts": [{"text": "abc"}]});
    let predicted = json!({"instances": [{"content": "abc"}], "parameters": {"outputDimensionality": 4}});
    let predicted = bench.post(&hosted("text-embedding-005", "predict"), &predicted).await.json();
    let batch = json!({"requests": [{"model": "models/m", "content": content, "outputDimensionality": 4}]});
    let batch = bench.post(&path("m", "batchEmbedContents"), &batch).await.json();
    let one = json!({"content": content, "embedContentConfig": {"outputDimensionality": 4}});
    let one = bench.post(&hosted("gemini-embedding-2", "embedContent"), &one).await.json();
    assert_eq!(one["embedding"]["values"].as_array().map(Vec::len), Some(4));
    assert_eq!(predicted["predictions"][0]["embeddings"]["values"], one["embedding"]["values"]);
    assert_eq!(batch["embeddings"][0]["values"], one["embedding"]["values"]);
    let two = json!({"instances": [{"content": "a"}, {"content": "b"}]});
    refused(&bench, &hosted("gemini-embedding-001", "predict"), &two).await;
}

#[expect(clippy::disallowed_methods, reason = "an assertion is good for the present only")]
fn assertion(edit: impl FnOnce(&mut Value)) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({"iss": "a@p.iam.gserviceaccount.com", "aud": "http://h/google/token", "iat": now, "exp": now + 3600,
        "scope": "https://www.googleapis.com/auth/cloud-platform"});
    edit(&mut claims);
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let head = json!({"alg": "RS256", "typ": "JWT"});
    let signature = URL_SAFE_NO_PAD.encode([7; 256]);
    format!("{}.{}.{signature}", part(&head.to_string()), part(&claims.to_string()))
}

async fn exchanged(bench: &Bench, assertion: &str) -> (StatusCode, Value) {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
        .append_pair("assertion", assertion)
        .finish();
    let request = Request::post(format!("{}/google/token", bench.url)).body(Full::from(form)).unwrap();
    let got = read(bench.send(request).await).await;
    (got.status, got.json())
}

#[tokio::test]
async fn an_assertion_is_exchanged_when_it_is_good() {
    let bench = Bench::start();
    let (status, token) = exchanged(&bench, &assertion(|_| {})).await;
    assert_eq!((status, &token["token_type"]), (StatusCode::OK, &json!("Bearer")));
    assert!(token["access_token"].as_str().unwrap().starts_with("ya29.") && token["expires_in"] == 3599);
    let mut bad = vec!["x".to_owned(), assertion(|_| {}).rsplit_once('.').unwrap().0.to_owned() + ".QQ"];
    for (claim, value) in [
        ("exp", json!(1)),
        ("iat", json!(1)),
        ("aud", json!("http://h/x")),
        ("scope", json!("s")),
        ("iss", json!("refused@p")),
    ] {
        bad.push(assertion(|claims| claims[claim] = value));
    }
    for assertion in bad {
        let (status, error) = exchanged(&bench, &assertion).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{assertion}");
        assert!(error["error"].is_string() && error["error_description"].is_string());
    }
    assert!(bench.ledger.requests().is_empty());
}

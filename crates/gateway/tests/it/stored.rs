//! Responses that upstreams keep: their ids go to whom they belong and say nothing to anybody else.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Method, Request};
use http_body_util::Full;
use journal::{Outcome, Provenance};
use policy::limits::Outputs;
use serde_json::{Value, json};
use tollgate_gateway::GatewayConfig;

use crate::client::{Got, post};
use crate::raw::{End, Play, Raw};
use crate::world::{CHAT, Entity, Setup, TOKEN, VIEWER, World, world, world_with};

const PATH: &str = "/ai-gateway/openai/v1/responses";
const BASES: [&str; 7] = [
    "/serving-endpoints",
    "/ai-gateway/openai/v1",
    "/openai/v1",
    "/ai-gateway/codex/v1",
    "/codex/v1",
    "/ai-gateway/mlflow/v1",
    "/mlflow/v1",
];

fn said(text: &str) -> Value {
    json!({"model": "e", "input": text})
}

fn going_on(id: &Value) -> Value {
    json!({"model": "e", "input": "and?", "previous_response_id": id})
}

pub(crate) async fn call(world: &World, method: Method, path: &str, token: &str) -> Got {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "g")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::default())
        .unwrap();
    world.send(request).await.read().await
}

pub(crate) async fn get(world: &World, path: &str) -> Got {
    call(world, Method::GET, path, TOKEN).await
}

/// The id of a response, and that of its item, which must be those of clients.
fn ids(response: &Value) -> (String, String) {
    let id = |value: &Value, prefix: &str| {
        let id = value.as_str().unwrap().to_owned();
        assert!(id.starts_with(prefix) && id.len() <= 64, "{id}");
        id
    };
    (id(&response["id"], "resp_"), id(&response["output"][0]["id"], "msg_"))
}

/// Two entities that keep responses, of which the one of this name is drawn.
fn drawn(world: &World, name: &str) {
    let entity =
        |own: &str, model: &str| Entity::new("openai", model).named(own, if own == name { 100 } else { 0 });
    world.endpoint("e", CHAT, true, &[entity("one", "gpt-a"), entity("two", "gpt-b")]);
}

#[tokio::test]
async fn a_response_is_kept_asked_for_and_deleted_at_every_base() {
    for provider in ["openai", "azure"] {
        for base in BASES {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, "gpt-x")]);
                let made = world.post(&format!("{base}/responses"), &said("hi")).await.json();
                let (id, item) = ids(&made);
                let own = world.ledger.requests().pop().unwrap();
                assert!(own.path.ends_with("/responses"), "{}", own.path);
                let path = format!("{base}/responses/{id}");
                assert_eq!(get(world, &path).await.json(), made);
                let items = get(world, &format!("{path}/input_items?limit=5&x=1")).await.json();
                let first = items["data"][0]["id"].as_str().unwrap().to_owned();
                assert!(items["first_id"] == *first && first != item, "{items}");
                let rest = get(world, &format!("{path}/input_items?after={first}")).await.json();
                assert_eq!(rest["data"], json!([]), "{rest}");
                let asked = world.ledger.requests().pop().unwrap();
                assert!(
                    asked.path.contains("/input_items?after=msg_in") && asked.method == "GET",
                    "{}",
                    asked.path
                );
                let cancelled = call(world, Method::POST, &format!("{path}/cancel"), TOKEN).await;
                assert_eq!(cancelled.status, 400, "{cancelled:?}");
                let deleted = call(world, Method::DELETE, &path, TOKEN).await;
                assert_eq!(deleted.json(), json!({"id": id, "object": "response", "deleted": true}));
                assert_eq!(get(world, &path).await.status, 404);
                let seen = format!("{:?}", world.ledger.requests());
                assert!(!seen.contains(&id) && !seen.contains(&item) && !seen.contains(TOKEN), "{seen}");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn what_is_asked_of_a_kept_response_is_recorded_and_uses_nothing() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        let (id, _) =
            ids(&world.post(PATH, &json!({"model": "e", "input": "hi", "background": true})).await.json());
        assert!(world.records.last().usage.is_some());
        let cancelled = call(world, Method::POST, &format!("{PATH}/{id}/cancel"), TOKEN).await.json();
        assert_eq!((&cancelled["status"], &cancelled["id"]), (&json!("cancelled"), &json!(id)));
        let streamed = get(world, &format!("{PATH}/{id}?stream=true&starting_after=0")).await;
        assert_eq!(streamed.headers["content-type"], "text/event-stream; charset=utf-8");
        assert!(streamed.text.contains(&format!("\"id\":\"{id}\"")), "{streamed:?}");
        for settled in &world.records.settlements()[1..] {
            assert!(settled.usage.is_none() && settled.outcome == Outcome::Completed, "{settled:?}");
        }
        let admitted = world.records.admissions();
        assert!(
            admitted.len() == 3 && admitted.iter().all(|a| *a.endpoint == *"e" && *a.requester == *"ann")
        );
        for (token, status) in [(VIEWER, 403), ("dapi-nobody", 403)] {
            let got = call(world, Method::GET, &format!("{PATH}/{id}"), token).await;
            assert!(got.status == status && got.json()["error"]["message"].is_string(), "{got:?}");
        }
        // Who is known and may not is on record, who is not known is not.
        assert_eq!(world.records.admissions().len(), 4);
        assert_eq!(world.records.last().outcome, Outcome::Refused);
    })
    .await;
}

/// What is counted of an answer that is not there yet: a bound that the request gives, and what is usual.
fn bounds() -> [(Value, u64); 2] {
    [(json!(700), 700), (Value::Null, Outputs::default().expected())]
}

#[tokio::test]
async fn an_answer_that_is_still_to_be_made_is_counted_at_its_bound() {
    for status in ["queued", "in_progress"] {
        for (bound, output) in bounds() {
            world(async |world| {
                let whole = json!({"id": "resp_1f", "object": "response", "status": status, "background": true,
                    "output": [], "usage": null});
                let raw = Raw::start(world, Play::whole("200 OK", "", &whole.to_string())).await;
                world.chat("e", &[Entity::new("openai", "m").at(raw.url.clone())]);
                let body = json!({"model": "e", "input": "hi", "background": true, "max_output_tokens": bound});
                assert_eq!(world.post(PATH, &body).await.status, 200);
                let usage = world.records.only().usage.unwrap();
                assert_eq!((usage.tokens().output(), usage.provenance), (output, Provenance::Estimated));
                assert_eq!(usage.tokens().input(), 1);
            })
            .await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_goes_on_without_its_client_is_counted_at_its_bound() {
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1f\",\"status\":\"queued\"}}\n\n";
    for (bound, output) in bounds() {
        for background in [true, false] {
            world(async |world| {
                let raw = Raw::start(world, Play::open_stream(&[created]).end(End::Hang)).await;
                world.chat("e", &[Entity::new("openai", "m").at(raw.url.clone())]);
                let body = json!({"model": "e", "input": "hi", "stream": true, "background": background,
                    "max_output_tokens": bound});
                let mut running = world.open(PATH, &body).await;
                running.until("response.created").await;
                drop(running);
                let settled = world.settled(Duration::from_secs(5)).await;
                let usage = settled.usage.unwrap();
                assert_eq!((settled.outcome, usage.provenance), (Outcome::Cancelled, Provenance::Estimated));
                assert_eq!(usage.tokens().output(), if background { output } else { 0 });
            })
            .await;
        }
    }
}

#[tokio::test]
async fn only_ids_change_in_what_passes() {
    let own = "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b";
    let whole = format!(
        r#"{{"id": "{own}" ,"x":1.50,"output":[{{"id":"msg_1f","type":"message","content":[{{"text":"msg_1f"}}]}},{{"type":"new"}}],"usage":{{"input_tokens":1,"output_tokens":1}}}}"#
    );
    let events = [
        format!("event: response.created\ndata: {{\"type\":\"response.created\",  \"response\":{{\"id\":\"{own}\",\"output\":[]}}}}\n\n"),
        "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"item\":{\"id\":\"msg_1f\",\"n\":2e-3}}\n\n".to_owned(),
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1f\",\"delta\":\"msg_1f\"}\n\n".to_owned(),
        "event: hologram\ndata: {\"type\":\"hologram\",\"id\":7,\"output\":\"no list\"}\n\n".to_owned(),
        format!("event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"id\":\"{own}\",\"output\":[{{\"id\":\"msg_1f\"}}],\"usage\":{{\"input_tokens\":3,\"output_tokens\":1}}}}}}\n\n"),
    ];
    for store in [json!(null), json!(true), json!(false)] {
        world(async |world| {
            let mut body = said("hi");
            body["store"] = store.clone();
            let raw = Raw::start(world, Play::whole("200 OK", "", &whole)).await;
            world.chat("e", &[Entity::new("openai", "m").at(raw.url.clone())]);
            let got = world.post(PATH, &body).await;
            let kept = store != json!(false);
            let (id, item) = match kept {
                true => ids(&got.json()),
                false => (own.to_owned(), "msg_1f".to_owned()),
            };
            assert!(kept == (id != own));
            let expected = whole.replace(own, &id).replace(r#""id":"msg_1f""#, &format!(r#""id":"{item}""#));
            assert_eq!(got.text, expected);
            body["stream"] = true.into();
            let pieces: Vec<&str> = events.iter().map(String::as_str).collect();
            let raw = Raw::start(world, Play::stream(&pieces)).await;
            world.chat("e", &[Entity::new("openai", "m").at(raw.url.clone())]);
            let got = world.post(PATH, &body).await;
            let start = got.text.find("\"id\":\"").unwrap() + 6;
            let id = &got.text[start..start + got.text[start..].find('"').unwrap()];
            let start = got.text.find("\"item_id\":\"").unwrap() + 11;
            let item = &got.text[start..start + got.text[start..].find('"').unwrap()];
            assert!(kept == (id != own) && kept == (item != "msg_1f"), "{got:?}");
            let expected = events.concat().replace(own, id);
            let expected = expected
                .replace("\"id\":\"msg_1f\"", &format!("\"id\":\"{item}\""))
                .replace("\"item_id\":\"msg_1f\"", &format!("\"item_id\":\"{item}\""));
            assert_eq!(got.text, expected);
        })
        .await;
    }
}

#[tokio::test]
async fn a_conversation_goes_on_where_it_is_kept_and_nowhere_else() {
    for stream in [false, true] {
        world(async |world| {
            drawn(world, "two");
            let mut asked = said("hi");
            asked["stream"] = stream.into();
            let got = world.post(PATH, &asked).await;
            let made = if stream { completed(&got) } else { got.json() };
            let (id, item) = ids(&made);
            drawn(world, "one");
            let mut next = going_on(&json!(id));
            next["stream"] = stream.into();
            let got = world.post(PATH, &next).await;
            assert_eq!(got.headers["served-model-name"], "two", "{got:?}");
            let again = if stream { completed(&got) } else { got.json() };
            assert_eq!(again["previous_response_id"], id);
            // The type of a reference may be left out.
            for reference in [
                json!({"type": "item_reference", "id": item}),
                json!({"type": null, "id": item}),
                json!({"id": item}),
            ] {
                let body = json!({"model": "e", "input": [reference, {"role": "user", "content": "go on"}]});
                let got = world.post(PATH, &body).await;
                assert_eq!(
                    (got.status, &got.headers["served-model-name"]),
                    (200, &"two".parse().unwrap()),
                    "{got:?}"
                );
                let sent = world.ledger.requests().pop().unwrap().body;
                assert!(sent["input"][0]["id"].is_string() && sent["input"][0]["id"] != item, "{sent}");
                assert_eq!(sent["model"], "gpt-b");
            }
        })
        .await;
    }
}

/// The response at the end of a stream.
fn completed(got: &Got) -> Value {
    assert_eq!(got.status, 200, "{got:?}");
    let last = got.text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    serde_json::from_str::<Value>(last).unwrap()["response"].take()
}

#[tokio::test]
async fn no_other_entity_is_tried_for_what_one_keeps() {
    world(async |world| {
        let kept = r#"{"id":"resp_1f","output":[{"id":"msg_1f"}]}"#;
        let raw = Raw::with(world, move |number| match number {
            0 => Play::whole("200 OK", "", kept),
            _ => Play::whole("500 No", "", r#"{"error":{"message":"m"}}"#),
        })
        .await;
        let keeps = Entity::new("openai", "m").at(&raw.url);
        let other = Entity::new("openai", "m").named("other", 0);
        world.endpoint("e", CHAT, true, &[keeps, other]);
        let (id, _) = ids(&world.post(PATH, &said("hi")).await.json());
        for got in [world.post(PATH, &going_on(&json!(id))).await, get(world, &format!("{PATH}/{id}")).await]
        {
            let settled = world.records.last();
            assert_eq!(
                (got.status, settled.attempts.len(), settled.outcome),
                (500, 1, Outcome::Failed),
                "{got:?}"
            );
        }
        assert!(world.ledger.requests().is_empty());
        assert_eq!(world.post(PATH, &said("hi")).await.headers["served-model-name"], "other");
    })
    .await;
}

#[tokio::test]
async fn an_id_is_good_for_its_endpoint_alone() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        world.chat("f", &[Entity::new("openai", "gpt-x")]);
        let (id, item) = ids(&world.post(PATH, &said("hi")).await.json());
        let sent = world.ledger.requests().len();
        let elsewhere = json!({"model": "f", "input": "x", "previous_response_id": id});
        let own = "resp_0af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de";
        for body in [
            elsewhere,
            going_on(&json!(own)),
            going_on(&json!("resp_simulated")),
            json!({"model": "f", "input": [{"type": "item_reference", "id": item}]}),
            json!({"model": "e", "input": [{"type": "item_reference", "id": "msg_1f"}]}),
        ] {
            let got = world.post(PATH, &body).await;
            let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(got.status == 400 && message.contains("was not given out"), "{got:?}");
        }
        for unknown in [own, "resp_x", "%2e%2e", "models"] {
            assert_eq!(get(world, &format!("{PATH}/{unknown}")).await.status, 404, "{unknown}");
        }
        assert_eq!(world.ledger.requests().len(), sent);
    })
    .await;
}

#[tokio::test]
async fn who_is_gone_cannot_go_on() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        let (id, _) = ids(&world.post(PATH, &said("hi")).await.json());
        world.chat("e", &[Entity::new("openai", "gpt-y")]);
        let got = world.post(PATH, &going_on(&json!(id))).await;
        assert!(got.status == 400 && got.text.contains("no longer part of"), "{got:?}");
        assert_eq!(get(world, &format!("{PATH}/{id}")).await.status, 404);
        // Where nobody keeps anything, that is what is said.
        world.chat("e", &[Entity::new("anthropic", "claude-x")]);
        let got = world.post(PATH, &going_on(&json!(id))).await;
        assert!(got.status == 400 && got.text.contains("keeps nothing between calls"), "{got:?}");
        let (translated, _) = {
            let made = world.post(PATH, &said("hi")).await.json();
            (made["id"].as_str().unwrap().to_owned(), ())
        };
        assert_eq!(get(world, &format!("{PATH}/{translated}")).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn items_that_say_everything_go_to_any_entity_without_anothers_id() {
    world(async |world| {
        drawn(world, "two");
        let made = world.post(PATH, &said("hi")).await.json();
        drawn(world, "one");
        let asked = json!({"model": "e", "input": [{"role": "user", "content": "hi"}, made["output"][0], {"role": "user", "content": "go on"}]});
        for (name, has_id) in [("one", false), ("two", true)] {
            drawn(world, name);
            let got = world.post(PATH, &asked).await;
            assert_eq!(got.headers["served-model-name"], name, "{got:?}");
            let sent = world.ledger.requests().pop().unwrap().body;
            let id = sent["input"][1]["id"].as_str();
            assert!(id.is_some() == has_id && id != made["output"][0]["id"].as_str(), "{sent}");
        }
        // A thought that is only referred to is with whom it is kept.
        let thought = json!({"type": "reasoning", "id": made["output"][0]["id"], "summary": []});
        drawn(world, "one");
        let got = world.post(PATH, &json!({"model": "e", "input": [{"role": "user", "content": "hi"}, thought]})).await;
        assert_eq!(got.headers["served-model-name"], "two", "{got:?}");
        let other = world.post(PATH, &said("hi")).await.json();
        assert_eq!(other["model"], "gpt-a");
        let both = json!({"model": "e", "previous_response_id": other["id"], "input": [thought]});
        let got = world.post(PATH, &both).await;
        assert!(got.status == 400 && got.text.contains("another served entity"), "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn an_id_that_is_too_long_passes_and_is_good_for_nothing() {
    world(async |world| {
        let long = format!("resp_{}", "Z".repeat(50));
        let whole = json!({"id": long, "output": []}).to_string();
        let raw = Raw::start(world, Play::whole("200 OK", "", &whole)).await;
        world.chat("e", &[Entity::new("openai", "m").at(raw.url.clone())]);
        let got = world.post(PATH, &said("hi")).await;
        assert_eq!(got.text, whole);
        let sent = raw.requests();
        let got = world.post(PATH, &going_on(&json!(long))).await;
        assert!(got.status == 400 && got.text.contains("too long"), "{got:?}");
        assert_eq!((get(world, &format!("{PATH}/{long}")).await.status, raw.requests()), (404, sent));
    })
    .await;
}

#[tokio::test]
async fn nobody_asks_without_a_token() {
    world(async |world| {
        let request =
            Request::get(format!("{PATH}/resp_1")).header("host", "g").body(Full::default()).unwrap();
        assert_eq!(world.send(request).await.read().await.status, 401);
        let got = world.send(post(&format!("{PATH}/resp_1/cancel"), TOKEN, "")).await.read().await;
        assert_eq!(got.status, 404);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_item_is_refused_on_record_and_after_the_permission() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        let (id, _) = ids(&world.post(PATH, &said("hi")).await.json());
        let path = format!("{PATH}/{id}/input_items?after=msg_bogus");
        for (token, status) in [(TOKEN, 400), (VIEWER, 403)] {
            let got = call(world, Method::GET, &path, token).await;
            assert_eq!(got.status, status, "{got:?}");
            let settled = world.records.last();
            assert_eq!((settled.outcome, settled.status), (Outcome::Refused, status));
        }
        assert_eq!(world.records.admissions().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn tags_are_bounded_where_a_kept_response_is_asked_for_too() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        let (id, _) = ids(&world.post(PATH, &said("hi")).await.json());
        for (length, status) in [(1_024, 200), (1_025, 400)] {
            let request = Request::get(format!("{PATH}/{id}"))
                .header("host", "g")
                .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
                .header("databricks-ai-gateway-request-tags", json!({"team": "a".repeat(length)}).to_string())
                .body(Full::default())
                .unwrap();
            let got = world.send(request).await.read().await;
            assert_eq!(got.status, status, "{got:?}");
        }
    })
    .await;
}

/// There is no word for it in the conventions, and it is no chat.
#[tokio::test]
async fn telemetry_is_told_of_no_inference_where_a_kept_response_is_read() {
    let config = GatewayConfig { describe: true, ..GatewayConfig::default() };
    world_with(Setup { config, ..Setup::default() }, async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        let (id, _) = ids(&world.post(PATH, &said("hi")).await.json());
        assert_eq!(get(world, &format!("{PATH}/{id}")).await.status, 200);
        let described: Vec<bool> =
            world.records.settled().iter().map(|(admission, _)| admission.inference.is_some()).collect();
        assert_eq!(described, [true, false]);
    })
    .await;
}

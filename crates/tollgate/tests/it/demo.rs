//! `tollgate demo`: everything in one process, and what it prints works as printed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use tokio::time::Instant;

use crate::world::client::Client;
use crate::world::process::Process;
use crate::world::{PATIENCE, World};

/// From the start of the process to the line that says it is ready.
const READY_WITHIN: Duration = Duration::from_secs(if cfg!(debug_assertions) { 3 } else { 1 });

pub(crate) struct Demo {
    pub(crate) process: Process,
    pub(crate) client: Client,
    pub(crate) simulator: String,
    data: PathBuf,
}

impl Demo {
    pub(crate) async fn start(world: &World, arguments: &[&str]) -> Self {
        let usual = ["demo", "-o", "json", "--listen", "127.0.0.1:0"];
        let process = world.start(&[&usual, arguments].concat(), &[]);
        let line = process.stdout.until("url", |line| line.contains("\"url\"")).await;
        let line: Value = serde_json::from_str(&line).unwrap();
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["url", "token", "simulator_url", "data"]);
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let client = Client::new(address_of(&text("url")), &text("token"));
        Self { process, client, simulator: text("simulator_url"), data: text("data").into() }
    }

    /// The simulator's own pages.
    pub(crate) fn upstream(&self) -> Client {
        Client::new(address_of(&self.simulator), "")
    }
}

fn address_of(url: &str) -> SocketAddr {
    url.strip_prefix("http://").and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{url:?}"))
}

#[tokio::test]
async fn it_is_ready_at_once_and_says_so_in_one_line() {
    let world = World::alone().await;
    let since = Instant::now();
    let demo = Demo::start(&world, &[]).await;
    let took = since.elapsed();
    println!("ready after {took:?}");
    assert!(took < READY_WITHIN, "{took:?}");
    let endpoints = demo.client.endpoints().await;
    for name in ["demo-chat", "demo-claude", "demo-split"] {
        assert!(endpoints.iter().any(|there| there == name), "{endpoints:?}");
        assert_eq!(demo.client.ask(name, false).await.content(), "echo: hello");
        let streamed = demo.client.ask(name, true).await;
        assert!(streamed.is_done(), "{streamed:?}");
        assert_eq!(streamed.streamed_text(), "echo: hello");
    }
    assert_eq!(demo.upstream().get("/_ledger/summary").await.json()["total"], 6);
    let done = demo.process.stop().await;
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
    assert_calm(&done.stderr);
}

#[tokio::test]
async fn a_temporary_folder_goes_with_the_process() {
    let world = World::shared().await;
    for signal in ["TERM", "INT"] {
        let mut demo = Demo::start(&world, &[]).await;
        assert!(demo.data.join("master.key").exists());
        assert_eq!(demo.data.parent(), Some(world.temporary().canonicalize().unwrap().as_path()));
        assert_private(&demo.data);
        demo.process.signal(signal).await;
        assert_eq!(demo.process.exit(PATIENCE).await, Some(0), "{signal}");
        assert!(!demo.data.exists(), "{signal} leaves the folder behind");
    }
}

/// Nothing went wrong, so there is nothing to warn of.
pub(crate) fn assert_calm(log: &str) {
    let is_worry = |line: &&str| !line.contains("\"level\":\"INFO\"");
    let worries: Vec<&str> = log.lines().filter(is_worry).collect();
    assert!(worries.is_empty(), "{worries:#?}");
}

fn assert_private(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "others may look into {}", folder.display());
}

#[tokio::test]
async fn data_that_is_kept_can_be_used_again() {
    let world = World::shared().await;
    let folder = world.path("kept");
    let arguments = ["--data", folder.to_str().unwrap()];
    let mut tokens = Vec::new();
    for round in 0..3 {
        let demo = Demo::start(&world, &arguments).await;
        assert_eq!(demo.data, folder.canonicalize().unwrap());
        assert_private(&folder);
        tokens.push(world_token(&folder));
        // The simulator of each run has a port of its own.
        assert_eq!(demo.client.ask("demo-chat", false).await.content(), "echo: hello", "round {round}");
        assert_eq!(demo.client.endpoints().await.len(), 5 + round);
        demo.client.create(&format!("mine-{round}"), &world.chat_config("gpt")).await;
        demo.process.stop().await;
        assert!(folder.join("master.key").exists());
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "the token is kept as well");
}

fn world_token(folder: &std::path::Path) -> String {
    std::fs::read_to_string(folder.join("admin.token")).unwrap()
}

#[tokio::test]
async fn it_stays_on_loopback() {
    let world = World::shared().await;
    for listen in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0"] {
        let done = world.run(&["demo", "--listen", listen], &[]).await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("loopback") && done.stderr.contains(listen), "{done:?}");
    }
    let left = std::fs::read_dir(world.temporary()).unwrap().count();
    assert_eq!(left, 0, "a refused demo leaves nothing behind");
}

#[tokio::test]
async fn two_at_once_find_a_port_each() {
    let world = World::shared().await;
    let processes = [0, 1].map(|_| world.start(&["demo", "-o", "json"], &[]));
    let mut urls = Vec::new();
    for process in &processes {
        urls.push(process.stdout.until("url", |line| line.contains("\"url\"")).await);
    }
    assert_ne!(urls[0], urls[1]);
}

#[tokio::test]
async fn the_printed_curl_line_works() {
    let world = World::shared().await;
    let process = world.start(&["demo", "--listen", "127.0.0.1:0"], &[]);
    // The last line of the guide.
    process.stdout.until("ctrl-C", |line| line.contains("ctrl-C")).await;
    let guide = process.stdout.text();
    let line = guide[guide.find("curl -s").unwrap()..].split("\n\n").next().unwrap();
    let (address, request) = request_of(&words(line));
    let answer = Client::new(address, "").open(request).await.read().await;
    assert_eq!((answer.status, answer.content().as_str()), (200, "echo: hello"), "{line}");
    // The Python snippet names the same server and token.
    let token = line.split("Bearer ").nth(1).unwrap().split('"').next().unwrap();
    let python = format!("OpenAI(api_key=\"{token}\", base_url=\"http://{address}/serving-endpoints\")");
    assert!(guide.contains(&python), "{guide}");
    let listing = guide.lines().find(|line| line.contains("list them")).unwrap();
    let (address, request) = request_of(&words(&listing[listing.find("curl").unwrap()..]));
    let answer = Client::new(address, "").open(request).await.read().await;
    assert!(answer.status == 200 && answer.text.contains("demo-split"), "{answer:?}");
    process.stop().await;
}

/// Splits a command as a shell does: quotes, and a backslash at the end of a line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote, mut chars) = (vec![String::new()], None, line.chars());
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None) => assert_eq!(chars.next(), Some('\n'), "{line}"),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ' | '\n', None) => words.push(String::new()),
            (c, _) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What curl would send.
fn request_of(words: &[String]) -> (SocketAddr, Request<Full<bytes::Bytes>>) {
    let (mut builder, mut url, mut body) = (Request::builder(), String::new(), None);
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-s" => {}
            "-H" => {
                let (name, value) = words.next().unwrap().split_once(": ").unwrap();
                builder = builder.header(name, value);
            }
            "-d" => body = words.next().cloned(),
            _ => url.clone_from(word),
        }
    }
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let request = builder.method(method).uri(format!("/{path}")).header("host", host);
    (host.parse().unwrap(), request.body(Full::new(body.unwrap_or_default().into())).unwrap())
}

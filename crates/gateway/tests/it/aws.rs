//! Credentials of the machine: every source, their order, and the roles assumed with them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tollgate_gateway::{AwsEnvironment, GatewayConfig};

use crate::raw::{Play, Raw};
use crate::world::{Entity, PROFILE, Setup, UNLISTED_PROFILE, World, world_with};

const ROLE: &str = "arn:aws:iam::1:role/p";
const SECRET: &str = "CANARY-secret";
const BEDROCK: &str = "amazon-bedrock-profile";

/// One request that the fake was sent: method and path, `authorization`, body.
type Asked = (String, String, String);

/// Metadata service, container agent and STS at once.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<Asked>>,
    /// Of the credentials that it gives, in seconds from now.
    life: i64,
    profile: &'static str,
    refuses: bool,
}

impl Fake {
    fn count(&self, what: &str) -> usize {
        self.asked.lock().iter().filter(|(path, _, body)| path.contains(what) || body.contains(what)).count()
    }

    fn answer(&self, path: &str, headers: &HeaderMap, body: &str) -> (StatusCode, String) {
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let asked = self.asked.lock().len();
        self.asked.lock().push((path.to_owned(), header("authorization"), body.to_owned()));
        let ends = iso(self.life);
        let json = |id: &str| {
            format!(
                r#"{{"Code":"Success","AccessKeyId":"{id}","SecretAccessKey":"{SECRET}","Token":"{id}-session","Expiration":"{ends}"}}"#
            )
        };
        let is_v2 = header("x-aws-ec2-metadata-token") == "imds-token";
        let text = match path {
            "PUT /latest/api/token" if !header("x-aws-ec2-metadata-token-ttl-seconds").is_empty() => {
                "imds-token".into()
            }
            "GET /latest/meta-data/iam/security-credentials/" if is_v2 => "r\n".into(),
            "GET /latest/meta-data/iam/security-credentials/r" if is_v2 => json("AKIMDS"),
            "GET /latest/meta-data/iam/info" if is_v2 => {
                format!(r#"{{"InstanceProfileArn":"{}"}}"#, self.profile)
            }
            "GET /container" if header("authorization") == "container-token" => json("AKCONTAINER"),
            "POST /" if self.refuses => {
                let error = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no trust</Message></Error></ErrorResponse>";
                return (StatusCode::FORBIDDEN, error.into());
            }
            "POST /" => format!(
                "<R xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Credentials><AccessKeyId>AKROLE{asked}</AccessKeyId>\
                 <SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>role-session</SessionToken>\
                 <Expiration>{ends}</Expiration></Credentials></R>"
            ),
            _ => return (StatusCode::NOT_FOUND, String::new()),
        };
        (StatusCode::OK, text)
    }
}

#[expect(clippy::disallowed_methods, reason = "the fake has a clock of its own")]
fn iso(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = aws_smithy_types::DateTime::from_secs(i64::try_from(now).unwrap() + seconds);
    time.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap()
}

async fn handle(
    State(fake): State<Arc<Fake>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    fake.answer(&format!("{method} {}", uri.path()), &headers, &String::from_utf8_lossy(&body))
}

/// A world whose machine has what `environment` says, with the fake's address at hand.
async fn machine(
    fake: Fake,
    environment: impl FnOnce(&str) -> AwsEnvironment,
    test: impl AsyncFnOnce(&World, &Fake),
) {
    let fake = Arc::new(fake);
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let aws = AwsEnvironment {
        metadata_endpoint: url.clone(),
        container_endpoint: url.clone(),
        ..environment(&url)
    };
    let config = GatewayConfig { aws, ..GatewayConfig::default() };
    let router = Router::new().fallback(handle).with_state(fake.clone());
    let setup = Setup { config, sts_endpoint: Some(url), ..Setup::default() };
    world_with(setup, async |world| {
        let serving = world.tasks.spawn(async move { axum::serve(listener, router).await });
        test(world, &fake).await;
        serving.abort();
    })
    .await;
}

fn hour() -> Fake {
    Fake { life: 3600, ..Fake::default() }
}

fn keys() -> AwsEnvironment {
    AwsEnvironment {
        access_key_id: Some("AKENV".to_owned().into()),
        secret_access_key: Some(SECRET.to_owned().into()),
        session_token: Some("env-session".to_owned().into()),
        ..AwsEnvironment::default()
    }
}

fn container() -> AwsEnvironment {
    AwsEnvironment {
        container_relative_uri: Some("/container".to_owned()),
        container_token: Some("container-token".to_owned().into()),
        ..AwsEnvironment::default()
    }
}

/// The access key that signed the newest request at the simulator.
fn signer(world: &World) -> String {
    let record = world.ledger.requests().pop().unwrap();
    let credential = record.headers["authorization"].split_once("Credential=").unwrap().1.to_owned();
    credential.split('/').next().unwrap().to_owned()
}

async fn asked(world: &World) {
    world.chat("e", &[Entity::new(BEDROCK, "m")]);
    let got = world.ask("e", false).await;
    assert_eq!(got.status, 200, "{got:?}");
}

/// The call of STS was signed by `id`, for STS in the entity's region.
fn check_assumed(fake: &Fake, id: &str) {
    let calls = fake.asked.lock();
    let (_, authorization, body) = calls.iter().find(|(_, _, body)| body.contains("AssumeRole&")).unwrap();
    let scope: Vec<&str> = authorization.split_once("Credential=").unwrap().1.split([',', '/']).collect();
    assert_eq!((scope[0], &scope[2..5]), (id, &["us-east-1", "sts", "aws4_request"][..]));
    assert!(body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fp&RoleSessionName=tollgate"), "{body}");
}

#[tokio::test]
async fn keys_of_the_environment_come_first_and_assume_the_role() {
    let environment = |_: &str| AwsEnvironment {
        role_arn: Some("r".into()),
        ..AwsEnvironment {
            container_relative_uri: Some("/container".into()),
            web_identity_token_file: Some("/nowhere".into()),
            ..keys()
        }
    };
    machine(hour(), environment, async |world, fake| {
        asked(world).await;
        check_assumed(fake, "AKENV");
        assert_eq!((signer(world).as_str(), fake.asked.lock().len()), ("AKROLE0", 1));
        assert_eq!(world.ledger.requests()[0].headers["x-amz-security-token"], "role-session");
    })
    .await;
}

#[tokio::test]
async fn a_web_identity_comes_second_and_its_file_is_read_each_time() {
    let file = std::env::temp_dir().join(format!("tollgate-web-identity-{}", std::process::id()));
    std::fs::write(&file, "first\n").unwrap();
    let environment = |_: &str| AwsEnvironment {
        web_identity_token_file: Some(file.clone()),
        role_arn: Some("arn:aws:iam::1:role/pod".into()),
        ..container()
    };
    machine(Fake { life: 0, ..Fake::default() }, environment, async |world, fake| {
        asked(world).await;
        check_assumed(fake, "AKROLE0");
        std::fs::write(&file, "second").unwrap();
        asked(world).await;
        let calls = fake.asked.lock();
        let identity = calls.iter().filter(|(_, _, body)| body.contains("WithWebIdentity"));
        let identity: Vec<_> =
            identity.map(|(_, signed, body)| (signed.as_str(), body.rsplit('=').next().unwrap())).collect();
        assert_eq!(identity, [("", "first"), ("", "second")]);
    })
    .await;
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn a_container_comes_third_by_either_uri() {
    let full = |url: &str| AwsEnvironment {
        container_relative_uri: None,
        container_full_uri: Some(format!("{url}/container")),
        ..container()
    };
    machine(
        hour(),
        |_| container(),
        async |world, fake| {
            asked(world).await;
            check_assumed(fake, "AKCONTAINER");
            assert_eq!(fake.count("latest"), 0);
        },
    )
    .await;
    machine(hour(), full, async |world, fake| {
        asked(world).await;
        check_assumed(fake, "AKCONTAINER");
    })
    .await;
}

#[tokio::test]
async fn the_container_client_reaches_no_other_host() {
    let environment = |_: &str| AwsEnvironment {
        container_full_uri: Some("http://10.0.0.1/x".to_owned()),
        ..AwsEnvironment::default()
    };
    machine(hour(), environment, async |world, _| {
        world.chat("e", &[Entity::new(BEDROCK, "m")]);
        let got = world.ask("e", false).await;
        assert!(got.status == 502 && got.text.contains("10.0.0.1 is a private address"), "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn the_instance_comes_last_and_its_own_profile_needs_no_role() {
    let own = Fake { profile: PROFILE, ..hour() };
    machine(
        own,
        |_| AwsEnvironment::default(),
        async |world, fake| {
            asked(world).await;
            assert_eq!((signer(world).as_str(), fake.count("AssumeRole")), ("AKIMDS", 0));
        },
    )
    .await;
    let other = Fake { profile: "arn:aws:iam::1:instance-profile/other", ..hour() };
    machine(
        other,
        |_| AwsEnvironment::default(),
        async |world, fake| {
            asked(world).await;
            check_assumed(fake, "AKIMDS");
            assert!(signer(world).starts_with("AKROLE"));
        },
    )
    .await;
}

#[tokio::test]
async fn a_profile_that_is_not_listed_is_used_by_its_own_machine_only() {
    for (profile, status) in [(UNLISTED_PROFILE, 200), (PROFILE, 502)] {
        let fake = Fake { profile, ..hour() };
        machine(
            fake,
            |_| AwsEnvironment::default(),
            async |world, fake| {
                world.chat("e", &[Entity::new("amazon-bedrock-unlisted", "m")]);
                let got = world.ask("e", false).await;
                assert_eq!((got.status, fake.count("AssumeRole")), (status, 0), "{got:?}");
                assert!(status == 200 || got.text.contains("instance_profiles"), "{got:?}");
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_at_once_are_one_exchange() {
    machine(
        hour(),
        |_| container(),
        async |world, fake| {
            world.chat("e", &[Entity::new(BEDROCK, "m")]);
            let answers = join_all((0..50).map(|_| world.ask("e", false))).await;
            assert!(answers.iter().all(|got| got.status == 200), "{:?}", answers[0]);
            assert_eq!((fake.count("GET /container"), fake.count("AssumeRole")), (1, 1));
        },
    )
    .await;
}

#[tokio::test]
async fn what_has_ended_is_got_anew() {
    machine(
        Fake { life: 0, ..Fake::default() },
        |_| container(),
        async |world, fake| {
            asked(world).await;
            asked(world).await;
            assert_eq!((fake.count("GET /container"), fake.count("AssumeRole")), (2, 2));
        },
    )
    .await;
}

#[tokio::test]
async fn keys_that_expired_early_are_got_anew_once() {
    for (kind, exchanges) in [("ExpiredTokenException", 2), ("AccessDeniedException", 1)] {
        machine(
            hour(),
            |_| keys(),
            async |world, fake| {
                let headers = format!("x-amzn-errortype: {kind}\r\n");
                let raw =
                    Raw::start(world, Play::whole("403 Forbidden", &headers, r#"{"message":"no"}"#)).await;
                world.chat("e", &[Entity::new(BEDROCK, "m").at(&raw.url)]);
                let got = world.ask("e", false).await;
                assert_eq!(
                    (got.status, raw.requests(), fake.count("AssumeRole")),
                    (403, exchanges, exchanges),
                    "{got:?}"
                );
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_refusal_names_the_role_and_no_secret_and_is_no_fault_of_the_caller() {
    for stream in [false, true] {
        machine(
            Fake { refuses: true, ..hour() },
            |_| keys(),
            async |world, _| {
                world.chat("e", &[Entity::new(BEDROCK, "m")]);
                let got = world.ask("e", stream).await;
                assert_eq!(got.status, 502, "{got:?}");
                assert!(got.text.contains(ROLE) && got.text.contains("AccessDenied: no trust"), "{got:?}");
                assert!(!got.text.contains(SECRET) && !got.text.contains("session"), "{got:?}");
                assert!(world.ledger.requests().is_empty());
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_machine_without_credentials_is_told_what_to_set() {
    let environment = |_: &str| AwsEnvironment { metadata_disabled: true, ..AwsEnvironment::default() };
    machine(hour(), environment, async |world, _| {
        world.chat("e", &[Entity::new(BEDROCK, "m")]);
        let got = world.ask("e", false).await;
        assert!(
            got.status == 502 && got.text.contains("AWS_ACCESS_KEY_ID") && got.text.contains(ROLE),
            "{got:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn upstreams_do_not_reach_the_metadata_service() {
    let own = Fake { profile: PROFILE, ..hour() };
    machine(
        own,
        |_| AwsEnvironment::default(),
        async |world, _| {
            let entity = Entity::new(BEDROCK, "m").at("http://169.254.169.254").timeouts(5_000, 5_000);
            world.chat("e", &[entity]);
            let got = tokio::time::timeout(Duration::from_secs(5), world.ask("e", false)).await.unwrap();
            assert!(got.status == 502 && got.text.contains("link-local"), "{got:?}");
        },
    )
    .await;
}

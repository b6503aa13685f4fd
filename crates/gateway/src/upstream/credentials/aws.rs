//! The credentials of the machine, and the roles that are assumed with them.

mod container;
mod environment;
mod instance;
mod sts;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aws_smithy_types::date_time::{DateTime, Format};
use egress::AddressPolicy;
use http::HeaderValue;
use policy::endpoint::credentials::{AwsKeys, Signing, identity};
use secrecy::ExposeSecret;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Failed;
use super::cache::{Cache, Kept};
use super::sign::Keys;
use crate::clock;

pub use environment::AwsEnvironment;

/// Where machines are given their credentials: EC2, ECS and Lambda, EKS, and an agent on this machine. The
/// client for them reaches nothing else.
const SOURCES: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Keys, and whose they are where that is known: the ARN of a role or an instance profile.
#[derive(Clone)]
struct Holder {
    keys: Keys,
    arn: Option<String>,
}

impl Holder {
    fn runs_as(&self, profile: &str) -> bool {
        let role = profile.replace(":instance-profile/", ":role/");
        self.arn.as_ref().is_some_and(|arn| arn == profile || *arn == role)
    }
}

pub(crate) struct Chain {
    environment: AwsEnvironment,
    /// For the sources alone; upstreams and STS are reached with the gateway's own.
    sources: egress::Client,
    client: egress::Client,
    machine: Cache<Holder>,
    roles: Cache<Keys>,
}

impl Chain {
    pub(crate) fn new(environment: AwsEnvironment, client: &egress::Client) -> Self {
        Self {
            environment,
            sources: client.with_policy(AddressPolicy::only(&SOURCES)),
            client: client.clone(),
            machine: Cache::default(),
            roles: Cache::default(),
        }
    }

    pub(super) async fn keys(&self, signing: &Signing) -> Result<Keys, Failed> {
        let AwsKeys::Chain { role_arn, instance_profile_arn, .. } = &signing.keys else {
            return Err(Failed::Refused("these are not credentials of the machine".to_owned()));
        };
        let sts = sts::Sts::of(signing);
        let wanted = [role_arn, instance_profile_arn].into_iter().flatten();
        let holder = self.machine(&sts).await.map_err(|failed| match role_arn {
            Some(role) => failed.context(&format!("the role {role} cannot be assumed")),
            None => failed,
        })?;
        match role_arn {
            Some(role) if !wanted.clone().any(|arn| holder.arn.as_ref() == Some(arn)) => {
                let get = sts.assume(&self.client, role, holder.keys);
                let got = self.roles.get(role_id(signing), &sts.source(role), get).await;
                // Where the machine's own keys are at fault, the next call asks for them anew.
                got.inspect_err(|failed| {
                    if failed.is_about_keys() {
                        self.machine.discard(machine_id(&sts), |_| true);
                    }
                })
            }
            None if !instance_profile_arn.as_deref().is_none_or(|profile| holder.runs_as(profile)) => {
                let profile = instance_profile_arn.as_deref().unwrap_or_default();
                Err(Failed::Refused(format!(
                    "{profile} is not this machine's own, and the provider's instance_profiles do not list it"
                )))
            }
            _ => Ok(holder.keys),
        }
    }

    /// Forgets the keys that signed `authorization`.
    pub(super) fn discard(&self, signing: &Signing, authorization: &HeaderValue) {
        let text = authorization.to_str().unwrap_or_default();
        self.roles.discard(role_id(signing), |keys| keys.signed(text));
        self.machine.discard(machine_id(&sts::Sts::of(signing)), |holder| holder.keys.signed(text));
    }

    async fn machine(&self, sts: &sts::Sts) -> Result<Holder, Failed> {
        let source = "the source of the machine's credentials";
        self.machine.get(machine_id(sts), source, self.first_source(sts)).await
    }

    /// In the order of AWS' own SDKs; the first that is configured is the one.
    async fn first_source(&self, sts: &sts::Sts) -> Result<Kept<Holder>, Failed> {
        let environment = &self.environment;
        if let (Some(id), Some(secret)) = (&environment.access_key_id, &environment.secret_access_key) {
            let session = environment.session_token.as_ref().map(ExposeSecret::expose_secret);
            let keys = Keys::new(id.expose_secret(), secret.expose_secret(), session);
            return Ok(Kept::forever(Holder { keys, arn: None }));
        }
        if let (Some(file), Some(role)) = (&environment.web_identity_token_file, &environment.role_arn) {
            let session = environment.role_session_name.as_deref().unwrap_or(sts::SESSION);
            let kept = sts.assume_with_web_identity(&self.client, role, session, file).await?;
            return Ok(kept.map(|keys| Holder { keys, arn: Some(role.clone()) }));
        }
        if let Some(url) = container::url(environment) {
            return container::get(&self.sources, environment, &url).await;
        }
        if environment.metadata_disabled {
            return Err(Failed::Refused(
                "this machine has no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give it a role"
                    .to_owned(),
            ));
        }
        instance::get(&self.sources, &environment.metadata_endpoint).await
    }
}

fn role_id(signing: &Signing) -> [u8; 32] {
    let AwsKeys::Chain { role_arn, sts_endpoint, .. } = &signing.keys else { return [0; 32] };
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    identity(&[&signing.region, &part(role_arn), &part(sts_endpoint)])
}

fn machine_id(sts: &sts::Sts) -> [u8; 32] {
    identity(&[&sts.url])
}

/// The JSON of the sources, which agree on it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: Zeroizing<String>,
    secret_access_key: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
    expiration: Option<String>,
}

impl Given {
    fn read(source: &str, body: &[u8], arn: Option<String>) -> Result<Kept<Holder>, Failed> {
        // serde's sentence may quote a key.
        let unreadable = || Failed::Unreachable(format!("{source} answered without usable credentials"));
        let given: Self = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let keys = Keys::new(
            &given.access_key_id,
            &given.secret_access_key,
            given.token.as_ref().map(|t| t.as_str()),
        );
        let holder = Holder { keys, arn };
        match given.expiration {
            None => Ok(Kept::forever(holder)),
            Some(text) => kept(holder, &text).ok_or_else(unreadable),
        }
    }
}

fn kept<V>(value: V, expiration: &str) -> Option<Kept<V>> {
    let ends_at = DateTime::from_str(expiration, Format::DateTime).ok()?.to_millis().ok()?;
    Some(Kept::new(value, clock::now_ms(), ends_at))
}

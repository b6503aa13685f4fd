//! AWS' Security Token Service: the two calls that give the keys of a role. Its query protocol answers XML.

use std::path::Path;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use policy::endpoint::credentials::{AwsKeys, Signing};
use roxmltree::Document;
use zeroize::Zeroizing;

use crate::clock;
use crate::upstream::credentials::cache::Kept;
use crate::upstream::credentials::sign::{self, Keys, Scope};
use crate::upstream::credentials::{Failed, exchange};

/// The name under which a role's sessions are seen in the account's trail.
pub(super) const SESSION: &str = "tollgate";

pub(super) struct Sts {
    pub(super) url: String,
    region: String,
}

impl Sts {
    pub(super) fn of(signing: &Signing) -> Self {
        let configured = match &signing.keys {
            AwsKeys::Chain { sts_endpoint, .. } => sts_endpoint.clone(),
            AwsKeys::Given { .. } => None,
        };
        let region = signing.region.clone();
        let url = configured.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
        Self { url: format!("{}/", url.trim_end_matches('/')), region }
    }

    /// What is said of the call when it fails.
    pub(super) fn source(&self, role: &str) -> String {
        format!("the role {role} cannot be assumed: {}", self.url)
    }

    pub(super) async fn assume(
        &self,
        client: &egress::Client,
        role: &str,
        keys: Keys,
    ) -> Result<Kept<Keys>, Failed> {
        let body = form(&[("Action", "AssumeRole"), ("RoleArn", role), ("RoleSessionName", SESSION)]);
        let mut request = self.request(&body)?;
        let scope = Scope { region: &self.region, service: "sts" };
        sign::sign(scope, keys, clock::now(), &mut request, body.as_bytes()).map_err(Failed::Refused)?;
        self.ask(client, role, request).await
    }

    /// Unsigned: the token says who asks. Its file is read anew each time, since the token is short-lived.
    pub(super) async fn assume_with_web_identity(
        &self,
        client: &egress::Client,
        role: &str,
        session: &str,
        file: &Path,
    ) -> Result<Kept<Keys>, Failed> {
        let read = tokio::fs::read_to_string(file).await;
        let token = read.map_err(|e| {
            Failed::Refused(format!("the web identity token for {role}: cannot read {}: {e}", file.display()))
        })?;
        let token = Zeroizing::new(token);
        let body = form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("RoleArn", role),
            ("RoleSessionName", session),
            ("WebIdentityToken", token.trim()),
        ]);
        let request = self.request(&body)?;
        self.ask(client, role, request).await
    }

    fn request(&self, body: &str) -> Result<Request<Full<Bytes>>, Failed> {
        Request::post(&self.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|e| Failed::Refused(format!("sts_endpoint {:?} is no URL: {e}", self.url)))
    }

    async fn ask(
        &self,
        client: &egress::Client,
        role: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Kept<Keys>, Failed> {
        let source = self.source(role);
        let (status, body) = exchange::send(client, &source, request).await?;
        let answer = Zeroizing::new(String::from_utf8_lossy(&body).into_owned());
        if !status.is_success() {
            return Err(exchange::refusal(&source, status, &words(&answer)));
        }
        keys(&answer).ok_or_else(|| Failed::Unreachable(format!("{source} answered without credentials")))
    }
}

fn form(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Version", "2011-06-15").extend_pairs(fields);
    Zeroizing::new(form.finish())
}

fn text<'a>(document: &'a Document<'_>, name: &str) -> Option<&'a str> {
    document.descendants().find(|node| node.tag_name().name() == name)?.text()
}

fn keys(answer: &str) -> Option<Kept<Keys>> {
    // Documents with a DTD are refused, so that no entity grows.
    let document = Document::parse(answer).ok()?;
    let field = |name: &str| text(&document, name).map(str::trim);
    let keys = Keys::new(field("AccessKeyId")?, field("SecretAccessKey")?, Some(field("SessionToken")?));
    super::kept(keys, text(&document, "Expiration")?.trim())
}

/// The code and the message of an error.
fn words(answer: &str) -> String {
    let Ok(document) = Document::parse(answer) else { return String::new() };
    let words = ["Code", "Message"].into_iter().filter_map(|name| text(&document, name));
    words.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_its_code_and_message_and_no_dtd_is_read() {
        let error = "<ErrorResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Error><Type>Sender</Type>\
            <Code>AccessDenied</Code><Message>not &amp; never</Message></Error></ErrorResponse>";
        assert_eq!(words(error), "AccessDenied: not & never");
        assert_eq!(words("<!DOCTYPE a [<!ENTITY b 'c'>]><a><Code>&b;</Code></a>"), "");
        assert!(keys("<a><AccessKeyId>A</AccessKeyId></a>").is_none());
    }
}

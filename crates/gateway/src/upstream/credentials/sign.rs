//! AWS Signature Version 4 over the bytes that are sent.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

/// The keys of a signature.
#[derive(Clone)]
pub(super) struct Keys(Credentials);

impl Keys {
    pub(super) fn new(id: &str, secret: &str, session: Option<&str>) -> Self {
        Self(Credentials::new(id, secret, session.map(str::to_owned), None, "tollgate"))
    }

    /// Whether they made the signature of this `Authorization` header.
    pub(super) fn signed(&self, authorization: &str) -> bool {
        let credential = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
        credential.split('/').next() == Some(self.0.access_key_id())
    }
}

/// What a signature is good for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// Adds the headers of the signature. The path is encoded once more for it, which is the library's default
/// and what every service but S3 wants.
pub(super) fn sign(
    scope: Scope<'_>,
    keys: Keys,
    now: SystemTime,
    request: &mut Request<Full<Bytes>>,
    body: &[u8],
) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| format!("the request cannot be signed: {e}");
    let identity = keys.0.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|e| failed(&e))?
        .into();
    let uri = request.uri().to_string();
    // Only what no proxy changes is signed; the host is added by the library.
    let signed = ["content-type"];
    let headers = request
        .headers()
        .iter()
        .filter(|(name, _)| signed.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable =
        SignableRequest::new(request.method().as_str(), uri.as_str(), headers, SignableBody::Bytes(body))
            .map_err(|e| failed(&e))?;
    let (instructions, _) = sign_request(signable, &params).map_err(|e| failed(&e))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// Made with botocore's own signer (`botocore.auth.SigV4Auth`) from the same request, keys and time.
    #[test]
    fn botocore_makes_the_same_signature() {
        let (id, key) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let scope = Scope { region: "us-west-2", service: "bedrock" };
        let body = br#"{"messages":[]}"#;
        let mut request =
            Request::post("https://bedrock-runtime.us-west-2.amazonaws.com/model/a.b-v1%3A0/converse")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from_static(body)))
                .unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        sign(scope, Keys::new(id, key, Some("session")), now, &mut request, body).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(header("x-amz-date"), "20260921T141320Z");
        assert_eq!(header("x-amz-security-token"), "session");
        assert_eq!(
            header("authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260921/us-west-2/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=c2027d274d16442006c1fe0bffeb2de5cf8f945c28db1291bf05c36597b737f3"
        );
    }

    /// Made in the same way. The path is encoded twice in what is signed and never made canonical on the wire.
    #[test]
    fn botocore_makes_the_same_signature_for_every_model_id() {
        let cases = [
            (
                "arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Ainference-profile%2Fus.a.b-v1%3A0",
                "9d46582742df94d8d6a6b7b840c947722191f41c3169148b578ebf0068362cef",
            ),
            ("a%20b%2Bc%25d", "40381ca2a0fe54354ed673673ffeb2e045966f624eca3920f067e2e4d8395a7f"),
            ("..%2Fx~y", "15d8793c2f40401eb4f8a4b8c588efacd2ff9739a2a67c4346ffba292d05d070"),
            ("m%C3%A9%2F%2Fz", "c7a9cd12747ab09fa6f807574a28a3aceff156658c51064e660d781649e50f23"),
        ];
        let (id, key) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let scope = Scope { region: "us-west-2", service: "bedrock" };
        let body = br#"{"messages":[]}"#;
        let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        for (model, expected) in cases {
            let url = format!("https://bedrock-runtime.us-west-2.amazonaws.com/model/{model}/converse");
            let mut request = Request::post(url)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from_static(body)))
                .unwrap();
            sign(scope, Keys::new(id, key, None), now, &mut request, body).unwrap();
            let header = request.headers()["authorization"].to_str().unwrap();
            assert_eq!(header.rsplit_once("Signature=").unwrap().1, expected, "{model}");
        }
    }
}

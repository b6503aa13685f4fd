//! The credentials of the machine, in the variables that AWS' own SDKs read.

use gateway::AwsEnvironment;

#[expect(clippy::disallowed_methods, reason = "the one place that reads these variables")]
pub(crate) fn aws_of_process() -> AwsEnvironment {
    read(|name| std::env::var(name).ok())
}

fn read(variable: impl Fn(&str) -> Option<String>) -> AwsEnvironment {
    let text = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let standard = AwsEnvironment::default();
    AwsEnvironment {
        access_key_id: text("AWS_ACCESS_KEY_ID").map(Into::into),
        secret_access_key: text("AWS_SECRET_ACCESS_KEY").map(Into::into),
        session_token: text("AWS_SESSION_TOKEN").map(Into::into),
        web_identity_token_file: text("AWS_WEB_IDENTITY_TOKEN_FILE").map(Into::into),
        role_arn: text("AWS_ROLE_ARN"),
        role_session_name: text("AWS_ROLE_SESSION_NAME"),
        container_relative_uri: text("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        container_full_uri: text("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        container_token: text("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Into::into),
        container_token_file: text("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(Into::into),
        metadata_disabled: text("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")),
        metadata_endpoint: text("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(standard.metadata_endpoint),
        container_endpoint: standard.container_endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_are_none_and_nothing_is_printed() {
        let found = read(|name| match name {
            "AWS_ACCESS_KEY_ID" => Some("CANARY".to_owned()),
            "AWS_ROLE_ARN" => Some(" ".to_owned()),
            "AWS_EC2_METADATA_DISABLED" => Some("TRUE".to_owned()),
            _ => None,
        });
        assert!(found.access_key_id.is_some() && found.role_arn.is_none() && found.metadata_disabled);
        assert!(!format!("{found:?}").contains("CANARY"));
    }
}

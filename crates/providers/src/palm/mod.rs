//! PaLM, whose API is gone: known by name, so that a configuration that has it is told what to use.

use wire::Object;

use crate::fields::{ConfigError, Field};
use crate::provider::{Defaults, Provider, Registration};

const FIELDS: &[Field] = &[Field::secret("palm_api_key")];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "palm",
    config_field: "palm_config",
    tasks: &[],
    fields: FIELDS,
    settings: &[],
    build,
};

fn build(_config: &Object, _defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    Err(ConfigError::new(
        "",
        "Google has shut the PaLM API down: use provider \"google-cloud-vertex-ai\" or \"google\" with a Gemini model",
    ))
}

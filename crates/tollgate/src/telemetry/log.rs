//! Logs go to stderr, one line an event, with the request's id when there is one.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::audit;
use crate::config::{LogConfig, LogFormat};

/// Sets the process's logger. Errors when there is one already.
pub(crate) fn init(config: &LogConfig) -> anyhow::Result<()> {
    let level = config.level;
    let filter = filter_fn(move |metadata| enabled(metadata, level));
    let pretty = match config.format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if pretty {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

/// Audit lines are always written. Libraries are kept at `info`: below it, some of them print headers and bodies, and with these secrets.
fn enabled(metadata: &Metadata<'_>, level: Level) -> bool {
    if metadata.target() == audit::TARGET {
        return true;
    }
    let ours = metadata.target().starts_with("tollgate");
    *metadata.level() <= if ours { level } else { level.min(Level::INFO) }
}

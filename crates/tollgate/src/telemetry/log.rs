//! Logs go to stderr, one line an event, with the request's id when there is one.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// What the tables are written with.
const TABLE_LIBRARIES: [&str; 4] = ["buoyant_kernel", "deltalake", "delta_kernel", "object_store"];

/// Sets the process's logger. Errors when there is one already.
pub(crate) fn init(config: &LogConfig) -> anyhow::Result<()> {
    let LogConfig { level, audit, .. } = *config;
    let filter = filter_fn(move |metadata| enabled(metadata, level, audit));
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

/// Audit lines are written whatever the level. Libraries are kept at `info`: below it, some of them print headers and bodies, and with these secrets.
fn enabled(metadata: &Metadata<'_>, level: Level, audit: bool) -> bool {
    if metadata.target() == super::audit::TARGET {
        return audit;
    }
    // They tell of each table at each flush.
    if TABLE_LIBRARIES.iter().any(|library| metadata.target().starts_with(library)) {
        return *metadata.level() <= level.min(Level::WARN);
    }
    let ours = metadata.target().starts_with("tollgate");
    *metadata.level() <= if ours { level } else { level.min(Level::INFO) }
}

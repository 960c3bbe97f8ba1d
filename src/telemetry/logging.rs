//! Structured logs on standard error.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Json,
    Text,
}

/// Sets up the process's logs once; a second call changes nothing. `level` is a level or a filter
/// (`info,tidegate::lane=debug`).
pub fn init(level: &str, format: Format, colour: bool) {
    init_with(level, format, colour, std::io::stderr);
}

/// As [`init`], onto another writer.
pub fn init_with<W: std::io::Write + 'static>(
    level: &str,
    format: Format,
    colour: bool,
    writer: impl Fn() -> W + Send + Sync + 'static,
) {
    // Libraries below us speak of each connection; what matters of it is said by our own rooms.
    let filter: Targets = format!("{level},hyper=warn,reqwest=warn,rustls=warn,elasticsearch=warn")
        .parse()
        .unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let builder = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer);
    let _ = match format {
        Format::Json => builder.json().flatten_event(true).with_current_span(false).finish().with(filter).try_init(),
        Format::Text => builder.with_ansi(colour).with_target(false).finish().with(filter).try_init(),
    };
}

//! Logs: text or JSON on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// What is logged where nobody says otherwise.
const DEFAULT_FILTER: &str = "info,object_store=warn";

/// Names whose value says what is logged, in the syntax of `tracing`; the first that is set holds.
const FILTER_NAMES: [&str; 2] = ["WINDROW_LOG", "RUST_LOG"];

/// Starts logging for this process. A second call changes nothing.
///
/// # Errors
/// When the filter in the environment cannot be understood.
pub fn init(format: Format) -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "logging starts before there are options")]
    let given = FILTER_NAMES.iter().find_map(|name| {
        std::env::var(name).ok().filter(|filter| !filter.is_empty()).map(|filter| (*name, filter))
    });
    let filter = filter(given.as_ref().map(|(name, filter)| (*name, filter.as_str())))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // That something logs already is fine: tests start several.
    let _ = match format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

fn filter(given: Option<(&str, &str)>) -> Result<EnvFilter, String> {
    let (name, text) = given.unwrap_or(("the default", DEFAULT_FILTER));
    EnvFilter::try_new(text).map_err(|error| {
        format!("{name}=`{text}` is no log filter: {error}; for instance `info` or `windrow=debug`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_checked() {
        assert!(filter(None).is_ok());
        assert!(filter(Some(("WINDROW_LOG", "info,windrow::pipeline=debug"))).is_ok());
        assert!(filter(Some(("WINDROW_LOG", "windrow=loud"))).unwrap_err().contains("WINDROW_LOG"));
    }
}

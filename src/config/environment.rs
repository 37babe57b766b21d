//! Names of the environment that were hardly meant as they stand there: near
//! misses of an option. Any other `WINDROW_…` may be somebody else's.

use super::options::OPTIONS;
use crate::error::{Problem, misspelt};

const PREFIX: &str = "WINDROW_";

/// Names that are no option of the file's: flags of single commands, and what is logged.
pub const OF_COMMANDS: [&str; 24] = [
    "WINDROW_CONFIG",
    "WINDROW_COUNT",
    "WINDROW_DISORDER_MAX",
    "WINDROW_DISORDER_SHARE",
    "WINDROW_DUPLICATE_SHARE",
    "WINDROW_ENTITIES",
    "WINDROW_EVENT_RATE",
    "WINDROW_FOR",
    "WINDROW_FRAMING",
    "WINDROW_FRAUD_SHARE",
    "WINDROW_KAFKA_PROPERTY",
    "WINDROW_LATE_BY",
    "WINDROW_LATE_SHARE",
    "WINDROW_LOG",
    "WINDROW_MALFORMED_SHARE",
    "WINDROW_OUTPUT",
    "WINDROW_PARTITIONS",
    "WINDROW_RATE",
    "WINDROW_SEED",
    "WINDROW_START_TIME",
    "WINDROW_STREAM",
    "WINDROW_STREAMS",
    "WINDROW_UNTIL_CAUGHT_UP",
    "WINDROW_V1_SHARE",
];

/// What is wrong with the names of this process' environment.
pub(super) fn problems() -> Vec<Problem> {
    let variables = std::env::vars_os();
    near_misses(
        variables.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        }),
    )
}

fn near_misses(variables: impl Iterator<Item = (String, String)>) -> Vec<Problem> {
    let options = OPTIONS.iter().map(|option| option.environment.as_str());
    let known: Vec<String> =
        options.chain(OF_COMMANDS).filter_map(|name| name.strip_prefix(PREFIX)).map(str::to_owned).collect();
    let mut problems = Vec::new();
    for (name, value) in variables {
        let Some(given) = name.strip_prefix(PREFIX) else { continue };
        if value.is_empty() || known.iter().any(|known| known == given) || is_of_a_service(given, &value) {
            continue;
        }
        if let Some(meant) = misspelt(given, &known) {
            let problem = Problem::new(format!("the environment has an option that is not known: `{name}`"));
            problems.push(problem.hint(format!("did you mean `{PREFIX}{meant}`?")));
        }
    }
    problems
}

/// Whether Kubernetes sets it in every container, for a Service whose name begins with `windrow`.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let mut after_port = name.split("PORT_").skip(1);
    is_address
        || name.ends_with("SERVICE_HOST")
        || name.contains("SERVICE_PORT")
        || after_port.any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, meant: Option<&str>) {
        let found = near_misses(std::iter::once((name.to_owned(), value.to_owned())));
        let hints: Vec<Option<String>> = found.into_iter().map(|problem| problem.hint).collect();
        let expected: Vec<Option<String>> =
            meant.map(|meant| Some(format!("did you mean `{meant}`?"))).into_iter().collect();
        assert_eq!(hints, expected, "{name}");
    }

    #[test]
    fn a_near_miss_is_a_problem_with_what_was_meant() {
        check("WINDROW_BATCH_INTERVALL", "1s", Some("WINDROW_BATCH_INTERVAL"));
        check("WINDROW_BROKER", "a:1", Some("WINDROW_BROKERS"));
        check("WINDROW_BROKRES", "a:1", Some("WINDROW_BROKERS"));
        check("WINDROW_REDIS_URI", "redis://a:1", Some("WINDROW_REDIS_URL"));
        check("WINDROW_REDIS_PASWORD", "5ecret", Some("WINDROW_REDIS_PASSWORD"));
        check("WINDROW_SCHEMA_REGISTRY", "http://a:1", Some("WINDROW_SCHEMA_REGISTRY_URL"));
        check("WINDROW_BATCH_INTERVALL", "", None);
    }

    #[test]
    fn names_of_others_are_left_alone() {
        for name in ["BROKERS", "SEED", "KAFKA_DIR", "KAFKA_BROKERS", "VERSION", "HOME"] {
            check(&format!("WINDROW_{name}"), "x", None);
        }
        for (name, value) in [
            ("WINDROW_SERVICE_HOST", "10.0.0.1"),
            ("WINDROW_SERVICE_PORT", "8088"),
            ("WINDROW_SERVICE_PORT_METRICS", "8088"),
            ("WINDROW_PORT", "tcp://10.0.0.1:8088"),
            ("WINDROW_PORT_8088_TCP", "tcp://10.0.0.1:8088"),
            ("WINDROW_PORT_8088_TCP_ADDR", "10.0.0.1"),
            ("WINDROW_METRICS_PORT", "tcp://10.0.0.1:8088"),
            ("WINDROW_METRICS_PORT_8088_TCP_ADDR", "10.0.0.1"),
        ] {
            check(name, value, None);
        }
    }
}

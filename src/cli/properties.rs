//! Whether librdkafka takes the properties that are passed through to it. It
//! tells without a network.

use rdkafka::ClientConfig;

use super::told;
use crate::error::Problem;

/// What is wrong with each of these names and values.
pub(super) fn problems<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Problem> {
    let problem = |(name, value): (&str, &str)| {
        let error = ClientConfig::new().set(name, value).create_native_config().err()?;
        Some(Problem::new(told(&error)).hint("properties are librdkafka's: see its CONFIGURATION.md"))
    };
    properties.into_iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_that_is_not_taken_is_told_without_its_value() {
        let given = [("sasl.passwrod", "5ecret"), ("fetch.wait.max.ms", "20"), ("security.protocol", "tls")];
        let found: Vec<String> = problems(given).into_iter().map(|problem| problem.message).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`sasl.passwrod`") && !found[0].contains("5ecret"), "{found:?}");
        assert!(found[1].contains("`security.protocol`"), "{found:?}");
    }
}

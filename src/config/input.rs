//! What whoever reads or writes events has to know: brokers, how to speak to
//! them, the registry, the streams. `generate` needs no more than that.

use std::cell::RefCell;
use std::path::Path;

use super::kafka::{self, KafkaProperties};
use super::stores::{self, RegistryConfig};
use super::streams::{self, StreamConfig};
use super::tree::Table;
use super::values::{Scope, brokers};
use super::{DEFAULT_FILE, Flags, layers, process_environment, table};
use crate::error::{Problem, Problems};

/// Where events are, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Kafka's bootstrap servers.
    pub brokers: Vec<String>,
    /// librdkafka properties passed through.
    pub kafka: KafkaProperties,
    /// The streams, by name.
    pub streams: Vec<StreamConfig>,
    /// The schema registry, if there is one.
    pub registry: Option<RegistryConfig>,
}

impl Input {
    /// Reads flags, environment and file, and checks this part of them: what is
    /// wrong with a value that only other commands use is left to them.
    pub fn inspect(flags: &Flags) -> (Self, Problems) {
        Self::inspect_layers(flags, &process_environment, Path::new(DEFAULT_FILE))
    }

    pub(super) fn inspect_layers(
        flags: &Flags,
        environment: layers::Environment<'_>,
        file: &Path,
    ) -> (Self, Problems) {
        let mut problems = Vec::new();
        let tree = layers::read(flags, environment, file, &mut problems);
        let problems = RefCell::new(problems);
        let input = Self::check(&tree, &problems);
        (input, Problems(problems.into_inner()))
    }

    pub(super) fn check(tree: &Table, problems: &RefCell<Vec<Problem>>) -> Self {
        let streams = streams::with_shipped(table(tree, "streams").clone());
        let within = |name, prefix| Scope { table: table(tree, name), prefix, problems };
        Self {
            brokers: Scope { table: tree, prefix: "", problems }.required("brokers", brokers),
            kafka: kafka::read(&within("kafka", "kafka.")),
            streams: streams::read(&Scope { table: &streams, prefix: "streams.", problems }),
            registry: stores::registry(&within("schema_registry", "schema_registry.")),
        }
    }

    /// The brokers, as librdkafka wants them.
    pub fn bootstrap_servers(&self) -> String {
        self.brokers.join(",")
    }
}

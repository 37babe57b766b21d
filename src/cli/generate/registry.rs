//! Has the shipped schemas registered, under `<topic>-value`, and says their
//! ids. A registry that knows a schema already answers with the id it has.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::config::RegistryConfig;
use crate::generate::{Kind, SchemaIds};
use crate::schema::Registry;
use crate::schema::shipped::{CLICKS_V1, DEVICES_V1, TRANSACTIONS_V1, TRANSACTIONS_V2};

/// Registers the schemas of the streams, of each the older first.
///
/// # Errors
/// When the registry cannot be reached, or refuses.
pub fn register_shipped(
    config: &RegistryConfig,
    topics: &BTreeMap<Kind, String>,
) -> anyhow::Result<SchemaIds> {
    let mut registry = Registry::try_new(&config.options())?;
    let mut ids = SchemaIds::default();
    for (kind, topic) in topics {
        let subject = format!("{topic}-value");
        let mut id_of = |schema: &str| {
            let id = registry.register(&subject, schema);
            id.with_context(|| format!("could not register a schema as {subject}"))
        };
        match kind {
            Kind::Transactions => {
                ids.transactions_v1 = id_of(TRANSACTIONS_V1)?;
                ids.transactions_v2 = id_of(TRANSACTIONS_V2)?;
            }
            Kind::Clicks => ids.clicks = id_of(CLICKS_V1)?,
            Kind::Devices => ids.devices = id_of(DEVICES_V1)?,
        }
    }
    Ok(ids)
}

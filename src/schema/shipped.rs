//! The schemas that come with Windrow, as text: those of `schemas/`, built in,
//! so that the demo and the generator need no file.

/// Transactions, version 1: fifteen fields, four currencies.
pub const TRANSACTIONS_V1: &str = include_str!("../../schemas/transactions.v1.avsc");

/// Transactions, version 2: the merchant, the risk, and more currencies.
pub const TRANSACTIONS_V2: &str = include_str!("../../schemas/transactions.v2.avsc");

/// Clicks.
pub const CLICKS_V1: &str = include_str!("../../schemas/clicks.v1.avsc");

/// Devices.
pub const DEVICES_V1: &str = include_str!("../../schemas/devices.v1.avsc");

/// Every shipped schema under its file's name in `schemas/`; of one stream the
/// older stands first.
pub const SHIPPED: &[(&str, &str)] = &[
    ("transactions.v1.avsc", TRANSACTIONS_V1),
    ("transactions.v2.avsc", TRANSACTIONS_V2),
    ("clicks.v1.avsc", CLICKS_V1),
    ("devices.v1.avsc", DEVICES_V1),
];

#[cfg(test)]
mod tests {
    use apache_avro::Schema;

    use super::*;

    fn fields(text: &str) -> Vec<String> {
        match Schema::parse_str(text).unwrap() {
            Schema::Record(record) => record.fields.into_iter().map(|field| field.name).collect(),
            other => panic!("not a record: {other:?}"),
        }
    }

    #[test]
    fn every_shipped_schema_parses_and_has_its_fields() {
        let counts: Vec<(&str, usize)> =
            SHIPPED.iter().map(|(name, text)| (*name, fields(text).len())).collect();
        assert_eq!(
            counts,
            [
                ("transactions.v1.avsc", 15),
                ("transactions.v2.avsc", 21),
                ("clicks.v1.avsc", 18),
                ("devices.v1.avsc", 8),
            ]
        );
    }

    #[test]
    fn version_two_begins_with_the_fields_of_version_one() {
        assert_eq!(fields(TRANSACTIONS_V2)[..15], fields(TRANSACTIONS_V1)[..]);
    }

    #[test]
    fn event_times_are_timestamps_and_not_plain_longs() {
        for (name, text) in SHIPPED {
            let Schema::Record(record) = Schema::parse_str(text).unwrap() else { panic!("{name}") };
            let timestamp = record.fields.iter().find(|field| field.name == "timestamp").unwrap();
            assert_eq!(timestamp.schema, Schema::TimestampMillis, "{name}");
        }
    }
}

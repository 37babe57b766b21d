//! The generator's promises: the same seed, the shares, and values that an
//! independent decoder reads or refuses.

use std::collections::{HashMap, HashSet};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;

use super::*;
use crate::decode::fingerprint::fingerprints;
use crate::schema::shipped::{CLICKS_V1, DEVICES_V1, TRANSACTIONS_V1, TRANSACTIONS_V2};

const START_MS: i64 = 1_750_000_000_000;
const STEP_MS: i64 = 20;
const IDS: SchemaIds = SchemaIds { transactions_v1: 11, transactions_v2: 12, clicks: 13, devices: 14 };
const CONFLUENT: Framing = Framing::Confluent { ids: IDS };

/// Runs `visit` over events 20 ms apart.
fn each(options: Options, count: i64, mut visit: impl FnMut(Generated<'_>)) {
    let mut generator = Generator::try_new(options).unwrap();
    for index in 0..count {
        visit(generator.next(START_MS + index * STEP_MS));
    }
}

/// The schemas by the headers that announce them.
fn schemas(framing: Framing) -> Vec<(Vec<u8>, Schema)> {
    [(TRANSACTIONS_V1, 11_u32), (TRANSACTIONS_V2, 12), (CLICKS_V1, 13), (DEVICES_V1, 14)]
        .into_iter()
        .map(|(text, id)| {
            let schema = Schema::parse_str(text).unwrap();
            let header = match framing {
                Framing::Confluent { .. } => [vec![0], id.to_be_bytes().to_vec()].concat(),
                Framing::SingleObject => {
                    let [fingerprint, _] = fingerprints(text).unwrap();
                    [vec![0xC3, 0x01], fingerprint.to_le_bytes().to_vec()].concat()
                }
                Framing::Bare => Vec::new(),
            };
            (header, schema)
        })
        .collect()
}

/// Decodes a whole value, as a careful consumer would.
fn decode(value: &[u8], schemas: &[(Vec<u8>, Schema)]) -> Option<Vec<(String, Value)>> {
    let (header, schema) = schemas.iter().find(|(header, _)| value.starts_with(header))?;
    let mut body = &value[header.len()..];
    let decoded = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut body).ok()?;
    match decoded {
        Value::Record(fields) if body.is_empty() => Some(fields),
        _ => None,
    }
}

#[track_caller]
fn check_share(what: &str, count: usize, of: i64, expected: f64) {
    let share = f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(of).unwrap());
    assert!((share - expected).abs() < 0.15 * expected + 0.002, "{what}: {share}, not {expected}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let bytes = |seed| {
        let mut bytes = Vec::new();
        let options = Options { seed, malformed_share: 0.05, duplicate_share: 0.05, ..Options::default() };
        each(options, 3000, |event| {
            bytes.extend_from_slice(event.key);
            bytes.extend_from_slice(event.value);
        });
        bytes
    };
    assert!(bytes(5) == bytes(5));
    assert!(bytes(5) != bytes(6));
}

#[test]
fn shares_are_kept() {
    const COUNT: i64 = 60_000;
    let options = Options {
        fraud_share: 0.05,
        disorder_share: 0.1,
        late_share: 0.03,
        malformed_share: 0.02,
        duplicate_share: 0.04,
        ..Options::default()
    };
    let (mut by_kind, mut fraud) = (HashMap::new(), 0);
    let (mut late, mut disordered, mut malformed, mut duplicates) = (0, 0, 0, 0);
    each(options, COUNT, |event| {
        *by_kind.entry(event.kind).or_insert(0) += 1;
        fraud += usize::from(event.fraud);
        malformed += usize::from(event.malformed);
        duplicates += usize::from(event.duplicate);
        match event.timeliness {
            Timeliness::Late => late += 1,
            Timeliness::Disordered => disordered += 1,
            Timeliness::OnTime => {}
        }
    });
    check_share("transactions", by_kind[&Kind::Transactions], COUNT, 0.5);
    check_share("clicks", by_kind[&Kind::Clicks], COUNT, 0.4);
    check_share("devices", by_kind[&Kind::Devices], COUNT, 0.1);
    // Bursts are few and long, so this share scatters more.
    assert!((900..2100).contains(&fraud), "{fraud} of about 30 000 transactions are fraud, not about 1500");
    check_share("disorder", disordered, COUNT, 0.1);
    check_share("late", late, COUNT, 0.03);
    check_share("malformed", malformed, COUNT, 0.02);
    check_share("duplicates", duplicates, COUNT, 0.04);
}

#[test]
fn event_times_stand_where_their_timeliness_says() {
    let options = Options { disorder_share: 0.3, late_share: 0.2, ..Options::default() };
    let (most, late) = (options.disorder_max.millis(), options.late_by.millis());
    each(options, 5000, |event| {
        let back = event.arrival_ms - event.event_time_ms;
        match event.timeliness {
            Timeliness::OnTime => assert_eq!(back, 0),
            Timeliness::Disordered => assert!((0..=most).contains(&back)),
            Timeliness::Late => assert_eq!(back, late),
        }
    });
}

#[test]
fn well_formed_values_decode_and_malformed_ones_do_not_in_every_framing() {
    for framing in [CONFLUENT, Framing::SingleObject] {
        let schemas = schemas(framing);
        let options = Options { framing, malformed_share: 0.3, v1_share: 0.4, ..Options::default() };
        let mut counts = HashMap::new();
        each(options, 8000, |event| match decode(event.value, &schemas) {
            Some(fields) => {
                assert!(!event.malformed, "{framing:?}: {:?}", event.value);
                *counts.entry((event.kind, fields.len())).or_insert(0) += 1;
                let key = Value::String(event.entity.to_owned());
                let names = ["card_id", "user_id", "device_id"];
                let key_field = match event.kind {
                    Kind::Transactions => names[0],
                    Kind::Clicks => names[1],
                    Kind::Devices => names[2],
                };
                assert!(fields.iter().any(|(name, value)| name == key_field && *value == key));
                let time = Value::TimestampMillis(event.event_time_ms);
                assert!(fields.iter().any(|(name, value)| name == "timestamp" && *value == time));
            }
            None => assert!(event.malformed, "{framing:?}: {:?}", event.value),
        });
        let kinds: HashSet<(Kind, usize)> = counts.into_keys().collect();
        let expected =
            [(Kind::Transactions, 15), (Kind::Transactions, 21), (Kind::Clicks, 18), (Kind::Devices, 8)];
        assert_eq!(kinds, HashSet::from(expected));
    }
}

#[test]
fn bare_values_are_of_the_newest_schema() {
    let schemas = schemas(Framing::Bare);
    let options = Options {
        framing: Framing::Bare,
        streams: vec![Kind::Transactions],
        v1_share: 1.0,
        malformed_share: 0.3,
        ..Options::default()
    };
    each(options, 2000, |event| {
        let decoded = decode(event.value, &schemas[1..]);
        assert_eq!(decoded.is_none(), event.malformed);
        assert!(decoded.is_none_or(|fields| fields.len() == 21));
        assert!(!event.value.is_empty());
    });
}

#[test]
fn duplicates_are_the_event_before() {
    let mut before: (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    each(Options { duplicate_share: 0.3, ..Options::default() }, 2000, |event| {
        if event.duplicate {
            assert!(event.key == before.0 && event.value == before.1);
        }
        before = (event.key.to_vec(), event.value.to_vec());
    });
}

#[test]
fn records_read_as_json_have_their_schemas_fields() {
    let options = Options { v1_share: 0.5, ..Options::default() };
    each(options, 500, |event| {
        let json = serde_json::to_value(event.record).unwrap();
        let fields = json.as_object().unwrap();
        let expected: &[usize] = match event.kind {
            Kind::Transactions => &[15, 21],
            Kind::Clicks => &[18],
            Kind::Devices => &[8],
        };
        assert!(expected.contains(&fields.len()), "{json}");
        assert_eq!(fields["timestamp"], event.event_time_ms);
    });
}

#[test]
fn fraud_is_a_few_tests_and_then_large_amounts_abroad() {
    let options = Options { fraud_share: 0.1, streams: vec![Kind::Transactions], ..Options::default() };
    let (mut small, mut large) = (0, 0);
    each(options, 20_000, |event| {
        if event.fraud {
            let json = serde_json::to_value(event.record).unwrap();
            if json["amount"].as_f64().unwrap() < 5.0 { small += 1 } else { large += 1 }
        }
    });
    assert!(small > 400 && large > small, "{small} small, {large} large");
}

#[test]
fn visits_come_to_carts_and_purchases() {
    let mut actions: HashMap<String, u32> = HashMap::new();
    let mut sessions = HashSet::new();
    each(Options { streams: vec![Kind::Clicks], ..Options::default() }, 20_000, |event| {
        let json = serde_json::to_value(event.record).unwrap();
        *actions.entry(json["action_type"].as_str().unwrap().to_owned()).or_default() += 1;
        sessions.insert(json["session_id"].as_str().unwrap().to_owned());
    });
    assert_eq!(actions.len(), 6, "{actions:?}");
    assert!(actions["ADD_TO_CART"] > actions["PURCHASE"], "{actions:?}");
    assert!((1000..10_000).contains(&sessions.len()), "{}", sessions.len());
}

#[test]
fn wrong_options_are_refused() {
    let refused = |options| Generator::try_new(options).err().map(|error| error.to_string());
    assert!(refused(Options { fraud_share: 1.5, ..Options::default() }).is_some());
    assert!(refused(Options { malformed_share: f64::NAN, ..Options::default() }).is_some());
    assert!(refused(Options { late_share: 0.6, disorder_share: 0.6, ..Options::default() }).is_some());
    assert!(refused(Options { streams: Vec::new(), ..Options::default() }).is_some());
    assert!(refused(Options { entities: 0, ..Options::default() }).is_some());
    assert!(refused(Options::default()).is_none());
}

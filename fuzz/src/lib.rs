//! What the fuzz targets call, and `tests/it/hostile.rs` with a bounded number
//! of inputs: every entrance through which somebody else's bytes come. Each
//! takes anything, must return soon, and panics where a promise is broken.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;

use tokio::runtime::{Builder, Runtime};
use windrow::config::{Config, Flags};
use windrow::decode::framing::{self as frames, Framing, Writer};
use windrow::decode::{Options, StreamDecoder, StreamSchema};
use windrow::frame::{Frame, FrameBatch, PartitionId, StreamId};
use windrow::schema::shipped::{TRANSACTIONS_V1, TRANSACTIONS_V2};
use windrow::sink::resp as protocol;
use windrow::view::plan::{Planner, ViewFile};
use windrow::view::{Stream, Streams};

/// The id and the fingerprint under which the decoders know version 2.
const ID: u32 = 2;
const FINGERPRINT: u64 = 0x0102_0304_0506_0708;

/// A block of as many items as an array may have, and the array's end.
const MOST_ITEMS: [u8; 6] = [0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0];

/// What rows take at most: builders begin with room for a thousand values a
/// column, whatever comes; beyond that, a fixed multiple of what was read.
const BASE_BYTES: usize = 8 << 20;
const BYTES_PER_BYTE: usize = 64;

/// A transaction of version 2, as short as one can be.
#[must_use]
pub fn transaction() -> Vec<u8> {
    let mut body = Vec::new();
    for text in ["t", "card", "u"] {
        push_text(&mut body, text);
    }
    body.extend(12.5_f64.to_le_bytes());
    body.push(2); // currency: EUR
    for text in ["5812", "d", "10.0.0.1"] {
        push_text(&mut body, text);
    }
    body.extend([0; 4]); // where: null
    body.extend([0x80, 0xF8, 0x9E, 0x99, 0xAA, 0x65]); // timestamp: 2025-03-01T12:00:00Z
    body.push(0); // processing_time: null
    body.extend([2, 2, b'k', 2, b'v', 0]); // metadata: one entry
    body.extend([0; 4]); // merchant and risk: null
    body.extend([0, 0]); // payment_method, is_fraud
    body
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    body.push(u8::try_from(text.len() * 2).expect("a short text"));
    body.extend(text.as_bytes());
}

fn options() -> Options {
    Options {
        framing: Framing::Auto,
        event_time: "timestamp".to_owned(),
        event_time_unit: None,
        key: "card_id".to_owned(),
    }
}

fn transactions() -> StreamSchema {
    StreamSchema::try_new(TRANSACTIONS_V2, &options()).expect("the shipped schema is one")
}

/// A decoder of every column, or of the few that a view may use: the rest is skipped.
fn decoder(every_column: bool) -> StreamDecoder {
    let stream = transactions();
    let used: BTreeSet<String> = if every_column {
        stream.table.fields().iter().map(|field| field.name().clone()).collect()
    } else {
        BTreeSet::from(["amount".to_owned()])
    };
    let decoder = StreamDecoder::try_new(&stream, options(), &used);
    let mut decoder = decoder.expect("the columns are the schema's");
    decoder.learn(Writer::Id(1), TRANSACTIONS_V1);
    decoder.learn(Writer::Id(ID), TRANSACTIONS_V2);
    decoder.learn(Writer::Fingerprint(FINGERPRINT), TRANSACTIONS_V2);
    decoder
}

thread_local! {
    static DECODERS: RefCell<[StreamDecoder; 2]> = RefCell::new([decoder(true), decoder(false)]);
    static PLANNER: &'static (Planner<'static>, Runtime) = planner();
    static DIRECTORY: tempfile::TempDir = tempfile::tempdir().expect("makes a temporary directory");
}

fn with_id(id: u32, body: &[u8]) -> Vec<u8> {
    [[0].as_slice(), id.to_be_bytes().as_slice(), body].concat()
}

/// Decodes `values` between two good ones: those two must come out, and every
/// frame be accounted for, in not much more memory than it came in.
fn decode(decoder: &mut StreamDecoder, values: &[Vec<u8>]) {
    let mut batch = FrameBatch::new(PartitionId { stream: StreamId(0), partition: 0 });
    let good = with_id(ID, &transaction());
    let all = [&good].into_iter().chain(values).chain([&good]);
    for (offset, value) in (0..).zip(all) {
        let (key, value) = (Some(b"card".as_slice()), Some(value.as_slice()));
        batch.push(Frame { offset, timestamp_ms: 0, key, value });
    }
    let mut unknown = BTreeSet::new();
    let find = |writer| -> Result<&str, String> {
        assert!(unknown.insert(writer), "asked for once");
        Err("nobody has it".to_owned())
    };
    let decoded = decoder.decode(&batch, find).expect("no frame can cause an error");
    assert!(unknown.len() <= values.len(), "a writer a frame at most");

    let tombstones = usize::try_from(decoded.tombstones).expect("a few");
    assert_eq!(decoded.rows.num_rows() + decoded.rejected.len() + tombstones, batch.len());
    assert_eq!(decoded.rows.num_rows(), decoded.frames.len());
    assert!(decoded.frames.is_sorted(), "rows are in offset order");
    assert!(decoded.frames.starts_with(&[0]) && decoded.frames.ends_with(&[batch.len() - 1]));
    let bytes = decoded.rows.get_array_memory_size();
    let most = BASE_BYTES + BYTES_PER_BYTE * batch.byte_len();
    assert!(bytes <= most, "{bytes} bytes of rows from {} of frames", batch.byte_len());
}

/// A value as it comes from Kafka, whatever its framing.
pub fn framing(data: &[u8]) {
    for framing in [Framing::Auto, Framing::Confluent, Framing::SingleObject, Framing::Bare] {
        if let Ok((_, body)) = frames::split(framing, data) {
            assert!(data.ends_with(body), "the body is the value's end");
        }
    }
    DECODERS.with_borrow_mut(|decoders| {
        for decoder in decoders {
            decode(decoder, &[data.to_vec()]);
        }
    });
}

/// The body of an event under each writer's schema that is known.
pub fn avro_body(data: &[u8]) {
    let values = [
        with_id(1, data),
        with_id(ID, data),
        [[0xC3, 0x01].as_slice(), FINGERPRINT.to_le_bytes().as_slice(), data].concat(),
        data.to_vec(),
    ];
    DECODERS.with_borrow_mut(|decoders| {
        for decoder in decoders {
            decode(decoder, &values);
        }
    });
}

/// The text of a writer's schema as a registry gives it: used, or its events
/// rejected, and those of others unharmed. It may be a stream's own schema, too.
pub fn writer_schema(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut decoder = decoder(true);
    decoder.learn(Writer::Id(9), &text);
    let bodies = [transaction().as_slice(), &[], &[2; 64], &MOST_ITEMS].map(|body| with_id(9, body));
    decode(&mut decoder, &bodies);
    let _ = StreamSchema::try_new(&text, &options());
}

/// Neither is ever dropped: a thread that ends is no place for that.
fn planner() -> &'static (Planner<'static>, Runtime) {
    let streams = Streams::new(vec![Stream {
        name: "transactions".to_owned(),
        topic: "txn.events".to_owned(),
        key: "card_id".to_owned(),
        table: transactions().table,
    }]);
    let streams: &'static Streams = Box::leak(Box::new(streams));
    let runtime = Builder::new_current_thread().build().expect("builds a runtime");
    Box::leak(Box::new((Planner::new(streams), runtime)))
}

/// The file of a feature view: planned, or told what is wrong.
pub fn view_header(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let file = ViewFile { path: "hostile.sql".to_owned(), stem: "hostile".to_owned(), text };
    PLANNER.with(|(planner, runtime)| {
        let Err(problems) = runtime.block_on(planner.plan(&file)) else { return };
        assert!(!problems.is_empty(), "who is refused is told why");
        for problem in problems {
            let line = problem.place.as_ref().and_then(|place| place.line);
            assert!(line.is_none_or(|line| line >= 1), "{problem}");
        }
    });
}

/// A configuration file, as TOML and as JSON.
pub fn config(data: &[u8]) {
    DIRECTORY.with(|directory| {
        for name in ["windrow.toml", "windrow.json"] {
            let file = directory.path().join(name);
            fs::write(&file, data).expect("writes the file");
            let mut flags = Flags::default();
            flags.set_file(&file);
            let (config, problems) = Config::inspect(&flags);
            assert!(!format!("{config:?}{problems}").is_empty());
        }
    });
}

/// Packed commands: what is read is part of what was given, and written again
/// it is read again as the same.
pub fn resp(data: &[u8]) {
    let mut read = 0;
    for command in protocol::commands(data) {
        let Ok(parts) = command else { break };
        read += parts.iter().map(|part| part.len()).sum::<usize>();
        assert!(read <= data.len(), "more was read than there is");
        let again = protocol::command(&parts);
        let mut commands = protocol::commands(&again);
        assert_eq!(commands.next(), Some(Ok(parts)));
        assert!(commands.next().is_none(), "one command");
    }
}

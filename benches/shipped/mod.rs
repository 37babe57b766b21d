//! What is measured with: recorded transactions of the shipped stream, and the
//! shipped view over it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::runtime::{Builder, Runtime};
use windrow::clock;
use windrow::decode::framing::{Framing, Writer};
use windrow::decode::{self, StreamDecoder, StreamSchema};
use windrow::evaluate::reference::{self, Rows};
use windrow::frame::{Frame, FrameBatch, PartitionId, StreamId};
use windrow::generate::{Framing as GeneratedFraming, Generator, Kind, Options, SchemaIds};
use windrow::pipeline::worker::{Parts, Worker};
use windrow::schema::shipped::TRANSACTIONS_V2;
use windrow::schema::writers::Writers;
use windrow::sink::encode::{self, Encoder, KeyTemplate};
use windrow::source::Assignment;
use windrow::time::{EventTime, Span};
use windrow::view::plan::{Planner, ViewFile, session};
use windrow::view::{FeatureView, Stream, Streams};

const STREAM: StreamId = StreamId(0);
const PARTITION: PartitionId = PartitionId { stream: STREAM, partition: 0 };
const SCHEMA_ID: u32 = 2;

/// How many cards there are; some pay far more often than others.
const CARDS: u64 = 50_000;

/// When the first event arrives: a Tuesday in November 2023, in milliseconds.
pub const BEGIN_MS: i64 = 1_700_000_000_000;

/// Between two events: 50 000 of them span ten minutes, twice the shortest window of the view.
const SPACING_MS: i64 = 12;

/// Wall time stands still: nothing that is measured depends on it.
pub const WALL: EventTime = EventTime::from_millis(BEGIN_MS);

/// The defaults of `windrow run`.
pub const CLOCK: clock::Options = clock::Options {
    max_out_of_order: Span::from_secs(5),
    allowed_lateness: Span::from_secs(60),
    max_future: Span::from_secs(300),
    idle_after: Span::from_secs(10),
};

/// Makes events of one stream.
pub fn generator(kind: Kind) -> Generator {
    let ids = SchemaIds { transactions_v2: SCHEMA_ID, ..SchemaIds::default() };
    Generator::try_new(Options {
        streams: vec![kind],
        entities: CARDS,
        framing: GeneratedFraming::Confluent { ids },
        ..Options::default()
    })
    .expect("the options are right")
}

/// Transactions in Confluent's framing, as one partition holds them.
pub struct Recorder {
    generator: Generator,
    offset: i64,
}

impl Recorder {
    /// Before the first event.
    pub fn new() -> Self {
        Self { generator: generator(Kind::Transactions), offset: 0 }
    }

    /// When the next event arrives.
    pub const fn now_ms(&self) -> i64 {
        BEGIN_MS + self.offset * SPACING_MS
    }

    /// The next events.
    pub fn take(&mut self, count: usize) -> FrameBatch {
        let mut frames = FrameBatch::new(PARTITION);
        for _ in 0..count {
            let arrival_ms = self.now_ms();
            let event = self.generator.next(arrival_ms);
            frames.push(Frame {
                offset: self.offset,
                timestamp_ms: arrival_ms,
                key: Some(event.key),
                value: Some(event.value),
            });
            self.offset += 1;
        }
        frames
    }
}

/// The shipped stream `transactions` and the shipped view over it.
pub struct Shipped {
    /// `transaction`, planned.
    pub view: Arc<FeatureView>,

    schema: StreamSchema,
    streams: Arc<Streams>,
    runtime: Runtime,
}

impl Shipped {
    /// Reads the schema and plans the view.
    pub fn new() -> Self {
        let schema = StreamSchema::try_new(TRANSACTIONS_V2, &Self::decoding()).expect("it is shipped");
        let streams = Streams::new(vec![Stream {
            name: Kind::Transactions.stream().to_owned(),
            topic: Kind::Transactions.topic().to_owned(),
            key: Self::decoding().key,
            table: Arc::clone(&schema.table),
        }]);
        let runtime = Builder::new_current_thread().build().expect("the system gives a runtime");
        let file = ViewFile {
            path: "sql/transaction.sql".to_owned(),
            stem: "transaction".to_owned(),
            text: include_str!("../../sql/transaction.sql").to_owned(),
        };
        let view = runtime
            .block_on(Planner::new(&streams).plan(&file))
            .unwrap_or_else(|problems| panic!("the shipped view is wrong: {problems:?}"));
        Self { schema, streams: Arc::new(streams), view: Arc::new(view), runtime }
    }

    fn decoding() -> decode::Options {
        decode::Options {
            framing: Framing::Auto,
            event_time: "timestamp".to_owned(),
            event_time_unit: None,
            key: "card_id".to_owned(),
        }
    }

    /// Every column of the stream.
    pub fn all_columns(&self) -> BTreeSet<String> {
        self.schema.table.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The columns that the view uses.
    pub fn used_columns(&self) -> BTreeSet<String> {
        self.view.scans.iter().flat_map(|scan| scan.columns.iter().cloned()).collect()
    }

    /// A decoder that has met the writer of the recorded events.
    pub fn decoder(&self, columns: &BTreeSet<String>) -> StreamDecoder {
        let mut decoder = StreamDecoder::try_new(&self.schema, Self::decoding(), columns)
            .expect("the shipped schema has the columns that the shipped view uses");
        decoder.learn(Writer::Id(SCHEMA_ID), TRANSACTIONS_V2);
        decoder
    }

    /// Frames as rows of the columns that the view uses.
    pub fn rows(&self, frames: &FrameBatch) -> RecordBatch {
        let decoded = self.decoder(&self.used_columns()).decode(frames, &BTreeMap::new());
        let rows = decoded.expect("frames can be decoded").rows;
        assert_eq!(rows.num_rows(), frames.len(), "the generator spoils nothing unless it is told to");
        rows
    }

    /// Writes the view's rows as a run does.
    pub fn encoder(&self) -> Encoder {
        let options = encode::Options {
            template: KeyTemplate::parse("features:{entity}:{key}:{view}").expect("it is a template"),
            entity: self.view.header.entity.clone(),
            view: self.view.name.clone(),
            key_columns: self.view.key.clone(),
            ttl: self.view.ttl,
            null_text: None,
        };
        Encoder::try_new(&options, &self.view.output).expect("the shipped view can be written")
    }

    /// A worker that has taken `kept` in and published what came of it.
    pub fn warm_worker(&self, kept: FrameBatch, reference_only: bool) -> Worker {
        let ids: HashMap<(StreamId, u32), Arc<str>> =
            HashMap::from([((STREAM, SCHEMA_ID), Arc::from(TRANSACTIONS_V2))]);
        let mut worker = Worker::try_new(Parts {
            streams: Arc::clone(&self.streams),
            decoders: BTreeMap::from([(STREAM, self.decoder(&self.used_columns()))]),
            views: vec![(Arc::clone(&self.view), self.encoder())],
            writers: Writers::try_new(std::iter::empty(), ids, None).expect("there is nothing to parse"),
            clock: CLOCK,
            session: session(),
            reference_only,
        })
        .expect("the system gives a runtime");
        worker
            .assign(&[Assignment {
                partition: PARTITION,
                read_from: 0,
                clock: None,
                publish_from: 0,
                end: i64::MAX,
            }])
            .expect("a new partition is taken");
        worker.turn(vec![kept], &[], WALL).expect("no event can fail a turn");
        worker
    }

    /// Every row of the view, as the reference has it.
    pub fn features(&self, kept: &Kept, now: EventTime) -> RecordBatch {
        self.runtime
            .block_on(reference::evaluate(&session(), &self.view, now, kept))
            .expect("the shipped view fails on no event")
    }
}

/// The events that the windows hold, in one batch.
pub struct Kept(pub RecordBatch);

impl Rows for Kept {
    fn rows(&self, _stream: &str, _after: EventTime) -> (SchemaRef, Vec<RecordBatch>) {
        (self.0.schema(), vec![self.0.clone()])
    }
}

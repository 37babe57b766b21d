//! What is measured with: recorded transactions of the shipped stream, and
//! views over it, the shipped one first.

#![allow(dead_code, unused_imports, reason = "each benchmark uses a part of it")]

mod recorder;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::runtime::{Builder, Runtime};
use windrow::checkpoint::{self, Identity};
use windrow::clock;
use windrow::decode::framing::{Framing, Writer};
use windrow::decode::{self, StreamDecoder, StreamSchema};
use windrow::evaluate::reference::{self, Rows};
use windrow::frame::{FrameBatch, PartitionId, StreamId};
use windrow::generate::Kind;
use windrow::pipeline::worker::{Parts, Worker};
use windrow::schema::shipped::TRANSACTIONS_V2;
use windrow::schema::writers::Writers;
use windrow::sink::encode::{self, Encoder, KeyTemplate};
use windrow::source::{Assignment, Past};
use windrow::time::{EventTime, Span};
use windrow::view::plan::{Planner, ViewFile, session};
use windrow::view::{FeatureView, Stream, Streams};

pub use self::recorder::{Recorder, generator};

const STREAM: StreamId = StreamId(0);
const SCHEMA_ID: u32 = 2;

/// The shipped view's text.
pub const TRANSACTION: &str = include_str!("../../sql/transaction.sql");

/// What says the schema of a writer that the decoder does not know: it knows all that are recorded.
///
/// # Errors
/// Always.
pub fn unknown(writer: Writer) -> Result<&'static str, String> {
    Err(format!("nothing was recorded with {writer}"))
}

/// How many cards there are where nothing else is said; some pay far more often than others.
pub const CARDS: u32 = 50_000;

/// When the first event arrives: a Tuesday in November 2023, in milliseconds.
pub const BEGIN_MS: i64 = 1_700_000_000_000;

/// Wall time stands still: nothing that is measured depends on it.
pub const WALL: EventTime = EventTime::from_millis(BEGIN_MS);

/// The defaults of `windrow run`.
pub const CLOCK: clock::Options = clock::Options {
    max_out_of_order: Span::from_secs(5),
    allowed_lateness: Span::from_secs(60),
    max_future: Span::from_secs(300),
    idle_after: Span::from_secs(10),
};

/// A partition of the stream.
pub fn partition(number: usize) -> PartitionId {
    let partition = i32::try_from(number).expect("there are a few partitions");
    PartitionId { stream: STREAM, partition }
}

/// A partition given from its beginning; events before `publish_from` only fill the windows.
pub fn assignment(number: usize, publish_from: i64) -> Assignment {
    Assignment {
        partition: partition(number),
        read_from: 0,
        clock: None,
        publish_from,
        hold_until: publish_from,
        end: i64::MAX,
        past: Past::Whole,
        committed_past: Past::Whole,
    }
}

/// How a worker begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// Events before this offset only fill the windows.
    pub publish_from: i64,
    /// Whether the SQL is run over everything kept.
    pub reference_only: bool,
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
        let view = planned(&runtime, &streams, "transaction", TRANSACTION);
        Self { schema, streams: Arc::new(streams), view, runtime }
    }

    /// Another view over the same stream, by its text.
    pub fn plan(&self, name: &str, text: &str) -> Arc<FeatureView> {
        planned(&self.runtime, &self.streams, name, text)
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

    /// The columns that the shipped view uses.
    pub fn used_columns(&self) -> BTreeSet<String> {
        used_by(std::slice::from_ref(&self.view))
    }

    /// A decoder that has met the writer of the recorded events.
    pub fn decoder(&self, columns: &BTreeSet<String>) -> StreamDecoder {
        let mut decoder = StreamDecoder::try_new(&self.schema, Self::decoding(), columns)
            .expect("the shipped schema has the columns that views use");
        decoder.learn(Writer::Id(SCHEMA_ID), TRANSACTIONS_V2);
        decoder
    }

    /// Frames as rows of the columns that the shipped view uses.
    pub fn rows(&self, frames: &FrameBatch) -> RecordBatch {
        let decoded = self.decoder(&self.used_columns()).decode(frames, unknown);
        let rows = decoded.expect("frames can be decoded").rows;
        assert_eq!(rows.num_rows(), frames.len(), "the generator spoils nothing unless it is told to");
        rows
    }

    /// Writes the shipped view's rows as a run does.
    pub fn encoder(&self) -> Arc<Encoder> {
        encoder_of(&self.view)
    }

    /// Whose the checkpoints of the shipped view are.
    pub fn identity(&self) -> Identity {
        let views = std::slice::from_ref(&self.view);
        let mut identities = checkpoint::identities("bench", &self.streams, views, |_| String::new());
        identities.remove(&STREAM).expect("the view reads the stream").expect("the view is tiled")
    }

    /// A worker of these views that was given these partitions and has read nothing yet.
    pub fn worker(&self, views: &[Arc<FeatureView>], partitions: Range<usize>, start: Start) -> Worker {
        let mut worker = self.idle_worker(views, start.reference_only);
        let assignments: Vec<Assignment> =
            partitions.map(|number| assignment(number, start.publish_from)).collect();
        worker.assign(&assignments).expect("new partitions are taken");
        worker
    }

    /// A worker of these views without a partition.
    pub fn idle_worker(&self, views: &[Arc<FeatureView>], reference_only: bool) -> Worker {
        let ids: HashMap<(StreamId, u32), Arc<str>> =
            HashMap::from([((STREAM, SCHEMA_ID), Arc::from(TRANSACTIONS_V2))]);
        Worker::try_new(Parts {
            streams: Arc::clone(&self.streams),
            decoders: BTreeMap::from([(STREAM, self.decoder(&used_by(views)))]),
            views: views.iter().map(|view| (Arc::clone(view), encoder_of(view))).collect(),
            writers: Writers::try_new(std::iter::empty(), ids, None).expect("there is nothing to parse"),
            clock: CLOCK,
            session: session(),
            reference_only,
        })
        .expect("the system gives a runtime")
    }

    /// A worker of the shipped view that has taken `kept` in and published what came of it.
    pub fn warm_worker(&self, kept: FrameBatch, reference_only: bool) -> Worker {
        let start = Start { reference_only, ..Start::default() };
        let mut worker = self.worker(std::slice::from_ref(&self.view), 0..1, start);
        worker.turn(vec![kept], &[], WALL).expect("no event can fail a turn");
        worker
    }

    /// Every row of the shipped view, as the reference has it.
    pub fn features(&self, kept: &Kept, now: EventTime) -> RecordBatch {
        self.runtime
            .block_on(reference::evaluate(&session(), &self.view, now, kept))
            .expect("the shipped view fails on no event")
    }
}

fn planned(runtime: &Runtime, streams: &Streams, name: &str, text: &str) -> Arc<FeatureView> {
    let file = ViewFile { path: format!("sql/{name}.sql"), stem: name.to_owned(), text: text.to_owned() };
    let view = runtime
        .block_on(Planner::new(streams).plan(&file))
        .unwrap_or_else(|problems| panic!("the view is wrong: {problems:?}"));
    Arc::new(view)
}

fn encoder_of(view: &FeatureView) -> Arc<Encoder> {
    let options = encode::Options {
        template: KeyTemplate::parse("features:{entity}:{key}:{view}").expect("it is a template"),
        entity: view.header.entity.clone(),
        view: view.name.clone(),
        key_columns: view.key.clone(),
        ttl: view.ttl,
        null_text: None,
        changed_only: true,
    };
    Encoder::try_new(&options, &view.output).expect("the view can be written")
}

fn used_by(views: &[Arc<FeatureView>]) -> BTreeSet<String> {
    views.iter().flat_map(|view| &view.scans).flat_map(|scan| scan.columns.iter().cloned()).collect()
}

/// The events that the windows hold, in one batch.
pub struct Kept(pub RecordBatch);

impl Rows for Kept {
    fn rows(&self, _stream: &str, _after: EventTime) -> (SchemaRef, Vec<RecordBatch>) {
        (self.0.schema(), vec![self.0.clone()])
    }
}

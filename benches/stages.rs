//! What a batch costs, a stage at a time, over recorded transactions in memory.
//!
//! Windows hold little here, so that every stage can be repeated; `engine`
//! measures a worker whose windows are full. Neither Kafka nor Redis is here:
//! `tools/bench-end-to-end.sh` measures the whole. Every rate is events (or
//! rows of features) per second on one thread.

mod shipped;

use std::hint::black_box;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use windrow::clock::PartitionClock;
use windrow::decode::reader::{EVENT_TIME, TIMESTAMP};
use windrow::generate::Kind;
use windrow::sink::Writes;
use windrow::sink::encode::Known;
use windrow::time::EventTime;

use shipped::{BEGIN_MS, CLOCK, Kept, Recorder, Shipped, WALL, generator, unknown};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events decoded at once: a batch of 250 ms at 40 000 events per second.
const EVENTS_DECODED: usize = 10_000;

/// Events that the windows hold.
const EVENTS_KEPT: usize = 50_000;

/// Events of a turn: a batch of 250 ms at 10 000 events per second.
const EVENTS_OF_A_TURN: usize = 2_500;

/// Rows of features encoded at once: that many cards changed.
const ROWS_ENCODED: usize = 5_000;

/// Events generated between two looks at the time.
const EVENTS_GENERATED: usize = 1_000;

fn group<'a>(criterion: &'a mut Criterion, name: &str, elements: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(elements as u64));
    group
}

/// For what takes tenths of a second: as few repetitions as there can be.
fn slow(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
}

fn bench_generate(criterion: &mut Criterion) {
    let mut group = group(criterion, "generate", EVENTS_GENERATED);
    for kind in Kind::ALL {
        let mut generator = generator(kind);
        let mut now_ms = BEGIN_MS;
        group.bench_function(kind.stream(), |bencher| {
            bencher.iter(|| {
                for _ in 0..EVENTS_GENERATED {
                    now_ms += 1;
                    black_box(generator.next(now_ms).value);
                }
            });
        });
    }
    group.finish();
}

fn bench_decode(criterion: &mut Criterion) {
    let shipped = Shipped::new();
    let frames = Recorder::new().take(EVENTS_DECODED);
    let mut group = group(criterion, "decode", EVENTS_DECODED);
    for (name, columns) in
        [("all_columns", shipped.all_columns()), ("columns_of_the_view", shipped.used_columns())]
    {
        let mut decoder = shipped.decoder(&columns);
        group.bench_function(name, |bencher| {
            bencher.iter(|| decoder.decode(&frames, unknown).expect("frames can be decoded"));
        });
    }
    group.finish();
}

fn bench_accept(criterion: &mut Criterion) {
    let rows = Shipped::new().rows(&Recorder::new().take(EVENTS_DECODED));
    let (event_times, timestamps) = (times(&rows, EVENT_TIME), times(&rows, TIMESTAMP));
    let mut group = group(criterion, "accept", EVENTS_DECODED);
    group.bench_function("partition_clock", |bencher| {
        bencher.iter(|| PartitionClock::default().accept(&CLOCK, event_times, timestamps));
    });
    group.finish();
}

fn times<'a>(rows: &'a RecordBatch, column: &str) -> &'a TimestampMicrosecondArray {
    rows.column_by_name(column)
        .expect("every stream's rows have it")
        .as_primitive::<TimestampMicrosecondType>()
}

/// A turn as a run takes it, from frames to packed commands, by the reference
/// and by the view's own class; every repetition begins with the same state.
fn bench_turn(criterion: &mut Criterion) {
    let shipped = Shipped::new();
    let mut recorder = Recorder::new();
    let (kept, frames) = (recorder.take(EVENTS_KEPT), recorder.take(EVENTS_OF_A_TURN));
    let mut group = group(criterion, "turn", EVENTS_OF_A_TURN);
    slow(&mut group);
    let own_class = shipped.view.classification.class.to_string();
    for (name, reference_only) in [("reference", true), (own_class.as_str(), false)] {
        group.bench_function(format!("{}_{name}", shipped.view.name), |bencher| {
            bencher.iter_batched(
                || (shipped.warm_worker(kept.clone(), reference_only), vec![frames.clone()]),
                |(mut worker, frames)| {
                    let publication = worker.turn(frames, &[], WALL).expect("no event can fail a turn");
                    // Handed back, so that dropping it is not measured.
                    (worker, publication)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// The SQL over everything kept, as views of class `full` are evaluated.
fn bench_reference(criterion: &mut Criterion) {
    let shipped = Shipped::new();
    let mut recorder = Recorder::new();
    let kept = Kept(shipped.rows(&recorder.take(EVENTS_KEPT)));
    let now = EventTime::from_millis(recorder.now_ms());
    let mut group = group(criterion, "reference", EVENTS_KEPT);
    slow(&mut group);
    group.bench_function(shipped.view.name.as_str(), |bencher| {
        bencher.iter(|| shipped.features(&kept, now));
    });
    group.finish();
}

fn bench_encode(criterion: &mut Criterion) {
    let shipped = Shipped::new();
    let mut recorder = Recorder::new();
    let kept = Kept(shipped.rows(&recorder.take(EVENTS_KEPT)));
    let now_ms = recorder.now_ms();
    let features = shipped.features(&kept, EventTime::from_millis(now_ms));
    assert!(features.num_rows() >= ROWS_ENCODED, "so many cards have paid");
    let features = features.slice(0, ROWS_ENCODED);
    let encoder = shipped.encoder();
    let mut group = group(criterion, "encode", ROWS_ENCODED);
    group.bench_function("commands", |bencher| {
        bencher.iter(|| {
            let mut writes = Writes::default();
            let mut bound = encoder.bind(&features).expect("the rows are the view's");
            for row in 0..ROWS_ENCODED {
                bound.set(row, Known::Absent, now_ms, now_ms, &mut writes);
            }
            writes
        });
    });
    group.bench_function("digests", |bencher| {
        bencher.iter(|| {
            let mut bound = encoder.bind(&features).expect("the rows are the view's");
            for row in 0..ROWS_ENCODED {
                black_box(bound.digest(row));
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = stages;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = bench_generate, bench_decode, bench_accept, bench_turn, bench_reference, bench_encode
}
criterion_main!(stages);

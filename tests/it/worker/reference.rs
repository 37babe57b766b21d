//! What the hashes must be: the same SQL, run by plain DataFusion over a table
//! of the events that the model accepts, with `now()` written out as a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::log::{Entry, Event, accepted};
use super::views::{MARKS, Template};

/// Fields by Redis key, without those that begin with `_`.
pub type Hashes = BTreeMap<String, BTreeMap<String, String>>;

/// What a log comes to.
pub fn hashes(template: &Template, log: &[Entry]) -> Hashes {
    let count = log.iter().map(|entry| entry.partition + 1).max().unwrap_or_default();
    let partitions: Vec<_> = (0..count).map(|partition| accepted(log, partition)).collect();
    let shards: Vec<(Vec<Event>, Option<i64>)> = if template.single {
        let clock = partitions.iter().filter_map(|partition| partition.clock_ms).max();
        vec![(partitions.into_iter().flat_map(|partition| partition.events).collect(), clock)]
    } else {
        partitions.into_iter().map(|partition| (partition.events, partition.clock_ms)).collect()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut hashes = Hashes::new();
    for (events, clock_ms) in shards {
        if let Some(clock_ms) = clock_ms {
            let batches = runtime.block_on(run(template, &events, clock_ms));
            batches.iter().for_each(|batch| collect(template, batch, &mut hashes));
        }
    }
    hashes
}

async fn run(template: &Template, events: &[Event], clock_ms: i64) -> Vec<RecordBatch> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_batch("payments", table(events)).unwrap();
    let sql = MARKS.iter().fold(template.sql.to_owned(), |sql, (mark, step_ms)| {
        let now_ms = (clock_ms + step_ms - 1).div_euclid(*step_ms) * step_ms;
        let now = chrono::DateTime::from_timestamp_millis(now_ms).unwrap();
        sql.replace(mark, &format!("TIMESTAMP '{}'", now.format("%Y-%m-%dT%H:%M:%S%.3f")))
    });
    let planned = context.sql(&sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    planned.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

fn table(events: &[Event]) -> RecordBatch {
    let times = events.iter().map(|event| event.time_ms * 1000);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("card", Arc::new(StringArray::from_iter_values(events.iter().map(|event| &event.card))), false),
        ("place", Arc::new(StringArray::from_iter_values(events.iter().map(|event| &event.place))), false),
        ("amount", Arc::new(Float64Array::from_iter_values(events.iter().map(|event| event.amount))), false),
        (
            "device",
            Arc::new(events.iter().map(|event| event.device.as_deref()).collect::<StringArray>()),
            true,
        ),
        (
            "event_time",
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00")),
            false,
        ),
        (
            "_partition",
            Arc::new(Int32Array::from_iter_values(events.iter().map(|event| event.partition))),
            false,
        ),
        ("_offset", Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.offset))), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn collect(template: &Template, rows: &RecordBatch, hashes: &mut Hashes) {
    let schema = rows.schema();
    for row in 0..rows.num_rows() {
        let mut fields: BTreeMap<String, String> = schema
            .fields()
            .iter()
            .zip(rows.columns())
            .filter_map(|(field, column)| Some((field.name().clone(), text(column, row)?)))
            .collect();
        let key = fields.remove(template.key).unwrap();
        let before = hashes.insert(format!("features:e:{key}:{}", template.name), fields);
        assert!(before.is_none(), "{key} is in two shards");
    }
}

/// A value as the contract writes it.
pub fn text(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1000).to_string()
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            let texts: Vec<String> = (0..items.len())
                .map(|item| text(&items, item).unwrap_or_else(|| "null".to_owned()))
                .collect();
            format!("[{}]", texts.join(","))
        }
        _ => array_value_to_string(column, row).unwrap(),
    })
}

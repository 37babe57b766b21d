//! Machine-learning features, computed from event streams, in SQL, by one binary.
//!
//! ```text
//!  Kafka ─▶ source ─▶ decode ─▶ clock ─▶ state ─▶ evaluate ─▶ sink ─▶ Redis
//!             ▲        (schema)                     (view)       │
//!             └──────────── commit ◀─ acknowledged ◀─────────────┘
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | stream | one Kafka topic with its Avro schema, its event-time column and its key column; a table in SQL |
//! | feature view | one `.sql` file: one SELECT whose rows are features of one kind of entity |
//! | entity, key | what the features describe, and the column that identifies it |
//! | shard | one partition number across the streams that a view reads: the unit of state and clock |
//! | clock | the highest event time accepted, by partition; `now()` in a feature view is the highest of its shard's |
//! | batch | the events taken in one turn of the loop |
//! | freshness | from the broker's acceptance of an event to Redis' acknowledgement of its features |
//! | dead letter | an event that could not be used, kept whole with the reason |
//!
//! To be read in the order in which an event meets them: `frame`, `decode` (with `schema`), `clock`,
//! `state`, `evaluate` (with `view`) and `sink`; then `pipeline`, the loop that has them, with `source` before
//! it and `checkpoint` beside it. `config`, `telemetry` and `cli` are around that; `generate` makes events.

pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod error;
pub mod evaluate;
pub mod frame;
pub mod generate;
pub mod pipeline;
pub mod schema;
pub mod sink;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod time;
pub mod view;

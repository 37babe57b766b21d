//! The integration tests, in one binary: each further one would link
//! DataFusion again. They run the built program against a real Kafka and a
//! real Redis, and some of its parts in process.

mod chaos;
mod checkpoints;
mod demo;
mod engine;
mod features;
mod fencing;
mod group;
mod hostile;
mod input;
mod memory;
mod metrics;
mod oracle;
mod outages;
mod output;
mod parts;
mod payments;
mod replay;
mod rules;
mod security;
mod simulation;
mod starts;
mod stores;
mod support;
mod text;
mod time;
mod warming;
mod worked;
mod worker;

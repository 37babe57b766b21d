//! The integration tests, in one binary: each further one would link
//! DataFusion again. They run the built program against a real Kafka and a
//! real Redis, and some of its parts in process.

mod oracle;
mod support;
mod worked;

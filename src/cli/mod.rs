pub mod generate;
pub mod job;

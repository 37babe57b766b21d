//! What is kept of the streams. Nothing here knows SQL.

pub mod retained;
pub mod tile;

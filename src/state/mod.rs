//! What is kept of the streams. Nothing here knows SQL, but for the aggregate
//! functions of [`kernel`].

mod column;
pub mod groups;
pub mod kernel;
pub mod keys;
pub mod lead_in;
pub mod map;
pub mod pane;
pub mod retained;
pub mod rows;
pub mod saved;
mod sparse;

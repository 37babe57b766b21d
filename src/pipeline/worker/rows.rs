//! Rows given out instead of commands, for a sink that keeps every row that an
//! entity ever had. What changed is found out in the same way; only who has no
//! row any more is looked for among the rows of before, which have its key.

use super::evaluate::Evaluated;
use super::{Error, ShardId, View, Worker};
use crate::evaluate::changes::Moment;
use crate::sink::Writes;
use crate::sink::rows::Rows;

impl Worker {
    /// Has publications carry the rows that changed, and no commands. What is
    /// known at the beginning comes in one turn and not in stretches: a row that
    /// came later would say less than is known.
    #[must_use]
    pub fn with_rows(mut self) -> Self {
        self.gives_rows = true;
        self.stretch = usize::MAX;
        self
    }

    /// Has what is compared next noted as rows, if these are given out.
    pub(super) fn begin_rows(&self, writes: &mut Writes) {
        writes.rows = self.gives_rows.then(Rows::default);
    }
}

impl View {
    /// A shard's rows were compared: notes those that changed, if they are given out.
    pub(super) fn end_rows(
        &mut self,
        index: usize,
        id: ShardId,
        evaluated: &Evaluated,
        moment: Moment,
        writes: &mut Writes,
    ) -> Result<(), Error> {
        let Some(noted) = &mut writes.rows else { return Ok(()) };
        let shard = self.shards.get_mut(&id).expect("the shard was just there");
        let before;
        let looked_at = match evaluated {
            Evaluated::All(rows) => {
                before = shard.compared.replace(rows.clone());
                before.as_ref()
            }
            Evaluated::Touched(outcome) => Some(&outcome.touched),
        };
        let times = [moment.as_of.millis(), moment.wall.millis()];
        noted.end(index, &self.encoder, evaluated.rows(), looked_at, times)?;
        Ok(())
    }
}

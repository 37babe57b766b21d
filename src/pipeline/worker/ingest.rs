//! Frames of a partition taken in: decoded, accepted or not, kept.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;

use super::{Error, Worker};
use crate::decode::reader::{EVENT_TIME, TIMESTAMP};
use crate::frame::{FrameBatch, PartitionId, Reason, Rejected};
use crate::pipeline::publication::{Letters, Publication};
use crate::state::lead_in::LeadIn;

impl Worker {
    /// Takes frames of one partition in. Those that were published before and
    /// those that were not are taken in apart, so that what the store has can
    /// be worked out in between.
    pub(super) fn ingest(&mut self, frames: FrameBatch, publication: &mut Publication) -> Result<(), Error> {
        let Some(partition) = self.partitions.get(&frames.partition) else { return Ok(()) };
        let (publish_from, wall) = (partition.publish_from, publication.wall);
        if partition.is_warm() {
            // One that goes on from a checkpoint may begin just there.
            self.adopt_warm(wall)?;
            return self.ingest_part(frames, publication);
        }
        let id = frames.partition;
        let split = frames.iter().take_while(|frame| frame.offset < publish_from).count();
        if split == frames.len() {
            self.ingest_part(frames, publication)?;
            self.note_warm(id);
            return Ok(());
        }
        let (mut before, mut after) = (FrameBatch::new(id), FrameBatch::new(id));
        for (index, frame) in frames.iter().enumerate() {
            if index < split { before.push(frame) } else { after.push(frame) }
        }
        if split > 0 {
            self.ingest_part(before, publication)?;
        }
        // The offsets up to there may hold no events.
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.position = partition.position.max(publish_from);
        }
        self.note_warm(id);
        self.adopt_warm(wall)?;
        self.ingest_part(after, publication)
    }

    /// Remembers what time it was when all that was published before had been read.
    fn note_warm(&mut self, id: PartitionId) {
        if let Some(partition) = self.partitions.get_mut(&id)
            && partition.is_warm()
        {
            partition.clock_then = partition.clock.time();
        }
    }

    fn ingest_part(&mut self, frames: FrameBatch, publication: &mut Publication) -> Result<(), Error> {
        let id = frames.partition;
        let (Some(decoder), Some(partition)) =
            (self.decoders.get_mut(&id.stream), self.partitions.get_mut(&id))
        else {
            return Ok(());
        };
        let lead_in = LeadIn { offset: partition.position, clock: partition.clock.time() };
        let decoded = decoder.decode(&frames, |writer| self.writers.find(id.stream, writer))?;
        let event_times = decoded
            .rows
            .column_by_name(EVENT_TIME)
            .expect("every stream's rows have an event time")
            .as_primitive::<TimestampMicrosecondType>();
        let timestamps = decoded
            .rows
            .column_by_name(TIMESTAMP)
            .expect("every stream's rows have Kafka's timestamp")
            .as_primitive::<TimestampMicrosecondType>();
        let accepted = partition.clock.accept(&self.options, event_times, timestamps);
        let mut rejected = decoded.rejected;
        rejected.extend(accepted.rejected.into_iter().map(|(row, reason, error)| Rejected {
            index: decoded.frames[row],
            reason,
            error,
        }));
        rejected.sort_by_key(|rejected| rejected.index);
        let too_late = rejected.iter().filter(|rejected| rejected.reason == Reason::TooLate).count();
        let rows = if accepted.mask.true_count() < accepted.mask.len() {
            filter_record_batch(&decoded.rows, &accepted.mask)?
        } else {
            decoded.rows.clone()
        };
        let counted = rows.num_rows() as u64;
        partition.position = frames.next_offset().unwrap_or(partition.position);
        partition.note_resumed(lead_in.clock, &rows, self.options.max_out_of_order);
        let published_before = partition.position <= partition.publish_from;
        let wave = publication.early_waves;
        let counts = publication.counts(id.stream);
        if published_before {
            counts.lead_in += frames.len() as u64;
        } else {
            counts.late += accepted.late;
            counts.processed += counted - accepted.late;
            counts.too_late += too_late as u64;
            counts.tombstones += decoded.tombstones;
            counts.key_mismatches += decoded.key_mismatches;
            counts.timestamps_of(wave).extend(
                rows.column_by_name(TIMESTAMP)
                    .map(|column| column.as_primitive::<TimestampMicrosecondType>())
                    .into_iter()
                    .flat_map(|timestamps| timestamps.iter().flatten().map(|micros| micros.div_euclid(1000))),
            );
        }
        let mismatches = decoded.key_mismatches;
        self.keep(id, rows, lead_in, publication)?;
        if mismatches > 0 && self.mismatched.insert(id.stream) {
            let stream = self.streams.get(id.stream);
            tracing::warn!(
                stream = stream.name,
                "events of topic `{}` have a message key that is not their `{}`: an entity whose events are spread over partitions gets wrong features; partition the topic by `{}`",
                stream.topic,
                stream.key,
                stream.key
            );
        }
        if !published_before && !rejected.is_empty() {
            publication.letters.push(Letters { frames, rejected });
        }
        Ok(())
    }

    /// Keeps accepted events for every view that reads their stream.
    fn keep(
        &mut self,
        id: PartitionId,
        rows: RecordBatch,
        lead_in: LeadIn,
        publication: &mut Publication,
    ) -> Result<(), Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let stream = &self.streams.get(id.stream).name;
        let mut failures = Vec::new();
        for (index, view) in self.views.iter_mut().enumerate() {
            let shard_id = view.shard_of(id);
            let reads = view.streams.contains(&id.stream);
            let Some(shard) = view.shards.get_mut(&shard_id).filter(|_| reads) else { continue };
            shard.due = true;
            let Some(by_entity) = &mut shard.by_entity else { continue };
            let unusable = by_entity.update(stream, id.partition, &rows)?;
            if let Some(error) = unusable.error {
                publication.views[index].unusable += unusable.events as u64;
                failures.push((index, format!("{} of them do not count in it: {error}", unusable.events)));
            }
        }
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.retained.append(rows, lead_in)?;
        }
        for (index, failure) in failures {
            self.complain(index, publication.wall, &failure);
        }
        Ok(())
    }
}

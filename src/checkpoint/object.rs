//! What an object has in it: pure.
//!
//! ```text
//!  length of the header │ header: JSON │ groups of a pane │ its tiles │ groups of the next │ … │ deletions │ …
//!        8 bytes                            Arrow IPC streams, compressed
//! ```
//! The header has the position, the clock and the chunks, and how long each
//! pane's parts are.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, UInt32Array,
};
use arrow::datatypes::{Field, Int64Type, Schema, UInt32Type};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use serde::{Deserialize, Serialize};

use super::manifest::Refusal;
use crate::state::lead_in::LeadIn;
use crate::state::saved::{Deletion, SavedChunk, SavedPane, SavedPartition, SavedTiles, SavedView};
use crate::time::EventTime;

/// Bytes of the header's length.
const LENGTH: usize = size_of::<u64>();
/// Columns before those of the kernels: group, number, whether it is a suffix.
const OWN: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    position: i64,
    clock: Option<i64>,
    chunks: Vec<Chunk>,
    views: Vec<View>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Chunk {
    events: usize,
    offset: i64,
    clock: Option<i64>,
    oldest: i64,
    newest: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct View {
    view: String,
    panes: Vec<Pane>,
    /// Bytes of the deletions, after the panes; none where there are none.
    #[serde(default)]
    deletions: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pane {
    leaf: usize,
    pane: usize,
    /// Bytes of the groups,
    groups: usize,
    /// and of the tiles.
    tiles: usize,
    /// How many columns each kernel has.
    kernels: Vec<usize>,
}

/// The bytes of an object.
///
/// # Errors
/// Only of our own making.
pub fn encode(saved: &SavedPartition) -> Result<Vec<u8>, ArrowError> {
    let mut body = Vec::new();
    let mut views = Vec::with_capacity(saved.views.len());
    for SavedView { view, panes, deletions } in &saved.views {
        let panes = panes.iter().map(|pane| encode_pane(pane, &mut body)).collect::<Result<_, _>>()?;
        let deletions = encode_deletions(deletions, &mut body)?;
        views.push(View { view: view.clone(), panes, deletions });
    }
    let chunk = |chunk: &SavedChunk| Chunk {
        events: chunk.events,
        offset: chunk.lead_in.offset,
        clock: chunk.lead_in.clock.map(EventTime::micros),
        oldest: chunk.oldest.micros(),
        newest: chunk.newest.micros(),
    };
    let header = Header {
        position: saved.position,
        clock: saved.clock.map(EventTime::micros),
        chunks: saved.chunks.iter().map(chunk).collect(),
        views,
    };
    let header = serde_json::to_vec(&header).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    let mut bytes = Vec::with_capacity(LENGTH + header.len() + body.len());
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.append(&mut body);
    Ok(bytes)
}

fn encode_pane(saved: &SavedPane, body: &mut Vec<u8>) -> Result<Pane, ArrowError> {
    let begin = body.len();
    append(body, saved.groups.clone())?;
    let between = body.len();
    let SavedTiles { of, numbers, are_suffixes, states } = &saved.tiles;
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(of.clone())),
        Arc::new(Int64Array::from(numbers.clone())),
        Arc::new(BooleanArray::from(are_suffixes.clone())),
    ];
    columns.extend(states.iter().flatten().cloned());
    append(body, columns)?;
    Ok(Pane {
        leaf: saved.leaf,
        pane: saved.pane,
        groups: between - begin,
        tiles: body.len() - between,
        kernels: states.iter().map(Vec::len).collect(),
    })
}

/// How many bytes they take.
fn encode_deletions(deletions: &[Deletion], body: &mut Vec<u8>) -> Result<usize, ArrowError> {
    if deletions.is_empty() {
        return Ok(0);
    }
    let begin = body.len();
    let at: Int64Array = deletions.iter().map(|deletion| Some(deletion.at.micros())).collect();
    let keys = BinaryArray::from_iter_values(deletions.iter().map(|deletion| &deletion.key));
    append(body, vec![Arc::new(at), Arc::new(keys)])?;
    Ok(body.len() - begin)
}

fn append(body: &mut Vec<u8>, columns: Vec<ArrayRef>) -> Result<(), ArrowError> {
    let field = |(index, column): (usize, &ArrayRef)| {
        Field::new(format!("c{index}"), column.data_type().clone(), true)
    };
    let schema = Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()));
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut writer = StreamWriter::try_new_with_options(body, &schema, options)?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.finish()
}

/// Reads [`encode`] back. The bytes are known to be those that were written.
///
/// # Errors
/// When they are not those of an object.
pub fn decode(bytes: &[u8]) -> Result<SavedPartition, Refusal> {
    let damaged = |what: &str| Refusal::Damaged(format!("an object {what}"));
    let cut = || damaged("breaks off");
    let (length, rest) = bytes.split_first_chunk::<LENGTH>().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
    let (header, mut body) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header: Header =
        serde_json::from_slice(header).map_err(|error| damaged(&format!("cannot be read: {error}")))?;
    let mut views = Vec::with_capacity(header.views.len());
    let unread = |error: ArrowError| damaged(&format!("cannot be read: {error}"));
    for View { view, panes, deletions } in header.views {
        let mut decoded = Vec::with_capacity(panes.len());
        for pane in panes {
            let (groups, rest) = body.split_at_checked(pane.groups).ok_or_else(cut)?;
            let (tiles, rest) = rest.split_at_checked(pane.tiles).ok_or_else(cut)?;
            body = rest;
            decoded.push(decode_pane(&pane, groups, tiles).map_err(unread)?);
        }
        let (deletions, rest) = body.split_at_checked(deletions).ok_or_else(cut)?;
        body = rest;
        let deletions = decode_deletions(deletions).map_err(unread)?;
        views.push(SavedView { view, panes: decoded, deletions });
    }
    let chunk = |chunk: Chunk| SavedChunk {
        events: chunk.events,
        lead_in: LeadIn { offset: chunk.offset, clock: chunk.clock.map(EventTime) },
        oldest: EventTime(chunk.oldest),
        newest: EventTime(chunk.newest),
    };
    if !body.is_empty() {
        return Err(damaged("goes on after its end"));
    }
    Ok(SavedPartition {
        position: header.position,
        clock: header.clock.map(EventTime),
        chunks: header.chunks.into_iter().map(chunk).collect(),
        views,
    })
}

fn decode_pane(pane: &Pane, groups: &[u8], tiles: &[u8]) -> Result<SavedPane, ArrowError> {
    let foreign = || ArrowError::SchemaError("tiles with other columns".to_owned());
    let groups = read(groups)?;
    let tiles = read(tiles)?;
    let [of, numbers, are_suffixes, states @ ..] = tiles.columns() else { return Err(foreign()) };
    if tiles.num_columns() - OWN != pane.kernels.iter().sum::<usize>() {
        return Err(foreign());
    }
    let mut states = states.iter().cloned();
    let states: Vec<Vec<ArrayRef>> =
        pane.kernels.iter().map(|count| states.by_ref().take(*count).collect()).collect();
    let is_whole = of.null_count() + numbers.null_count() + are_suffixes.null_count() == 0;
    let suffixes = are_suffixes.as_boolean_opt().filter(|_| is_whole).ok_or_else(foreign)?;
    Ok(SavedPane {
        leaf: pane.leaf,
        pane: pane.pane,
        groups: groups.columns().to_vec(),
        tiles: SavedTiles {
            of: of.as_primitive_opt::<UInt32Type>().ok_or_else(foreign)?.values().to_vec(),
            numbers: numbers.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?.values().to_vec(),
            are_suffixes: suffixes.values().iter().collect(),
            states,
        },
    })
}

fn decode_deletions(bytes: &[u8]) -> Result<Vec<Deletion>, ArrowError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let foreign = || ArrowError::SchemaError("deletions with other columns".to_owned());
    let read = read(bytes)?;
    let [at, keys] = read.columns() else { return Err(foreign()) };
    let at = at.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?;
    let keys = keys.as_binary_opt::<i32>().ok_or_else(foreign)?;
    if at.null_count() + keys.null_count() > 0 {
        return Err(foreign());
    }
    let deletion = |(at, key): (&i64, &[u8])| Deletion { at: EventTime(*at), key: key.into() };
    Ok(at.values().iter().zip(keys.iter().flatten()).map(deletion).collect())
}

fn read(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    reader.next().unwrap_or_else(|| Err(ArrowError::IpcError("no rows".to_owned())))
}

/// A whole one and its changes, the oldest first, as one.
///
/// # Errors
/// When there is none.
pub fn together(mut parts: Vec<SavedPartition>) -> Result<SavedPartition, Refusal> {
    let nothing = || Refusal::Damaged("its manifest names no object".to_owned());
    let mut newest = parts.pop().ok_or_else(nothing)?;
    for older in parts.into_iter().rev().flat_map(|part| part.views) {
        // Of a group that is there several times, the first counts: the newest.
        match newest.views.iter_mut().find(|known| known.view == older.view) {
            Some(known) => {
                known.panes.extend(older.panes);
                known.deletions.extend(older.deletions);
            }
            None => newest.views.push(older),
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;

    use super::*;

    fn saved(position: i64) -> SavedPartition {
        let tiles = SavedTiles {
            of: vec![0, 0, 1],
            numbers: vec![3, 5, 4],
            are_suffixes: vec![true, false, false],
            states: vec![
                vec![Arc::new(Int64Array::from(vec![Some(1), None, Some(position)])) as ArrayRef],
                Vec::new(),
                vec![
                    Arc::new(UInt32Array::from(vec![7, 8, 9])) as ArrayRef,
                    Arc::new(BooleanArray::from(vec![true; 3])),
                ],
            ],
        };
        let groups: Vec<ArrayRef> =
            vec![Arc::new(StringViewArray::from(vec!["a", "a longer name than that"]))];
        let lead_in = LeadIn { offset: position - 7, clock: None };
        let chunk = SavedChunk { events: 3, lead_in, oldest: EventTime(-5), newest: EventTime(i64::MAX) };
        let panes = vec![SavedPane { leaf: 1, pane: 2, groups, tiles }];
        let deletion =
            |seconds| Deletion { at: EventTime::from_millis(seconds * 1000), key: (*b"card_1").into() };
        let deletions = vec![deletion(position), deletion(position + 1)];
        let views = vec![SavedView { view: "spending".to_owned(), panes, deletions }];
        SavedPartition { position, clock: Some(EventTime(9)), chunks: vec![chunk], views }
    }

    #[test]
    fn an_object_reads_back() {
        let saved = saved(40);
        let read = decode(&encode(&saved).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{saved:?}"));
    }

    #[test]
    fn what_breaks_off_is_refused() {
        let bytes = encode(&saved(40)).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn changes_come_before_what_they_change() {
        let one = together(vec![saved(10), saved(20), saved(30)]).unwrap();
        assert_eq!((one.position, one.views.len()), (30, 1));
        let last = |pane: &SavedPane| pane.tiles.states[0][0].as_primitive::<Int64Type>().value(2);
        assert_eq!(one.views[0].panes.iter().map(last).collect::<Vec<_>>(), [30, 20, 10]);
        let at: Vec<i64> =
            one.views[0].deletions.iter().map(|deletion| deletion.at.millis() / 1000).collect();
        assert_eq!(at, [30, 31, 20, 21, 10, 11]);
        assert!(together(Vec::new()).is_err());
    }
}

//! Frames: one input of the engine each, with its kind and length.
//!
//! Kinds are only ever added. A reader skips and counts frames of unknown kinds. Therefore a new
//! kind may add to the content of other frames and must not revoke it.

use serde::{Deserialize, Serialize};
use zctrace_records::{DigestState, IoCounterKey, IoCounters};

use super::journal_event::JournalEventJson;
use super::layout::Layout;
use super::map_rows;
use zctrace_evidence::JournalEvent;
use zctrace_evidence::{Input, Losses, SymbolRequest};
use zctrace_records::Pod;
use zctrace_report::CallSite;

/// Length of a frame's header (kind, zeros, payload length), in bytes.
pub(super) const HEADER_LEN: usize = 8;

/// Kinds of frames.
mod kind {
    /// Record as the eBPF programs wrote it, with anonymized kernel addresses.
    pub(super) const RECORD: u16 = 1;
    /// I/O counters: rows of key and counters.
    pub(super) const IO_COUNTERS: u16 = 2;
    /// Losses of the eBPF programs so far, as JSON.
    pub(super) const LOSSES: u16 = 3;
    /// Call site: process, four zeros, address, and the call site as JSON. The JSON is absent if
    /// the address was not resolved.
    pub(super) const CALL_SITE: u16 = 4;
    /// Cost of tracing so far, as JSON.
    pub(super) const COSTS: u16 = 5;
    /// Time, in nanoseconds since the trace began.
    pub(super) const TIME: u16 = 6;
    /// Reset: flows, edges and sums start at zero.
    pub(super) const RESET: u16 = 7;
    /// End of the trace.
    pub(super) const END: u16 = 8;
    /// Number of records that are missing here, because the file was written too slowly.
    pub(super) const NOT_RECORDED: u16 = 9;
    /// Digests of open connections: rows of anonymized socket address and digest state.
    pub(super) const OPEN_DIGESTS: u16 = 10;
    /// Event of a process's journal, as JSON.
    pub(super) const JOURNAL: u16 = 11;
    /// Last frame of a complete recording, as JSON.
    pub(super) const CLOSED: u16 = 0xffff;
}

/// Content of the last frame of a complete recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closed {
    /// Duration of the trace, in nanoseconds.
    #[serde(default)]
    pub(super) duration_ns: u64,
    /// Number of records in the file.
    #[serde(default)]
    pub(super) records: u64,
    /// Number of records that are missing from the file, because it was written too slowly.
    #[serde(default)]
    pub(super) not_recorded: u64,
}

fn put_frame(kind: u16, payload: impl FnOnce(&mut Vec<u8>), into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&kind.to_le_bytes());
    into.resize(start + HEADER_LEN, 0);
    payload(into);
    let len = (into.len() - start - HEADER_LEN) as u32;
    into[start + 4..start + HEADER_LEN].copy_from_slice(&len.to_le_bytes());
}

/// Appends `value` as JSON.
///
/// Serialization cannot fail: no map of this crate's types has keys other than strings and numbers,
/// and writing to a `Vec` does not fail.
fn json(value: &impl Serialize, into: &mut Vec<u8>) {
    let start = into.len();
    if serde_json::to_writer(&mut *into, value).is_err() {
        into.truncate(start);
    }
}

/// Maximum number of rows in one frame. Further rows follow in further frames.
const MAX_ROWS: usize = 1024;

fn put_rows<K: Pod, V: Pod>(kind: u16, rows: &[(K, V)], into: &mut Vec<u8>) -> u32 {
    for chunk in rows.chunks(MAX_ROWS) {
        put_frame(kind, |into| chunk.iter().for_each(|row| map_rows::put(row, into)), into);
    }
    rows.len().div_ceil(MAX_ROWS) as u32
}

/// Appends an input to `into` and returns the number of frames that it became.
pub(super) fn write(input: &Input<'_>, into: &mut Vec<u8>) -> u32 {
    match *input {
        Input::Record(bytes) => put_frame(kind::RECORD, |into| into.extend_from_slice(bytes), into),
        Input::IoCounters(rows) => return put_rows(kind::IO_COUNTERS, rows, into),
        Input::OpenDigests(rows) => return put_rows(kind::OPEN_DIGESTS, rows, into),
        Input::Journal(event) => put_frame(kind::JOURNAL, |into| json(&JournalEventJson::from(event), into), into),
        Input::Losses(rows) => put_frame(kind::LOSSES, |into| json(&rows, into), into),
        Input::Symbol(request, call_site) => put_frame(
            kind::CALL_SITE,
            |into| {
                into.extend_from_slice(&u64::from(request.tgid).to_le_bytes());
                into.extend_from_slice(&request.user_ip.to_le_bytes());
                if let Some(call_site) = call_site {
                    json(call_site, into);
                }
            },
            into,
        ),
        Input::Costs(costs) => put_frame(kind::COSTS, |into| json(&costs, into), into),
        Input::Time(now_ns) => put_frame(kind::TIME, |into| into.extend_from_slice(&now_ns.to_le_bytes()), into),
        Input::Reset => put_frame(kind::RESET, |_| (), into),
        Input::End => put_frame(kind::END, |_| (), into),
        Input::NotRecorded(records) => put_frame(
            kind::NOT_RECORDED,
            |into| into.extend_from_slice(&records.to_le_bytes()),
            into,
        ),
    }
    1
}

/// Appends the last frame of a complete recording.
pub(super) fn close(closed: &Closed, into: &mut Vec<u8>) {
    put_frame(kind::CLOSED, |into| json(closed, into), into);
}

/// Frame in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    kind: u16,
    payload: &'a [u8],
}

/// Returns the first frame of `bytes` and the bytes after it.
///
/// Returns `None` if the frame is longer than `bytes`, the rest of its block.
pub(super) fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let kind = u16::from_le_bytes([header[0], header[1]]);
    let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let (payload, rest) = rest.split_at_checked(len as usize)?;
    Some((Frame { kind, payload }, rest))
}

/// Buffers for the decoded payload of a frame, reused for each frame.
#[derive(Debug, Default)]
pub(super) struct FrameBuffers {
    record: Vec<u8>,
    io_counters: Vec<(IoCounterKey, IoCounters)>,
    digests: Vec<(u64, DigestState)>,
    losses: Vec<Losses>,
    event: Option<JournalEvent>,
    call_site: Option<CallSite>,
}

/// Class of a frame, from its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FrameClass {
    /// Input of the engine.
    Input,
    /// Last frame of a complete recording.
    Closed,
    /// Frame of an unknown kind.
    Unknown,
}

impl<'a> Frame<'a> {
    pub(super) fn class(&self) -> FrameClass {
        match self.kind {
            kind::RECORD..=kind::JOURNAL => FrameClass::Input,
            kind::CLOSED => FrameClass::Closed,
            _ => FrameClass::Unknown,
        }
    }

    pub(super) fn is_time(&self) -> bool {
        self.kind == kind::TIME
    }

    /// Decodes the input in the frame. `layout` is that of the recording's records.
    ///
    /// Returns `None` if the payload is invalid or the frame holds no input.
    pub(super) fn read<'b>(&self, layout: &Layout, buffers: &'b mut FrameBuffers) -> Option<Input<'b>>
    where
        'a: 'b,
    {
        let payload = self.payload;
        let number = || payload.try_into().ok().map(u64::from_le_bytes);
        Some(match self.kind {
            kind::RECORD => Input::Record(layout.translate(payload, &mut buffers.record)),
            kind::IO_COUNTERS => {
                map_rows::read(
                    payload,
                    layout.io_counter_key,
                    layout.io_counters,
                    &mut buffers.io_counters,
                )?;
                Input::IoCounters(&buffers.io_counters)
            }
            kind::OPEN_DIGESTS => {
                map_rows::read(payload, size_of::<u64>(), layout.digest_state, &mut buffers.digests)?;
                Input::OpenDigests(&buffers.digests)
            }
            kind::JOURNAL => {
                let event: JournalEventJson = serde_json::from_slice(payload).ok()?;
                Input::Journal(buffers.event.insert(event.into_event()?))
            }
            kind::LOSSES => {
                buffers.losses = serde_json::from_slice(payload).ok()?;
                Input::Losses(&buffers.losses)
            }
            kind::CALL_SITE => {
                let (tgid, rest) = payload.split_first_chunk()?;
                let (user_ip, rest) = rest.split_first_chunk()?;
                buffers.call_site = match rest {
                    [] => None,
                    json => Some(serde_json::from_slice(json).ok()?),
                };
                let request = SymbolRequest {
                    tgid: u64::from_le_bytes(*tgid) as u32,
                    user_ip: u64::from_le_bytes(*user_ip),
                };
                Input::Symbol(request, buffers.call_site.as_ref())
            }
            kind::COSTS => Input::Costs(serde_json::from_slice(payload).ok()?),
            kind::TIME => Input::Time(number()?),
            kind::RESET => Input::Reset,
            kind::END => Input::End,
            kind::NOT_RECORDED => Input::NotRecorded(number()?),
            _ => return None,
        })
    }
}

//! Frames: one input each, with its kind and length.
//!
//! Kinds are only ever added. A reader skips those that it does not know, and says how many: so a new kind may add to what is
//! known, and must not take back what other frames say.

use serde::{Deserialize, Serialize};
use zctrace_records::{DigestState, IoCounterKey, IoCounters};

use super::journal_event::JournalEventJson;
use super::layout::Layout;
use super::map_rows;
use zctrace_evidence::JournalEvent;
use zctrace_evidence::{Input, Losses, SymbolRequest};
use zctrace_records::Pod;
use zctrace_report::CallSite;

/// Bytes of a frame's kind and length.
pub(super) const HEADER_LEN: usize = 8;

/// What a frame holds.
mod kind {
    /// A record as the programs wrote it, the kernel's addresses made unrecognizable.
    pub(super) const RECORD: u16 = 1;
    /// Sums of plain calls: keys and sums, one after the other.
    pub(super) const IO_COUNTERS: u16 = 2;
    /// What programs lost so far, as JSON.
    pub(super) const LOSSES: u16 = 3;
    /// Where code lies: process, four zeroes, address, and the place as JSON; nothing if nobody could tell.
    pub(super) const CALL_SITE: u16 = 4;
    /// What watching has cost so far, as JSON.
    pub(super) const COSTS: u16 = 5;
    /// Nanoseconds since watching began.
    pub(super) const TIME: u16 = 6;
    /// A new account begins.
    pub(super) const RESET: u16 = 7;
    /// Watching has ended.
    pub(super) const END: u16 = 8;
    /// How many records are missing here, because the file was written too slowly.
    pub(super) const NOT_RECORDED: u16 = 9;
    /// Sums over the pages of connections: sockets, their addresses made unrecognizable, and sums.
    pub(super) const OPEN_DIGESTS: u16 = 10;
    /// What a process's journal brings, as JSON.
    pub(super) const JOURNAL: u16 = 11;
    /// The last frame of a recording that is whole, as JSON.
    pub(super) const CLOSED: u16 = 0xffff;
}

/// What the last frame says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closed {
    /// Nanoseconds since watching began.
    #[serde(default)]
    pub(super) duration_ns: u64,
    /// Records in the file.
    #[serde(default)]
    pub(super) records: u64,
    /// Records that are not.
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

/// Types of ours whose JSON cannot fail: no map with odd keys, no writer that fails.
fn json(value: &impl Serialize, into: &mut Vec<u8>) {
    let start = into.len();
    if serde_json::to_writer(&mut *into, value).is_err() {
        into.truncate(start);
    }
}

/// Rows of sums in one frame: what does not fit follows in further ones.
const MAX_ROWS: usize = 1024;

fn put_rows<K: Pod, V: Pod>(kind: u16, rows: &[(K, V)], into: &mut Vec<u8>) -> u32 {
    for chunk in rows.chunks(MAX_ROWS) {
        put_frame(kind, |into| chunk.iter().for_each(|row| map_rows::put(row, into)), into);
    }
    rows.len().div_ceil(MAX_ROWS) as u32
}

/// Adds an input. Tells how many frames it became.
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

/// Adds the last frame.
pub(super) fn close(closed: &Closed, into: &mut Vec<u8>) {
    put_frame(kind::CLOSED, |into| json(closed, into), into);
}

/// A frame, as it lies in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    kind: u16,
    payload: &'a [u8],
}

/// The first frame of `bytes`, and what follows it. `None`: it is longer than its block.
pub(super) fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let kind = u16::from_le_bytes([header[0], header[1]]);
    let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let (payload, rest) = rest.split_at_checked(len as usize)?;
    Some((Frame { kind, payload }, rest))
}

/// FrameBuffers for what a frame says.
#[derive(Debug, Default)]
pub(super) struct FrameBuffers {
    record: Vec<u8>,
    io_counters: Vec<(IoCounterKey, IoCounters)>,
    digests: Vec<(u64, DigestState)>,
    losses: Vec<Losses>,
    event: Option<JournalEvent>,
    call_site: Option<CallSite>,
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FrameClass {
    Input,
    /// The last one of a recording that is whole.
    Closed,
    /// Its kind is not known.
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

    /// The input, `None` if it makes no sense.
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

//! Frames: one input each, with its kind and length.
//!
//! Kinds are only ever added. A reader skips those that it does not know, and says how many: so a new kind may add to what is
//! known, and must not take back what other frames say.

use serde::{Deserialize, Serialize};
use zctrace_records::{DigestState, IoCounterKey, IoCounters};

use super::layout::Layout;
use super::news::Kept;
use super::rows;
use zctrace_evidence::JournalEvent;
use zctrace_evidence::{Input, Losses, SymbolRequest};
use zctrace_records::Pod;
use zctrace_report::CallSite;

/// Bytes of a frame's kind and length.
pub(super) const HEADER: usize = 8;

/// What a frame holds.
mod kind {
    /// A record as the programs wrote it, the kernel's addresses made unrecognizable.
    pub(super) const RECORD: u16 = 1;
    /// Sums of plain calls: keys and sums, one after the other.
    pub(super) const PLAIN: u16 = 2;
    /// What programs lost so far, as JSON.
    pub(super) const LOSSES: u16 = 3;
    /// Where code lies: process, four zeroes, address, and the place as JSON; nothing if nobody could tell.
    pub(super) const PLACE: u16 = 4;
    /// What watching has cost so far, as JSON.
    pub(super) const COSTS: u16 = 5;
    /// Nanoseconds since watching began.
    pub(super) const TIME: u16 = 6;
    /// A new account begins.
    pub(super) const BEGIN_ANEW: u16 = 7;
    /// Watching has ended.
    pub(super) const END: u16 = 8;
    /// How many records are missing here, because the file was written too slowly.
    pub(super) const NOT_RECORDED: u16 = 9;
    /// Sums over the pages of connections: sockets, their addresses made unrecognizable, and sums.
    pub(super) const SUMS: u16 = 10;
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

fn put(kind: u16, payload: impl FnOnce(&mut Vec<u8>), into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&kind.to_le_bytes());
    into.resize(start + HEADER, 0);
    payload(into);
    let len = (into.len() - start - HEADER) as u32;
    into[start + 4..start + HEADER].copy_from_slice(&len.to_le_bytes());
}

/// Types of ours whose JSON cannot fail: no map with odd keys, no writer that fails.
fn json(value: &impl Serialize, into: &mut Vec<u8>) {
    let start = into.len();
    if serde_json::to_writer(&mut *into, value).is_err() {
        into.truncate(start);
    }
}

/// Rows of sums in one frame: what does not fit follows in further ones.
const ROWS: usize = 1024;

fn put_rows<K: Pod, V: Pod>(kind: u16, all: &[(K, V)], into: &mut Vec<u8>) -> u32 {
    for some in all.chunks(ROWS) {
        put(kind, |into| some.iter().for_each(|row| rows::put(row, into)), into);
    }
    all.len().div_ceil(ROWS) as u32
}

/// Adds an input. Tells how many frames it became.
pub(super) fn write(input: &Input<'_>, into: &mut Vec<u8>) -> u32 {
    match *input {
        Input::Record(bytes) => put(kind::RECORD, |into| into.extend_from_slice(bytes), into),
        Input::IoCounters(sums) => return put_rows(kind::PLAIN, sums, into),
        Input::OpenDigests(sums) => return put_rows(kind::SUMS, sums, into),
        Input::Journal(news) => put(kind::JOURNAL, |into| json(&Kept::from(news), into), into),
        Input::Losses(rows) => put(kind::LOSSES, |into| json(&rows, into), into),
        Input::Symbol(question, place) => put(
            kind::PLACE,
            |into| {
                into.extend_from_slice(&u64::from(question.tgid).to_le_bytes());
                into.extend_from_slice(&question.user_ip.to_le_bytes());
                if let Some(place) = place {
                    json(place, into);
                }
            },
            into,
        ),
        Input::Costs(costs) => put(kind::COSTS, |into| json(&costs, into), into),
        Input::Time(now_ns) => put(kind::TIME, |into| into.extend_from_slice(&now_ns.to_le_bytes()), into),
        Input::Reset => put(kind::BEGIN_ANEW, |_| (), into),
        Input::End => put(kind::END, |_| (), into),
        Input::NotRecorded(records) => put(
            kind::NOT_RECORDED,
            |into| into.extend_from_slice(&records.to_le_bytes()),
            into,
        ),
    }
    1
}

/// Adds the last frame.
pub(super) fn close(closed: &Closed, into: &mut Vec<u8>) {
    put(kind::CLOSED, |into| json(closed, into), into);
}

/// A frame, as it lies in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    kind: u16,
    payload: &'a [u8],
}

/// The first frame of `bytes`, and what follows it. `None`: it is longer than its block.
pub(super) fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let kind = u16::from_le_bytes([header[0], header[1]]);
    let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let (payload, rest) = rest.split_at_checked(len as usize)?;
    Some((Frame { kind, payload }, rest))
}

/// Room for what a frame says.
#[derive(Debug, Default)]
pub(super) struct Room {
    record: Vec<u8>,
    plain: Vec<(IoCounterKey, IoCounters)>,
    sums: Vec<(u64, DigestState)>,
    losses: Vec<Losses>,
    news: Option<JournalEvent>,
    call_site: Option<CallSite>,
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    Input,
    /// The last one of a recording that is whole.
    Closed,
    /// Its kind is not known.
    Unknown,
}

impl<'a> Frame<'a> {
    pub(super) fn sort(&self) -> Sort {
        match self.kind {
            kind::RECORD..=kind::JOURNAL => Sort::Input,
            kind::CLOSED => Sort::Closed,
            _ => Sort::Unknown,
        }
    }

    pub(super) fn is_time(&self) -> bool {
        self.kind == kind::TIME
    }

    /// The input, `None` if it makes no sense.
    pub(super) fn read<'b>(&self, layout: &Layout, room: &'b mut Room) -> Option<Input<'b>>
    where
        'a: 'b,
    {
        let payload = self.payload;
        let number = || payload.try_into().ok().map(u64::from_le_bytes);
        Some(match self.kind {
            kind::RECORD => Input::Record(layout.translate(payload, &mut room.record)),
            kind::PLAIN => {
                rows::read(payload, layout.io_counter_key, layout.io_counters, &mut room.plain)?;
                Input::IoCounters(&room.plain)
            }
            kind::SUMS => {
                rows::read(payload, size_of::<u64>(), layout.digest_state, &mut room.sums)?;
                Input::OpenDigests(&room.sums)
            }
            kind::JOURNAL => {
                let kept: Kept = serde_json::from_slice(payload).ok()?;
                Input::Journal(room.news.insert(kept.news()?))
            }
            kind::LOSSES => {
                room.losses = serde_json::from_slice(payload).ok()?;
                Input::Losses(&room.losses)
            }
            kind::PLACE => {
                let (tgid, rest) = payload.split_first_chunk()?;
                let (user_ip, rest) = rest.split_first_chunk()?;
                room.call_site = match rest {
                    [] => None,
                    json => Some(serde_json::from_slice(json).ok()?),
                };
                let question = SymbolRequest {
                    tgid: u64::from_le_bytes(*tgid) as u32,
                    user_ip: u64::from_le_bytes(*user_ip),
                };
                Input::Symbol(question, room.call_site.as_ref())
            }
            kind::COSTS => Input::Costs(serde_json::from_slice(payload).ok()?),
            kind::TIME => Input::Time(number()?),
            kind::BEGIN_ANEW => Input::Reset,
            kind::END => Input::End,
            kind::NOT_RECORDED => Input::NotRecorded(number()?),
            _ => return None,
        })
    }
}

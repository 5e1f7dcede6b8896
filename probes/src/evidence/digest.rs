//! The level `digest`: sums over pages, where calls hand them to a connection and where packets carry them.
//!
//! Two sums over the same stretch of a stream that are equal show that packets carried the very pages that calls handed over,
//! each at its place (see [`probes_common::mix`]). Sums are compared where both are known: at checkpoints, and where both are
//! at rest. What lies between two such places is judged as one: all of it moved, or nothing is known of any of it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bufferlist::Reason;
use probes_common::{Stretch, Sum, SumRow, Sums, stretch_flag, sum_event, sum_flag};

use super::edges::EdgeKey;

/// Connections that are followed at the same time.
const MOST: usize = 65_536;
/// Places of one connection at which a sum is kept until the other one is known: with a place for each megabyte far more
/// than any send buffer (`tcp_wmem`).
const PLACES: usize = 4096;
/// Stretches of one connection that wait.
const STRETCHES: usize = 16_384;

/// What is known of bytes that were handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// The sums are equal: these pages were carried.
    Equal,
    /// By contract the call copied out of the program's memory.
    Plain,
    /// Not known, for this reason.
    Unknown(Reason),
}

/// Bytes that were handed over, and what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Judged {
    pub(crate) edge: EdgeKey,
    pub(crate) stretch: Stretch,
    /// How many bytes, of the stretch's.
    pub(crate) bytes: u64,
    pub(crate) finding: Finding,
}

/// All connections with sums.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    tracks: HashMap<(u64, u64), Track>,
    /// Checkpoints at which sums were compared, and at which they were equal.
    pub(crate) compared: u64,
    pub(crate) equal: u64,
    /// Pages are not looked at.
    only_counted: bool,
}

/// A stretch that has ended, and where it did.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    stretch: Stretch,
    end: u64,
    edge: EdgeKey,
}

/// Sum and bytes in pages at a place.
type At = (u64, u64);

/// One connection.
#[derive(Clone, Debug, Default)]
struct Track {
    handed: BTreeMap<u64, At>,
    carried: BTreeMap<u64, At>,
    /// Where both were known last: the place, and what they were.
    known: Option<(u64, At, At)>,
    stretches: VecDeque<Waiting>,
    /// As the kernel had it last, and the edge of the stretch in it.
    row: Option<(SumRow, EdgeKey)>,
}

impl Digests {
    /// No connection is known. Pages are looked at, or not.
    pub(crate) fn new(only_counted: bool) -> Self {
        Self {
            only_counted,
            ..Self::default()
        }
    }

    fn unseen(&self) -> Finding {
        Finding::Unknown(if self.only_counted {
            Reason::OnlyCounted
        } else {
            Reason::NotObserved
        })
    }

    /// Something happened to the sums of a connection, whose stretch belongs to an edge. Returns what can be judged now.
    pub(crate) fn event(&mut self, sums: &Sums, edge: EdgeKey) -> Vec<Judged> {
        let ended = Waiting {
            stretch: sums.row.stretch,
            end: sums.at.position,
            edge,
        };
        let unseen = self.unseen();
        let key = (sums.sock, sums.row.life);
        if self.tracks.len() >= MOST && !self.tracks.contains_key(&key) {
            return unfollowed(sums, ended);
        }
        let track = self.tracks.entry(key).or_default();
        track.anchor(&sums.row);
        let mut judged = Vec::new();
        match sums.event {
            sum_event::HANDED => track.hand(ended, &sums.at, unseen, &mut judged),
            sum_event::CARRIED => keep(&mut track.carried, &sums.at),
            sum_event::CLOSED => {
                if sums.row.stretch.calls > 0 {
                    track.hand(ended, &sums.at, unseen, &mut judged);
                }
                keep(&mut track.carried, &sums.row.carried);
            }
            _ => return judged,
        }
        let (compared, equal) = track.compare(&mut judged);
        self.compared += compared;
        self.equal += equal;
        if sums.event == sum_event::CLOSED
            && let Some(track) = self.tracks.remove(&key)
        {
            let reason = if track.known.is_some() {
                Reason::SumsDiffer
            } else {
                Reason::NotObserved
            };
            judged.extend(track.stretches.iter().map(|one| judge(one, Finding::Unknown(reason))));
        }
        judged
    }

    /// The sums as the kernel has them now, of a connection that is open.
    pub(crate) fn open(&mut self, sock: u64, row: &SumRow, edge: EdgeKey) {
        let key = (sock, row.life);
        if self.tracks.len() < MOST || self.tracks.contains_key(&key) {
            let track = self.tracks.entry(key).or_default();
            track.anchor(row);
            track.row = Some((*row, edge));
        }
    }

    /// What would be judged if nothing came any more; nothing is changed by it.
    pub(crate) fn so_far(&self) -> Vec<Judged> {
        let mut judged = Vec::new();
        for track in self.tracks.values() {
            track.so_far(self.unseen(), &mut judged);
        }
        judged
    }

    /// Whether packets are to come for bytes that were handed over.
    pub(crate) fn has_data_in_flight(&self) -> bool {
        let mut rows = self.tracks.values().filter_map(|track| track.row.as_ref());
        rows.any(|(row, _)| row.carried.position < row.handed.position)
    }

    /// Forgets the stretches so far: a new account begins. The sums go on.
    pub(crate) fn begin_anew(&mut self) {
        (self.compared, self.equal) = (0, 0);
    }
}

/// What is handed to a connection too many.
fn unfollowed(sums: &Sums, ended: Waiting) -> Vec<Judged> {
    if sums.event == sum_event::CARRIED || ended.stretch.calls == 0 {
        return Vec::new();
    }
    vec![judge(&ended, Finding::Unknown(Reason::NotObserved))]
}

fn keep(places: &mut BTreeMap<u64, At>, sum: &Sum) {
    places.insert(sum.position, (sum.sum, sum.paged));
    while places.len() > PLACES {
        places.pop_first();
    }
}

impl Track {
    /// Both sums are nothing where summing up began, if that was at the same byte.
    fn anchor(&mut self, row: &SumRow) {
        if self.known.is_none() && row.flags & sum_flag::ANCHORED != 0 {
            self.known = Some((row.base, (0, 0), (0, 0)));
        }
    }

    /// A stretch that has ended.
    fn hand(&mut self, one: Waiting, at: &Sum, unseen: Finding, judged: &mut Vec<Judged>) {
        keep(&mut self.handed, at);
        if one.stretch.paged == 0 {
            // There is nothing that a sum could say of it.
            judged.push(judge(&one, unseen));
            return;
        }
        if self.stretches.len() >= STRETCHES
            && let Some(first) = self.stretches.pop_front()
        {
            judged.push(judge(&first, Finding::Unknown(Reason::NotObserved)));
        }
        self.stretches.push_back(one);
    }

    /// Compares the sums wherever both are known; tells how often, and how often they were equal.
    fn compare(&mut self, judged: &mut Vec<Judged>) -> (u64, u64) {
        let (mut compared, mut equal) = (0, 0);
        loop {
            let from = self.known.map_or(0, |(place, ..)| place);
            let next = self.handed.range(from + 1..).find_map(|(place, handed)| {
                let carried = self.carried.get(place)?;
                Some((*place, *handed, *carried))
            });
            let Some((place, handed, carried)) = next else {
                return (compared, equal);
            };
            let same = self
                .known
                .map(|(_, before, behind)| difference(handed, before) == difference(carried, behind));
            compared += u64::from(same.is_some());
            equal += u64::from(same == Some(true));
            let finding = found(same);
            while let Some(one) = self.stretches.pop_front_if(|one| one.end <= place) {
                judged.push(judge(&one, finding));
            }
            self.known = Some((place, handed, carried));
            self.handed = self.handed.split_off(&(place + 1));
            self.carried = self.carried.split_off(&(place + 1));
        }
    }

    fn so_far(&self, unseen: Finding, judged: &mut Vec<Judged>) {
        let mut now = self.clone();
        let Some((row, edge)) = &self.row else {
            let queued = Finding::Unknown(Reason::StillQueued);
            judged.extend(now.stretches.iter().map(|one| judge(one, queued)));
            return;
        };
        // The row may be older than the last record: then its stretch is among those already.
        let known = self.handed.last_key_value().map_or(0, |(place, _)| *place);
        let known = known.max(self.known.map_or(0, |(place, ..)| place));
        if row.stretch.calls > 0 && row.stretch.start >= known {
            let one = Waiting {
                stretch: row.stretch,
                end: row.handed.position,
                edge: *edge,
            };
            now.hand(one, &row.handed, unseen, judged);
        }
        keep(&mut now.carried, &row.carried);
        now.compare(judged);
        let reason = if row.carried.position < row.handed.position {
            Reason::StillQueued
        } else if now.known.is_some() {
            Reason::SumsDiffer
        } else {
            Reason::NotObserved
        };
        judged.extend(now.stretches.iter().map(|one| judge(one, Finding::Unknown(reason))));
    }
}

fn judge(one: &Waiting, finding: Finding) -> Judged {
    let plain = one.stretch.flags & stretch_flag::PLAIN != 0;
    Judged {
        edge: one.edge,
        stretch: one.stretch,
        bytes: one.end.saturating_sub(one.stretch.start),
        finding: if plain { Finding::Plain } else { finding },
    }
}

fn difference(now: At, before: At) -> At {
    (now.0.wrapping_sub(before.0), now.1.wrapping_sub(before.1))
}

fn found(same: Option<bool>) -> Finding {
    match same {
        Some(true) => Finding::Equal,
        Some(false) => Finding::Unknown(Reason::SumsDiffer),
        None => Finding::Unknown(Reason::NotObserved),
    }
}

//! The evidence: records in, verdicts out. Pure: no kernel is asked, so recorded and made-up streams give what a live one
//! would.
//!
//! ```text
//! records ── call ──► take: parcels from a ring, a stream, a file, memory      ring.rs stream.rs sockets.rs
//!                       │
//!                       ▼
//!                     give: each byte against the page seen at the next station     give.rs witness.rs
//!                       │
//!                       ▼
//!                     flows, edges, certificates                                     flows.rs edges.rs
//! ```
//!
//! # The rule
//!
//! *Moved* needs identity at both stations of every edge, *copied* a witness on one of them, all else is *unknown*. A record
//! that was lost, a call that began before watching did, two producers at once, a ring that was exchanged: each can only turn
//! bytes into unknown ones. The tests feed streams with all of that and look for a false *moved*.
//!
//! # Memory
//!
//! Bounded, however long the trace: ends, trails, edges, streams, runs of a stream and calls that wait for another have each
//! a bound, beyond which bytes are unknown.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod account;
mod address;
mod before;
mod digest;
mod edges;
mod ends;
mod fast_map;
mod flows;
mod give;
mod input;
mod journal_event;
mod lanes;
mod notices;
mod parcel;
mod parts;
mod pipes;
mod places;
mod plain;
mod ranges;
mod ring;
mod segments;
mod sequence_gaps;
mod sockets;
mod stream;
mod sums;
mod table;
mod take;
mod trail;
mod waiting;
mod witness;

use std::collections::HashMap;

use zctrace_contract::Reason;
use zctrace_records::{
    Call, ConnectionClosed, EndpointName, EndpointState, IoCounterKey, IoCounters, PageRecord, ProcessEvent, call_flag,
    nr, process_event_kind, station_kind,
};

pub use self::account::Account;
use self::edges::{EdgeKey, Edges, UnderWay};
use self::ends::{EndId, Ends, Form, form_of};
pub use self::flows::Symbols;
use self::flows::{Arrival, Flows, Pages};
pub use self::input::{Costs, Input, Losses, Preamble, Question, Recorder};
pub use self::journal_event::{News, What};
use self::notices::Notices;
use self::parcel::Parcel;
use self::parts::Parts;
use self::ring::{Ring, Slot};
use self::segments::{FlowsOf, Segments};
use self::sockets::{Giver, Sockets};
use self::stream::Given;
use self::trail::{Outcome, Step, TrailId, Trails};
use self::waiting::Waiting;
pub use self::witness::SlotNames;
use crate::fast_map::Map;
pub use zctrace_contract::journal::Entry;
use zctrace_report::{self as report, NotObserved};

/// What the evidence must be told of this machine and this run.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The kernel's marks of slots.
    pub names: SlotNames,
    /// Where filesystems are mounted, by device number (major in the bits above 20).
    pub mounts: HashMap<u32, String>,
    /// Filesystems, by device number, whose page cache takes a copy of whatever is written to a file without `O_DIRECT`.
    pub buffered: std::collections::HashSet<u32>,
    /// Makes page numbers into names that tell nobody where the pages are. Another one for every run.
    pub hash_key: u64,
    /// How closely bytes are watched.
    pub level: report::Level,
}

/// The evidence of one run.
#[derive(Debug)]
pub struct Evidence {
    config: Config,
    ends: Ends,
    trails: Trails,
    flows: Flows,
    edges: Edges,
    sockets: Sockets,
    rings: Map<u64, Ring>,
    /// Stations that belong to calls whose own record has not come yet.
    parts: Map<u64, Parts>,
    /// Room for such, used again, as that of the next four is: what is as large as this the allocator neither gives nor takes
    /// quickly.
    spare: Vec<Parts>,
    taken: Vec<Parcel>,
    arriving: Arriving,
    slots: Vec<Slot>,
    inside: Vec<Parcel>,
    waiting: Waiting,
    processes: Map<u32, String>,
    plain: HashMap<IoCounterKey, IoCounters>,
    digests: digest::Digests,
    found: HashMap<sums::Key, sums::Found>,
    /// Calls of which nothing can be said: entered before watching began, forged, of 32-bit programs.
    not_seen: NotSeen,
    lost: bool,
    segments: Segments,
    notices: Notices,
}

#[derive(Clone, Copy, Debug, Default)]
struct NotSeen {
    without_entry: u64,
    other_file: u64,
    compat: u64,
    bytes: u64,
}

/// Pipes that are followed at the same time, and calls whose stations wait for them.
const MOST: usize = 65_536;

/// Stations of calls whose room is kept for later ones.
const SPARE: usize = 16;

/// A call with what was seen inside it.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) call: Call,
    pub(crate) parts: Parts,
}

/// Parcels that cross an edge one after the other: of most of them the same is to be noted.
#[derive(Debug, Default)]
pub(crate) struct Crossing {
    /// The trail before, what became of the bytes, and the trail that makes.
    latest: Option<(TrailId, Outcome, TrailId)>,
    bytes: u64,
}

/// Parcels that arrived one after the other and differ in their places only.
#[derive(Clone, Debug)]
struct Arrived {
    parcel: Parcel,
    outcome: Outcome,
    by: Giver,
    at: u64,
    pages: Pages,
}

impl Arrived {
    /// Whether the next one goes on where these end.
    #[inline]
    fn is_followed_by(&self, next: &Given<Giver>, outcome: Outcome) -> bool {
        let (last, parcel) = (&self.parcel, &next.parcel);
        outcome == self.outcome
            && self.at.checked_add(last.len) == Some(next.at)
            && (last.origin, last.trail, last.stream) == (parcel.origin, parcel.trail, parcel.stream)
            && (last.stream == 0 || last.position.checked_add(last.len) == Some(parcel.position))
            && last.lane.number == parcel.lane.number
            && (last.lane.number == 0 || last.lane.plus(last.len) == parcel.lane)
            && self.by == next.by
    }
}

/// What packets or messages carried of what calls gave, in order.
#[derive(Debug, Default)]
struct Arriving {
    all: Vec<Arrived>,
}

impl Arriving {
    /// Adds what was carried, in what, and what that makes of it.
    #[inline]
    fn carried(&mut self, given: &Given<Giver>, seen: &witness::Seen, outcome: Outcome) {
        let mut place = given.parcel.place;
        if let (Outcome::Identity, Some(start)) = (outcome, seen.start) {
            place = parcel::Place::At(start);
        }
        let pages = Pages::of(place, given.parcel.position, given.parcel.len);
        if let Some(before) = self.all.last_mut()
            && before.is_followed_by(given, outcome)
        {
            before.parcel.len += given.parcel.len;
            before.pages.add(pages);
            return;
        }
        self.all.push(Arrived {
            parcel: Parcel { place, ..given.parcel },
            outcome,
            by: given.by,
            at: given.at,
            pages,
        });
    }
}

impl Evidence {
    /// Nothing has happened yet.
    pub fn new(config: Config) -> Self {
        let digests = digest::Digests::new(config.level == report::Level::Counters);
        Self {
            ends: Ends::new(config.mounts.clone()),
            flows: Flows::new(config.hash_key, config.level.clone()),
            config,
            trails: Trails::new(),
            edges: Edges::default(),
            sockets: Sockets::default(),
            rings: Map::default(),
            parts: Map::default(),
            spare: Vec::new(),
            taken: Vec::new(),
            arriving: Arriving::default(),
            slots: Vec::new(),
            inside: Vec::new(),
            waiting: Waiting::default(),
            processes: Map::default(),
            plain: HashMap::new(),
            digests,
            found: HashMap::new(),
            not_seen: NotSeen::default(),
            lost: false,
            segments: Segments::default(),
            notices: Notices::default(),
        }
    }

    /// Takes what people call an end.
    pub fn name(&mut self, name: &EndpointName) {
        self.ends.name(name);
    }

    /// Takes what happened to a process.
    pub fn process(&mut self, process: &ProcessEvent) {
        if process.event == process_event_kind::PIPE_RESIZED {
            if let Some(ring) = self.rings.get_mut(&process.detail) {
                ring.lose();
            }
            return;
        }
        let tgid = if process.event == process_event_kind::FORK {
            process.child
        } else {
            process.header.tgid
        };
        let end = process
            .comm
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(process.comm.len());
        let name = String::from_utf8_lossy(&process.comm[..end]).into_owned();
        if self.processes.len() < MOST {
            self.processes.insert(tgid, name);
        }
    }

    /// Takes pages that were seen at a station.
    pub fn station(&mut self, station: &PageRecord) {
        match station.station {
            station_kind::PACKET => {
                let flags = station.flags;
                let mut arriving = std::mem::take(&mut self.arriving);
                self.sockets.packet(station, &self.config.names, &mut |given, seen| {
                    arriving.carried(given, seen, give::carried(&given.parcel, seen, flags));
                });
                self.arrived(arriving);
            }
            station_kind::UNIX => {
                let names = self.config.names;
                let mut arriving = std::mem::take(&mut self.arriving);
                for (given, seen) in &self.sockets.unix(station.object).message(station, &names) {
                    arriving.carried(given, seen, give::in_message(&given.parcel, seen));
                }
                self.arrived(arriving);
                if station.call_id != 0 {
                    self.part(station);
                }
            }
            _ => self.part(station),
        }
    }

    fn part(&mut self, station: &PageRecord) {
        if self.parts.len() >= MOST {
            // Calls whose records were lost: what waits for them waits in vain.
            self.parts.clear();
        }
        let spare = &mut self.spare;
        let part = self.parts.entry(station.call_id);
        part.or_insert_with(|| spare.pop().unwrap_or_default()).add(station);
    }

    /// A watched connection has ended.
    pub fn closed(&mut self, closed: &ConnectionClosed) {
        for given in self.sockets.closed(closed.pair) {
            let outcome = Outcome::Unknown(self.never_seen());
            self.arrive_given(&given, outcome);
        }
    }

    /// Records were lost: what is missing from now on may be missing for that.
    pub fn lost(&mut self) {
        self.lost = true;
        self.segments.kernel_lost();
    }

    /// Takes what plain reads and writes have added up to, from the beginning of the run.
    pub fn plain(&mut self, sums: impl IntoIterator<Item = (IoCounterKey, IoCounters)>) {
        self.plain.extend(sums);
    }

    /// Takes what is new in a program's journal. What the kernel recorded until then must have come before.
    pub fn journal(&mut self, news: &News) {
        self.segments.news(news);
    }

    /// Takes a call, at its exit: its stations have come before.
    pub fn call(&mut self, call: Call) {
        self.segments.called(&call);
        let now_ns = call.header.timestamp_ns;
        let parts = self.parts.remove(&call.call_id).unwrap_or_default();
        self.apply_or_wait(Whole { call, parts });
        // What waited for this one can go now, and what waited for that.
        while let Some(whole) = self.waiting.next_ready(&mut self.rings) {
            self.apply(&whole);
        }
        while let Some(whole) = self.waiting.overdue(now_ns) {
            self.lose_rings(&whole.call);
            self.apply(&whole);
        }
    }

    /// What still waits for a call that never came is taken as it is.
    pub fn end_of_trace(&mut self) {
        while let Some(whole) = self.waiting.take_any() {
            self.lose_rings(&whole.call);
            self.apply(&whole);
            while let Some(whole) = self.waiting.next_ready(&mut self.rings) {
                self.apply(&whole);
            }
        }
        let mut rings: Vec<_> = self.rings.iter_mut().collect();
        // In an order that is the same when a recording is read.
        rings.sort_unstable_by_key(|(pipe, _)| **pipe);
        let left: Vec<Parcel> = rings.into_iter().flat_map(|(_, ring)| ring.leave()).collect();
        for parcel in &left {
            self.left_in_a_pipe(parcel);
        }
    }

    /// Bytes that stayed in a pipe, or left it by somebody who is not watched: the pipe is their end.
    fn left_in_a_pipe(&mut self, parcel: &Parcel) {
        if parcel.trail == Trails::START {
            // It was there before: no call that was seen moved it.
            return;
        }
        self.flows.arrive(parcel, EndId::PIPE, Arrival::default());
    }

    fn apply_or_wait(&mut self, whole: Whole) {
        if !self.is_believed(&whole.call) || whole.call.result <= 0 {
            return;
        }
        match waiting::turn(&whole.call, &mut self.rings) {
            ring::Turn::Now => {
                self.apply(&whole);
                self.keep(whole.parts);
            }
            ring::Turn::Later => self.waiting.push(whole),
            ring::Turn::Never => {
                self.lose_rings(&whole.call);
                self.apply(&whole);
            }
        }
    }

    /// Keeps the room of a call's stations for the next one.
    fn keep(&mut self, mut parts: Parts) {
        if self.spare.len() < SPARE && parts.has_room() {
            parts.clear();
            self.spare.push(parts);
        }
    }

    /// A call is believed if its own entry was seen, by a 64-bit program, and its descriptors meant the same all along.
    fn is_believed(&mut self, call: &Call) -> bool {
        let bytes = call.result.max(0) as u64;
        let count = if call.flags & call_flag::COMPAT != 0 {
            &mut self.not_seen.compat
        } else if call.flags & call_flag::ENTRY_OBSERVED == 0 {
            &mut self.not_seen.without_entry
        } else if call.flags & call_flag::FD_CHANGED != 0 {
            &mut self.not_seen.other_file
        } else {
            if call.result <= 0 {
                let key = self.edge_key(call);
                self.edges.failed(key);
            }
            return true;
        };
        *count += 1;
        self.not_seen.bytes = self.not_seen.bytes.saturating_add(bytes);
        self.lose_rings(call);
        false
    }

    fn lose_rings(&mut self, call: &Call) {
        for end in [&call.source, &call.sink] {
            if form_of(end) == Form::Pipe
                && let Some(ring) = self.rings.get_mut(&end.object)
            {
                ring.lose();
            }
        }
    }

    fn edge_key(&mut self, call: &Call) -> EdgeKey {
        EdgeKey {
            tgid: call.header.tgid,
            nr: call.nr,
            from: self.ends.of(&call.source),
            to: self.ends.of(&call.sink),
        }
    }

    /// A call whose turn it is.
    fn apply(&mut self, whole: &Whole) {
        let edge = self.edge_key(&whole.call);
        self.edges.call(edge);
        let by = Giver {
            edge,
            user_ip: whole.call.user_ip,
            serial: whole.call.call_id,
            stream: 0,
        };
        let mut parcels = std::mem::take(&mut self.taken);
        self.take(whole, &mut parcels);
        debug_assert_eq!(parcel::total(&parcels), whole.call.result as u64);
        self.give(whole, &parcels, by);
        parcels.clear();
        self.taken = parcels;
        pipes::note(&mut self.rings, whole);
    }

    /// A parcel that has gone over an edge: what became of it is added to the edge and to its trail.
    fn crossed(&mut self, parcel: Parcel, outcome: Outcome, by: &Giver) -> Parcel {
        self.edges.bytes(by.edge, outcome, by.user_ip, by.serial, parcel.len);
        self.with_step(parcel, outcome, by)
    }

    /// The same, one of several: the edge is told of all of them by [`crossed_all`](Self::crossed_all).
    fn cross(&mut self, parcel: Parcel, outcome: Outcome, by: &Giver, crossing: &mut Crossing) -> Parcel {
        if let Some((before, of, trail)) = crossing.latest
            && (before, of) == (parcel.trail, outcome)
        {
            crossing.bytes = crossing.bytes.saturating_add(parcel.len);
            return Parcel { trail, ..parcel };
        }
        self.crossed_all(crossing, by);
        let crossed = self.with_step(parcel, outcome, by);
        *crossing = Crossing {
            latest: Some((parcel.trail, outcome, crossed.trail)),
            bytes: parcel.len,
        };
        crossed
    }

    fn crossed_all(&mut self, crossing: &mut Crossing, by: &Giver) {
        if let Some((_, outcome, _)) = crossing.latest.take() {
            self.edges
                .bytes(by.edge, outcome, by.user_ip, by.serial, crossing.bytes);
        }
    }

    fn with_step(&mut self, parcel: Parcel, outcome: Outcome, by: &Giver) -> Parcel {
        let moved = !matches!(outcome, Outcome::Copied(_) | Outcome::Unknown(_));
        let step = Step {
            nr: by.edge.nr,
            tgid: by.edge.tgid,
            user_ip: if moved { 0 } else { by.user_ip },
            to: by.edge.to,
            outcome,
        };
        Parcel {
            trail: self.trails.with(parcel.trail, step),
            ..parcel
        }
    }

    /// A parcel that arrived over its last edge.
    fn arrive(&mut self, parcel: Parcel, outcome: Outcome, by: &Giver, stream: u64, place: u64) {
        let pages = Pages::of(parcel.place, parcel.position, parcel.len);
        self.arrive_on(parcel, pages, outcome, by, (stream, place));
    }

    /// The same, in pages that are counted already. At this place of that stream.
    fn arrive_on(&mut self, parcel: Parcel, pages: Pages, outcome: Outcome, by: &Giver, (stream, place): (u64, u64)) {
        let parcel = self.crossed(parcel, outcome, by);
        let at = Arrival {
            serial: by.serial,
            stream,
            place,
            more_calls: 0,
        };
        self.flows.arrive_on(&parcel, &pages, by.edge.to, at);
    }

    fn arrive_given(&mut self, given: &Given<Giver>, outcome: Outcome) {
        self.arrive(given.parcel, outcome, &given.by, given.by.stream, given.at);
    }

    /// Takes all that arrived. Its room is kept.
    fn arrived(&mut self, mut arriving: Arriving) {
        for all in arriving.all.drain(..) {
            self.arrive_on(all.parcel, all.pages, all.outcome, &all.by, (all.by.stream, all.at));
        }
        self.arriving = arriving;
    }

    /// The reason for what was given to a socket and never seen on its way.
    fn never_seen(&self) -> Reason {
        if self.lost {
            Reason::LostRecords
        } else {
            Reason::NotObserved
        }
    }

    /// Begins a new account: flows, edges and sums start at nothing. What is known of rings, streams and names stays, for the
    /// bytes in them do.
    pub fn begin_anew(&mut self) {
        self.flows = Flows::new(self.config.hash_key, self.config.level.clone());
        self.begin_sums_anew();
        self.edges = Edges::default();
        self.plain.clear();
        self.not_seen = NotSeen::default();
        self.segments.begin_anew();
        self.notices.begin_anew();
    }

    /// Whether a traced call was made on a UNIX socket: only then it matters what was missed of messages.
    pub fn met_unix_sockets(&self) -> bool {
        self.sockets.met_unix()
    }

    /// Whether bytes that were given to sockets have not been seen on their way yet.
    pub fn has_data_in_flight(&self) -> bool {
        self.sockets.any_under_way() || self.digests.has_data_in_flight()
    }

    /// Puts all that is known now into a report: flows, edges, looks, processes and what was not observed.
    ///
    /// What is still under way is unknown in it, and stays under way.
    pub fn fill(&self, report: &mut report::Report, symbols: &Symbols<'_>) {
        // Flows with what is under way, without changing what is known.
        let mut flows = self.flows.clone();
        let mut trails = self.trails.clone();
        let mut under_way = Vec::new();
        for (given, packets) in self.sockets.under_way() {
            let reason = match packets {
                _ if self.lost => Reason::LostRecords,
                0 => Reason::NotObserved,
                _ => Reason::StillQueued,
            };
            let outcome = Outcome::Unknown(reason);
            under_way.push(UnderWay {
                edge: given.by.edge,
                outcome,
                user_ip: given.by.user_ip,
                serial: given.by.serial,
                bytes: given.parcel.len,
                calls: 1,
                new_calls: 0,
            });
            let step = Step {
                nr: given.by.edge.nr,
                tgid: given.by.edge.tgid,
                user_ip: given.by.user_ip,
                to: given.by.edge.to,
                outcome,
            };
            let parcel = Parcel {
                trail: trails.with(given.parcel.trail, step),
                ..given.parcel
            };
            let at = Arrival {
                serial: given.by.serial,
                stream: given.by.stream,
                place: given.at,
                more_calls: 0,
            };
            flows.arrive(&parcel, given.by.edge.to, at);
        }
        self.add_found(&mut flows, &mut trails, &mut under_way);
        let mut flows_of = FlowsOf::new();
        flows.fill(report, &self.ends, &trails, symbols, (&self.segments, &mut flows_of));
        self.edges.fill(report, &under_way, &self.ends, symbols);
        self.fill_digests(report);
        plain::fill(report, &self.plain, &self.ends, symbols);
        self.not_seen.fill(report);
        self.segments.fill(report, &flows_of, &|pid| {
            self.processes.get(&pid).cloned().unwrap_or_default()
        });
        self.fill_processes(report);
        pipes::fill(report, &self.rings, &self.processes);
        self.fill_notices(report);
    }

    fn fill_processes(&self, report: &mut report::Report) {
        for flow in &mut report.flows {
            if let Some(name) = flow.pid.and_then(|pid| self.processes.get(&pid)) {
                flow.process.clone_from(name);
            }
        }
        let mut pids: Vec<u32> = report.flows.iter().filter_map(|flow| flow.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            let mut process = report::Process::new(pid, self.processes.get(&pid).cloned().unwrap_or_default());
            for flow in report.flows.iter().filter(|flow| flow.pid == Some(pid)) {
                process.calls += flow.calls;
                if flow.ends_in_memory() {
                    process.into_memory += flow.payload;
                } else {
                    process.account += &flow.account;
                }
            }
            process.payload = process.account.total();
            report.processes.push(process);
        }
    }
}

impl NotSeen {
    fn fill(self, report: &mut report::Report) {
        let rows = [
            (
                "calls that were entered before watching began, or whose result was forged (seccomp)",
                self.without_entry,
            ),
            (
                "calls whose descriptor meant another file at their end",
                self.other_file,
            ),
            ("splice, tee, vmsplice and sendfile of 32-bit programs", self.compat),
        ];
        for (what, calls) in rows {
            if calls > 0 {
                report.coverage.not_observed.push(NotObserved {
                    what: what.to_owned(),
                    calls: Some(calls),
                    bytes: None,
                });
            }
        }
    }
}

/// Whether a call only hands pages or bytes of the caller's memory on.
pub(crate) fn is_vmsplice(call: &Call) -> bool {
    call.nr == nr::VMSPLICE
}

/// The state of an end's ring, by the pipe's address.
pub(crate) fn ring_of<'a>(rings: &'a mut Map<u64, Ring>, end: &EndpointState) -> &'a mut Ring {
    if rings.len() >= MOST && !rings.contains_key(&end.object) {
        // Forgetting a ring is safe: it is met anew, and nothing is said of it until it has been seen empty.
        rings.clear();
    }
    rings.entry(end.object).or_default()
}

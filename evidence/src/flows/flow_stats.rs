//! What arrived where, over which history: sums of bytes, and the flows, edges and certificates that a report makes of them.

use std::collections::{BTreeMap, HashMap};

use zctrace_contract::Reason;
use zctrace_records::nr;

use crate::collections::cached_map::CachedIndexMap;
use crate::collections::range_set::RangeSet;
use crate::decode::endpoints::{EndpointId, Endpoints};
use crate::decode::page_address::PageAddress;
use crate::history::{Histories, HistoryId, Hop, Outcome};
use crate::journal::{FlowsOf, Segments};
use crate::mirror::pipe_position::PipePositionSet;
use crate::span::{Location, Span, pages};
use zctrace_report::{
    self as report, self, Account, Call, Cause, Certificate, Custody, End, EndKind, Flow, Level, Look, PageExample,
    Shown, Station, StationKind, Tier,
};

/// What was summed up: bytes of one origin that arrived at one end over one history.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct FlowKey {
    from: EndpointId,
    to: EndpointId,
    history: HistoryId,
}

#[derive(Clone, Debug, Default)]
struct FlowStats {
    bytes: u64,
    pages: u64,
    calls: u64,
    last_call: u64,
    /// Where in a stream they were taken from, and put into.
    consumed: (u64, RangeSet),
    produced: (u64, RangeSet),
    example: Option<(u64, u64, PageAddress)>,
    /// Where they lay in the last pipe on their way.
    pipe_positions: PipePositionSet,
}

/// Where bytes arrived, apart from the end itself.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Arrival {
    /// The call that brought them.
    pub(crate) serial: u64,
    /// The stream of a socket and the place in it; 0 for everything else.
    pub(crate) stream: u64,
    pub(crate) place: u64,
    /// Calls besides that one.
    pub(crate) more_calls: u64,
}

/// The pages in which bytes arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    count: u64,
    /// One of them: which bytes lay there, from where in their source on and how many, and where that is.
    example: Option<(u64, u64, PageAddress)>,
}

impl Pages {
    /// Of bytes that came from this position and lie at this place.
    #[inline]
    pub(crate) fn of(location: Location, position: u64, len: u64) -> Self {
        let Location::Page(address) = location else {
            return Self {
                count: 0,
                example: None,
            };
        };
        Self {
            count: pages(address.0, len),
            example: Some((position, len.min(4096 - address.in_page()), address)),
        }
    }

    /// Those of what came next.
    pub(crate) fn add(&mut self, next: Self) {
        self.count = self.count.saturating_add(next.count);
        self.example = self.example.or(next.example);
    }
}

/// All that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    sums: CachedIndexMap<FlowKey, FlowStats>,
    hash_key: u64,
    level: Level,
}

/// Resolves an instruction pointer of a process.
pub type Symbols<'a> = dyn Fn(u32, u64) -> Option<report::Place> + 'a;

impl Flows {
    /// Nothing has arrived. `hash_key` numbers pages in a way that tells nobody where they are.
    pub(crate) fn new(hash_key: u64, level: Level) -> Self {
        Self {
            sums: CachedIndexMap::default(),
            hash_key,
            level,
        }
    }

    /// Bytes arrived at the end of their way, by the last step of their history.
    pub(crate) fn arrive(&mut self, span: &Span, to: EndpointId, at: Arrival) {
        let pages = Pages::of(span.location, span.position, span.len);
        self.arrive_on(span, &pages, to, at);
    }

    /// The same, in pages that are counted already.
    pub(crate) fn arrive_on(&mut self, span: &Span, pages: &Pages, to: EndpointId, at: Arrival) {
        let key = FlowKey {
            from: span.origin,
            to,
            history: span.history,
        };
        let sum = self.sums.row(key);
        sum.bytes = sum.bytes.saturating_add(span.len);
        sum.pipe_positions.add(span.pipe_position, span.len);
        sum.pages = sum.pages.saturating_add(pages.count);
        sum.example = sum.example.or(pages.example);
        if sum.last_call != at.serial || sum.calls == 0 {
            sum.calls += 1;
            sum.last_call = at.serial;
        }
        sum.calls = sum.calls.saturating_add(at.more_calls);
        if span.stream != 0 {
            sum.consumed.0 = span.stream;
            sum.consumed.1.add(span.position, span.len);
        }
        if at.stream != 0 {
            sum.produced.0 = at.stream;
            sum.produced.1.add(at.place, span.len);
        }
    }

    /// Puts flows and looks into a report.
    pub(crate) fn fill(
        &self,
        report: &mut report::Report,
        ends: &Endpoints,
        histories: &Histories,
        symbols: &Symbols<'_>,
        (segments, flows_of): (&Segments, &mut FlowsOf),
    ) {
        let mut rows: BTreeMap<FlowPath, FlowRow<'_>> = BTreeMap::new();
        for (key, sum) in self.sums.iter() {
            let Some(last) = histories.steps(key.history).next() else {
                continue;
            };
            if *ends.kind(key.to) == EndKind::Memory && histories.is_teed(key.history) {
                let look = look(sum, last, symbols);
                report.looks.extend(segments.looks(&sum.pipe_positions, look));
                continue;
            }
            if *ends.kind(key.to) == EndKind::Null && histories.is_teed(key.history) {
                // A duplicate that was thrown away: nothing arrived, and nothing is missing.
                continue;
            }
            let mut steps: Vec<EndpointId> = histories.steps(key.history).map(|step| step.to).collect();
            steps.reverse();
            let way = FlowPath {
                from: key.from,
                steps,
                tgid: last.tgid,
            };
            rows.entry(way).or_default().add(key, sum, histories);
        }
        let senders = senders(&rows);
        for (way, row) in &rows {
            let to = way.steps.last().copied().unwrap_or(EndpointId::MEMORY);
            let mut flow = Flow::new(ends.report(way.from), ends.report(to));
            flow.pid = Some(way.tgid).filter(|&pid| pid != 0);
            let places = std::iter::once(&way.from).chain(&way.steps);
            flow.path = places.map(|id| ends.kind(*id).clone()).collect();
            let mut account = Account::default();
            for (key, sum) in &row.parts {
                add(&mut account, histories.outcome(key.history), sum.bytes);
                flow.calls = flow.calls.saturating_add(sum.calls);
                let copies = explain(&mut flow.reasons, key, sum, histories, symbols);
                flow.copy_bytes = flow.copy_bytes.saturating_add(sum.bytes.saturating_mul(copies));
                for step in histories.steps(key.history) {
                    let call = call_of(step.nr);
                    if !flow.call_names.contains(&call) {
                        flow.call_names.insert(0, call);
                    }
                }
            }
            flow.set_account(account);
            flow.certificate = self.certificate(way, row, &senders, ends, segments);
            let number = report.append_flow(flow);
            for (_, sum) in &row.parts {
                segments.note_flow(&sum.pipe_positions, number, flows_of);
            }
        }
    }

    /// The certificate for what moved of a row, with what fed it before, if all of that was seen too.
    fn certificate(
        &self,
        way: &FlowPath,
        row: &FlowRow<'_>,
        senders: &Senders<'_, '_>,
        ends: &Endpoints,
        segments: &Segments,
    ) -> Option<Certificate> {
        let moved = &row.moved;
        if moved.bytes == 0 {
            return None;
        }
        let mut certificate = Certificate::new(self.level.clone(), horizon(ends, *way.steps.last()?), moved.bytes);
        match upstream_of(moved, senders) {
            Some((before, fed)) => {
                // The last station of the sender and the first of the receiver are one: the packet.
                start(&mut certificate, before, moved, ends);
                self.hops(&mut certificate, before, fed, moved, ends);
                // The sender's segments are those of all that it sent; of this flow's bytes they may be a part.
                attach_segment_names(&mut certificate, 0, before, &fed.moved, segments);
            }
            None => start(&mut certificate, way, moved, ends),
        }
        let own = certificate.hops.len();
        self.hops(&mut certificate, way, row, moved, ends);
        attach_segment_names(&mut certificate, own, way, moved, segments);
        if let Some((offset, len, address)) = moved.example {
            certificate.examples.push(PageExample {
                offset,
                len,
                page: self.page_name(address),
                held_by: certificate.hops.iter().map(|hop| hop.station.to_string()).collect(),
            });
        }
        certificate
            .not_proved
            .push("That the bytes were not changed in place: contents are never read.".to_owned());
        certificate
            .not_proved
            .push(format!("What happened below {}.", certificate.horizon));
        Some(certificate)
    }

    /// The stations after the first, for the bytes of `moved`.
    fn hops(
        &self,
        certificate: &mut Certificate,
        way: &FlowPath,
        row: &FlowRow<'_>,
        moved: &FlowStats,
        ends: &Endpoints,
    ) {
        for (number, to) in way.steps.iter().enumerate() {
            let station = station(ends, *to);
            let device = row.devices.get(number).copied().unwrap_or(false);
            let (shown, by) = match self.level {
                Level::Digest => (Shown::Digest, "sums at sock_send_length and at net_dev_start_xmit"),
                _ if device => (Shown::Dma, seen_by(&station.kind, &station.of.kind)),
                _ => (Shown::Identity, seen_by(&station.kind, &station.of.kind)),
            };
            let mut hop = report::Hop::new(station, by, Tier::T0, shown, moved.bytes);
            hop.pages = moved.pages;
            // Each station takes its reference inside the call in which the one before it lets go (pipe slots, fragments), or
            // holds none of its own because the call waits for the device (O_DIRECT).
            hop.custody = Custody::Kept;
            certificate.hops.push(hop);
        }
    }

    /// A name for a page that is the same for the whole run, and tells nobody where the page is.
    fn page_name(&self, address: PageAddress) -> String {
        // splitmix64's finalizer: every bit of the input reaches every bit of the output.
        let mut mixed = (address.0 / 4096) ^ self.hash_key;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:08x}", (mixed ^ (mixed >> 31)) >> 32)
    }
}

/// The places that bytes went through, and who gave them to the last: what makes a row.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct FlowPath {
    from: EndpointId,
    steps: Vec<EndpointId>,
    tgid: u32,
}

/// The sums of one way.
#[derive(Default, Debug)]
struct FlowRow<'a> {
    parts: Vec<(&'a FlowKey, &'a FlowStats)>,
    /// Those that moved, as one sum.
    moved: FlowStats,
    /// By step: whether a device took or gave the pages.
    devices: Vec<bool>,
}

impl<'a> FlowRow<'a> {
    fn add(&mut self, key: &'a FlowKey, sum: &'a FlowStats, histories: &Histories) {
        self.parts.push((key, sum));
        if !matches!(histories.outcome(key.history), Outcome::Identity | Outcome::Dma) {
            return;
        }
        let mut devices: Vec<bool> = histories
            .steps(key.history)
            .map(|step| step.outcome == Outcome::Dma)
            .collect();
        devices.reverse();
        self.devices.resize(devices.len(), false);
        for (have, device) in self.devices.iter_mut().zip(devices) {
            *have |= device;
        }
        self.moved.merge(sum);
    }
}

impl FlowStats {
    fn merge(&mut self, more: &Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.pages = self.pages.saturating_add(more.pages);
        self.calls = self.calls.saturating_add(more.calls);
        self.pipe_positions.merge(&more.pipe_positions);
        // The example that lies first, so that a report does not depend on the order in which sums are kept.
        self.example = [self.example, more.example].into_iter().flatten().min();
        for (mine, theirs) in [
            (&mut self.consumed, &more.consumed),
            (&mut self.produced, &more.produced),
        ] {
            if theirs.0 != 0 {
                mine.0 = theirs.0;
                mine.1.merge(&theirs.1);
            }
        }
    }
}

/// Names the segments of these bytes at the last pipe of the stations from `from` on.
fn attach_segment_names(
    certificate: &mut Certificate,
    from: usize,
    way: &FlowPath,
    bytes: &FlowStats,
    segments: &Segments,
) {
    let of_pipe = |hop: &&mut report::Hop| hop.station.kind == StationKind::PipeSlot;
    if let Some(hop) = certificate.hops[from..].iter_mut().rev().find(of_pipe) {
        let of = bytes.bytes.min(hop.bytes);
        hop.segments = segments.names(&bytes.pipe_positions, of, way.tgid);
        if let Some(names) = &mut hop.segments
            && names.bytes == of
        {
            // All that was sent has names. What arrived is part of it, some of it twice (tee).
            names.bytes = hop.bytes;
        }
    }
}

/// What put into a stream all that was taken out of it here.
fn upstream_of<'a, 'b>(moved: &FlowStats, senders: &Senders<'a, 'b>) -> Option<(&'a FlowPath, &'a FlowRow<'b>)> {
    let all = senders.get(&moved.consumed.0)?;
    let mut all = all.iter().copied();
    all.find(|(_, before)| moved.consumed.1.within(&before.moved.produced.1))
}

/// The rows that put into a stream, by its number.
type Senders<'a, 'b> = HashMap<u64, Vec<(&'a FlowPath, &'a FlowRow<'b>)>>;

/// Finds them once: each of fifty thousand connections asks.
fn senders<'a, 'b>(rows: &'a BTreeMap<FlowPath, FlowRow<'b>>) -> Senders<'a, 'b> {
    let mut senders = Senders::new();
    for (way, row) in rows {
        // 0 is no stream.
        if row.moved.produced.0 != 0 {
            senders.entry(row.moved.produced.0).or_default().push((way, row));
        }
    }
    senders
}

/// Adds bytes to the part of an account that an outcome belongs to. Saturates, for a recording may say anything.
pub(crate) fn add(account: &mut Account, outcome: Outcome, bytes: u64) {
    let part = match outcome {
        Outcome::Identity | Outcome::Dma => &mut account.moved,
        Outcome::Zero => &mut account.neither.zero,
        Outcome::Discarded => &mut account.neither.discarded,
        Outcome::Copied(_) => &mut account.copied,
        Outcome::Unknown(_) => &mut account.unknown,
    };
    *part = part.saturating_add(bytes);
}

/// Adds the reasons of a history, and says how often its bytes were copied.
fn explain(
    reasons: &mut Vec<Cause>,
    key: &FlowKey,
    sum: &FlowStats,
    histories: &Histories,
    symbols: &Symbols<'_>,
) -> u64 {
    let mut copies = 0;
    for step in histories.steps(key.history) {
        if let Outcome::Copied(reason) = step.outcome {
            copies += 1;
            add_cause(reasons, reason, step, sum, symbols);
        }
    }
    if let Outcome::Unknown(reason) = histories.outcome(key.history)
        && let Some(step) = histories
            .steps(key.history)
            .find(|step| step.outcome == Outcome::Unknown(reason))
    {
        add_cause(reasons, reason, step, sum, symbols);
    }
    copies
}

fn add_cause(reasons: &mut Vec<Cause>, reason: Reason, step: Hop, sum: &FlowStats, symbols: &Symbols<'_>) {
    let place = symbols(step.tgid, step.user_ip);
    let same = |cause: &&mut Cause| cause.code == reason.into() && cause.place == place;
    if let Some(cause) = reasons.iter_mut().find(same) {
        cause.bytes = cause.bytes.saturating_add(sum.bytes);
        cause.calls = cause.calls.saturating_add(sum.calls);
    } else {
        reasons.push(Cause {
            place,
            ..Cause::new(reason, sum.bytes, sum.calls)
        });
    }
}

fn look(sum: &FlowStats, last: Hop, symbols: &Symbols<'_>) -> Look {
    let mut look = Look::new(sum.bytes, sum.calls);
    look.place = symbols(last.tgid, last.user_ip);
    "tee(2), then read(2)".clone_into(&mut look.how);
    look.pid = Some(last.tgid);
    look
}

/// The name of a call in a report.
pub(crate) fn call_of(number: u32) -> Call {
    match number {
        nr::SPLICE => Call::Splice,
        nr::TEE => Call::Tee,
        nr::VMSPLICE => Call::Vmsplice,
        nr::SENDFILE => Call::Sendfile,
        nr::COPY_FILE_RANGE => Call::CopyFileRange,
        nr::READ | nr::READV | nr::PREAD64 | nr::PREADV | nr::PREADV2 => Call::Read,
        nr::WRITE | nr::WRITEV | nr::PWRITE64 | nr::PWRITEV | nr::PWRITEV2 => Call::Write,
        nr::SENDTO | nr::SENDMSG | nr::SENDMMSG => Call::Send,
        nr::RECVFROM | nr::RECVMSG | nr::RECVMMSG => Call::Recv,
        other => Call::Other(format!("syscall {other}")),
    }
}

/// The form in which bytes are seen at an end.
pub(crate) fn station(ends: &Endpoints, id: EndpointId) -> Station {
    station_of(ends.report(id))
}

/// The same, of an end as a report has it.
pub(crate) fn station_of(end: End) -> Station {
    let kind = match end.kind {
        EndKind::Pipe => StationKind::PipeSlot,
        EndKind::Tcp | EndKind::Udp | EndKind::Unix | EndKind::Socket => StationKind::SkbFrag,
        EndKind::DirectFile => StationKind::BioVec,
        EndKind::Memory => StationKind::UserPage,
        _ => StationKind::PageCache,
    };
    Station::new(kind, end)
}

/// What shows bytes at a station.
fn seen_by(kind: &StationKind, of: &EndKind) -> &'static str {
    match kind {
        StationKind::PipeSlot => "the ring before and after the call",
        StationKind::SkbFrag if *of == EndKind::Unix => "consume_skb",
        StationKind::SkbFrag => "net_dev_start_xmit",
        StationKind::BioVec => "block_bio_queue",
        StationKind::UserPage => "the page's own address, or the slot's kind",
        _ => "the page's own file and index",
    }
}

/// How far a verdict goes.
fn horizon(ends: &Endpoints, to: EndpointId) -> String {
    let end = ends.report(to);
    match end.kind {
        EndKind::Tcp => "the network device that sends".to_owned(),
        EndKind::Unix => "the receiver of the UNIX socket".to_owned(),
        EndKind::DirectFile | EndKind::BlockDevice => "the block layer".to_owned(),
        _ => end.to_string(),
    }
}

/// The first station.
fn start(certificate: &mut Certificate, way: &FlowPath, moved: &FlowStats, ends: &Endpoints) {
    let station = station(ends, way.from);
    let by = seen_by(&station.kind, &station.of.kind);
    let mut hop = report::Hop::new(station, by, Tier::T0, Shown::Start, moved.bytes);
    hop.pages = moved.pages;
    certificate.hops.push(hop);
}

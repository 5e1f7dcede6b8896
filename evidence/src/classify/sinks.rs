//! What a call gave to its sink: each byte against the page that was seen there.

use zctrace_contract::Reason;
use zctrace_records::{Call, PageRange, nr, page_record_flag, station_kind};

use crate::classify::rule::{Observation, SlotKind, classify};
use crate::classify::source::{end_of, surplus};
use crate::decode::endpoints::{EndpointForm, form_of};
use crate::decode::page_address::{PAGE, PageAddress, page_of, start_of};
use crate::evidence::{Evidence, HopBatch, ObservedCall, is_vmsplice, mirror_of};
use crate::history::Outcome;
use crate::journal::PipeTransfer;
use crate::mirror::pipe_mirror::{MirrorSlot, PipeMirror};
use crate::mirror::sockets::{Sender, observations_of};
use crate::span::{Location, Span, SpanCursor, total};

/// Writes from memory of at most so many bytes are what protocols say, not what they carry.
pub(crate) const SMALL: u64 = 512;

impl Evidence {
    /// Gives the spans that a call took to its sink.
    pub(crate) fn give(&mut self, observed: &ObservedCall, spans: &[Span], mut by: Sender) {
        let call = &observed.call;
        match form_of(&call.sink) {
            EndpointForm::Pipe => self.give_to_pipe(observed, spans, &by),
            EndpointForm::Tcp => {
                let given = (call.sink.after as u32).wrapping_sub(call.sink.before as u32);
                let stream = if u64::from(given) == total(spans) {
                    self.sockets.tcp_to_send(call.sink.pair)
                } else {
                    None
                };
                let Some(stream) = stream else {
                    // Another writer at the same time, or a protocol on top that adds bytes of its own.
                    return self.give_up(spans, Reason::NotObserved, &by);
                };
                by.stream = stream.number;
                let place = stream.bytes.position(call.sink.before as u32);
                let mut batch = std::mem::take(&mut self.batch);
                let mut refused = Vec::new();
                let flags = call_flags(call);
                stream.bytes.give(place, spans, by, &mut refused, &mut |given, seen| {
                    let flags = if seen.mark == SlotKind::Plain { flags } else { 0 };
                    batch.carried(given, seen, carried(&given.span, seen, flags));
                });
                self.arrived(batch);
                self.give_up(&refused, Reason::NotObserved, &by);
            }
            EndpointForm::UnixStream => self.give_to_unix(call, spans, by),
            EndpointForm::Memory => self.give_to_memory(observed, spans, &by),
            EndpointForm::Direct => self.give_to_device(observed, spans, &by),
            EndpointForm::Buffered => self.give_to_page_cache(call, spans, &by),
            EndpointForm::Null => self.all(spans, Outcome::Discarded, &by),
            EndpointForm::Other if form_of(&call.source) == EndpointForm::Memory => {
                self.all(spans, Outcome::Copied(from_memory(call)), &by);
            }
            EndpointForm::Other => self.give_up(spans, Reason::NotObserved, &by),
        }
    }

    fn all(&mut self, spans: &[Span], outcome: Outcome, by: &Sender) {
        for span in spans {
            self.arrive(*span, outcome, by, 0, 0);
        }
    }

    fn give_up(&mut self, spans: &[Span], reason: Reason, by: &Sender) {
        for &span in spans {
            // What is known to be unknown before keeps its own reason: nobody sent it here, or a device wrote it.
            let reason = match span.location {
                Location::Remote => Reason::BeyondThisHost,
                _ => reason,
            };
            self.arrive(span, Outcome::Unknown(reason), by, 0, 0);
        }
    }

    fn give_to_unix(&mut self, call: &Call, spans: &[Span], mut by: Sender) {
        let stream = self.sockets.unix(call.sink.object);
        let (place, early) = stream.send(call.sink.ino, call.sink.before, call.entered_ns, total(spans));
        by.stream = stream.number;
        let mut batch = std::mem::take(&mut self.batch);
        for (given, seen) in &early {
            batch.carried(given, seen, in_message(&given.span, seen));
        }
        let mut refused = Vec::new();
        // By contract a write copies; where its bytes went on is of no interest.
        let copies = form_of(&call.source) == EndpointForm::Memory;
        if let (Some(at), false) = (place, copies) {
            stream.bytes.give(at, spans, by, &mut refused, &mut |given, seen| {
                batch.carried(given, seen, in_message(&given.span, seen));
            });
        } else {
            refused.extend_from_slice(spans);
        }
        self.arrived(batch);
        if copies {
            self.all(&refused, Outcome::Copied(from_memory(call)), &by);
        } else {
            self.give_up(&refused, Reason::NotObserved, &by);
        }
    }

    fn give_to_memory(&mut self, observed: &ObservedCall, spans: &[Span], by: &Sender) {
        let call = &observed.call;
        if form_of(&call.source) != EndpointForm::Direct {
            // read, recv and vmsplice into memory copy by contract (fs/splice.c, `pipe_to_user`).
            return self.all(spans, Outcome::Copied(Reason::IntoMemory), by);
        }
        // A device may write straight into the caller's pages: then the requests to it name them.
        let wanted = spans.first().map(|first| Span {
            location: Location::Memory(call.memory),
            ..*first
        });
        let requests = requests(observed, false, &self.config.pipe_buf_ops);
        self.match_requests(wanted.as_slice(), requests, Reason::DirectDevice, by);
    }

    fn give_to_device(&mut self, observed: &ObservedCall, spans: &[Span], by: &Sender) {
        let requests = requests(observed, true, &self.config.pipe_buf_ops);
        if requests.is_empty() && observed.call.dirtied_bytes > 0 {
            // The filesystem fell back to its page cache: the sink's own pages became dirty in this very call.
            return self.all(spans, Outcome::Copied(Reason::PageCacheSink), by);
        }
        self.match_requests(spans, requests, Reason::DirectDevice, by);
    }

    /// Bytes against requests to a device, in their order. What does not agree is unknown: a request may have been split, or
    /// put out of order, or carry something else.
    fn match_requests(&mut self, spans: &[Span], requests: Vec<Observation>, reason: Reason, by: &Sender) {
        let mut rest = SpanCursor::new(spans);
        // What lies dirty in the page cache of a file that is open with O_DIRECT is written out first, by the same call
        // (mm/filemap.c, `kiocb_invalidate_pages`): requests beyond what the call returned, and not about its bytes.
        let requested: u64 = requests.iter().map(|request| request.len).sum();
        let mut spare = requested.saturating_sub(total(spans));
        for request in requests {
            let is_another = |first: &Span| {
                let part = request.part(0, request.len.min(first.len));
                !matches!(classify(first.location, &part), Outcome::Identity | Outcome::Zero)
            };
            if request.len <= spare && rest.first().as_ref().is_some_and(is_another) {
                spare -= request.len;
                continue;
            }
            let mut at = 0;
            rest.take(request.len, |span| {
                let part = request.part(at, span.len);
                at += span.len;
                let outcome = match classify(span.location, &part) {
                    Outcome::Identity => Outcome::Dma,
                    Outcome::Zero => Outcome::Zero,
                    _ => Outcome::Unknown(reason),
                };
                let mut span = span;
                if let (Outcome::Dma, Some(start)) = (outcome, part.start) {
                    span.location = Location::Page(start);
                }
                self.arrive(span, outcome, by, 0, 0);
            });
        }
        self.give_up(&rest.all().collect::<Vec<_>>(), reason, by);
    }

    fn give_to_page_cache(&mut self, call: &Call, spans: &[Span], by: &Sender) {
        let len = total(spans);
        if call.nr == nr::COPY_FILE_RANGE {
            // A reflink copies nothing, so only what became dirty is shown to be copied.
            let copied = call.dirtied_bytes.min(len);
            let mut rest = SpanCursor::new(spans);
            rest.take(copied, |span| {
                self.arrive(span, Outcome::Copied(Reason::PageCacheSink), by, 0, 0);
            });
            return self.give_up(&rest.all().collect::<Vec<_>>(), Reason::NotObserved, by);
        }
        // No kernel gives a pipe's pages to a page cache (SPLICE_F_MOVE does nothing for files since 2.6.21). Where the
        // filesystem passes writes on to something else (FUSE), only pages that became dirty are a witness.
        if call.dirtied_bytes > 0 || self.config.buffered.contains(&call.sink.dev) {
            let reason = match form_of(&call.source) {
                EndpointForm::Memory => from_memory(call),
                _ => Reason::PageCacheSink,
            };
            self.all(spans, Outcome::Copied(reason), by);
        } else {
            self.give_up(spans, Reason::NotObserved, by);
        }
    }

    fn give_to_pipe(&mut self, observed: &ObservedCall, spans: &[Span], by: &Sender) {
        let call = &observed.call;
        let pieces = observed.parts.pieces(call, station_kind::PIPE_SINK);
        let Some((appended, extents)) = slot_lens(call, spans, &pieces) else {
            mirror_of(&mut self.mirrors, &call.sink).lose();
            for span in spans {
                self.crossed_unseen(call, *span, by);
            }
            return;
        };
        let places = match spans.first() {
            Some(first) if form_of(&call.source) == EndpointForm::UnixStream && first.stream != 0 => {
                let stream = self.sockets.unix(call.source.extra);
                stream.bytes.locations(first.position, total(spans))
            }
            _ => Vec::new(),
        };
        let context = Into::new(observed, &self.config.pipe_buf_ops, places);
        let mirror = mirror_of(&mut self.mirrors, &call.sink);
        let first = mirror.next_put(|| self.segments.new_epoch());
        let mut pipe_position = first;
        let mut hops = HopBatch::default();
        let mut rest = SpanCursor::new(spans);
        // Bytes that were appended to the last slot: which page that is was not seen.
        let mut at_the_end = Vec::new();
        rest.take(appended, |span| {
            let outcome = if context.writes {
                Outcome::Copied(Reason::FromMemory)
            } else {
                Outcome::Unknown(Reason::NotObserved)
            };
            let place = Location::Unknown;
            at_the_end.push(self.record_hop_batched(
                Span {
                    pipe_position,
                    location: place,
                    ..span
                },
                outcome,
                by,
                &mut hops,
            ));
            pipe_position = pipe_position.plus(span.len);
        });
        let mut slots = std::mem::take(&mut self.slots);
        let mut inside = std::mem::take(&mut self.inside);
        let mut done = 0;
        for (piece, (start, len)) in pieces.iter().zip(extents.of(&pieces)) {
            let seen = Observation::new(piece, start, len, &self.config.pipe_buf_ops);
            let before = inside.len();
            let mut at = 0;
            rest.take(len, |span| {
                let part = seen.part(at, span.len);
                let outcome = context.classify(&span, &part, done + at);
                let place = part.start.map_or(Location::Unknown, Location::Page);
                inside.push(self.record_hop_batched(
                    Span {
                        pipe_position,
                        location: place,
                        ..span
                    },
                    outcome,
                    by,
                    &mut hops,
                ));
                at += span.len;
                pipe_position = pipe_position.plus(span.len);
            });
            done += len;
            slots.push(MirrorSlot {
                len: at,
                spans: inside.len() - before,
                end: start.map(|start| start.plus(len)),
            });
        }
        self.record_hop_batch(&mut hops, by);
        // A ring that is lost takes nothing in: the edge is what it is, but what comes out will be unknown.
        let mirror = mirror_of(&mut self.mirrors, &call.sink);
        let put = mirror.put(&call.sink, &at_the_end, &slots, &inside);
        for span in mirror.overflow() {
            self.left_in_a_pipe(&span);
        }
        if put.is_ok() {
            let len = call.result as u64;
            self.segments
                .seen(PipeTransfer::new(call, &call.sink, first, len, true));
        }
        slots.clear();
        inside.clear();
        (self.slots, self.inside) = (slots, inside);
    }

    /// Bytes that went into a pipe of which nothing is known: they will come out as unknown ones. The edge is unknown, too,
    /// unless they were written: that copies by contract, whichever slots they went through.
    fn crossed_unseen(&mut self, call: &Call, span: Span, by: &Sender) {
        let outcome = if form_of(&call.source) == EndpointForm::Memory && !is_vmsplice(call) {
            Outcome::Copied(Reason::FromMemory)
        } else if self.lost {
            Outcome::Unknown(Reason::LostRecords)
        } else {
            Outcome::Unknown(Reason::NotObserved)
        };
        self.record_hop(span, outcome, by);
    }
}

/// What a packet makes of bytes that a call gave.
pub(crate) fn carried(span: &Span, seen: &Observation, flags: u32) -> Outcome {
    // MSG_ZEROCOPY: pages of the sender's memory are copied on their way to a receiver on this host
    // (net/core/skbuff.c, `skb_orphan_frags_rx`), after this station.
    let local = page_record_flag::USER_PAGES | page_record_flag::LOOPBACK;
    if flags & local == local {
        return Outcome::Unknown(Reason::NotObserved);
    }
    classify(span.location, seen)
}

/// What a message of a UNIX socket makes of bytes that a call gave. The kernel counts no places here, zctrace does: the very
/// page shows that it counted right, another page shows only that something is wrong. It is no witness of a copy.
pub(crate) fn in_message(span: &Span, seen: &Observation) -> Outcome {
    match classify(span.location, seen) {
        Outcome::Copied(_) => Outcome::Unknown(Reason::NotObserved),
        other => other,
    }
}

/// `MSG_ZEROCOPY` (include/linux/socket.h).
const MSG_ZEROCOPY: u32 = 0x400_0000;

/// The flags of the packets of a call whose packets came before its record. Whether they went to this host is not known any
/// more: the doubtful case is taken.
fn call_flags(call: &Call) -> u32 {
    let sends = matches!(call.nr, nr::SENDTO | nr::SENDMSG);
    if sends && call.op_flags & MSG_ZEROCOPY != 0 {
        page_record_flag::USER_PAGES | page_record_flag::LOOPBACK
    } else {
        0
    }
}

/// Why bytes of a program's memory were copied.
fn from_memory(call: &Call) -> Reason {
    if call.result as u64 <= SMALL {
        Reason::SmallWrite
    } else {
        Reason::FromMemory
    }
}

/// The requests to a device inside a call, in their order.
fn requests(observed: &ObservedCall, write: bool, names: &crate::PipeBufOps) -> Vec<Observation> {
    observed
        .parts
        .of(station_kind::BIO)
        .filter(|(part, _)| (part.flags & page_record_flag::WRITE != 0) == write)
        .flat_map(|(part, pieces)| observations_of(part.linear, pieces, names))
        .collect()
}

/// What decides about bytes on their way into a pipe, besides their place.
struct Into {
    /// write(2) and the like: they copy by contract.
    writes: bool,
    /// The pages that a device wrote into, inside the call.
    device: Option<Vec<Observation>>,
    /// The messages that were consumed inside the call, if it read a UNIX socket.
    messages: Option<Messages>,
    /// Another page is no sign of a copy: the source is a pipe, of which whole slots go over, or a connection of which the
    /// places may be wrong by a byte.
    only_identity: bool,
}

struct Messages {
    runs: Vec<Observation>,
    /// Where the bytes lay that the sender put at these places of the stream, as far as that is known.
    places: Vec<(u64, u64, Location)>,
    /// They are what the call read, no more and no less.
    complete: bool,
}

impl Into {
    fn new(observed: &ObservedCall, names: &crate::PipeBufOps, places: Vec<(u64, u64, Location)>) -> Self {
        let call = &observed.call;
        let source = form_of(&call.source);
        let messages = (source == EndpointForm::UnixStream).then(|| {
            let runs: Vec<Observation> = observed
                .parts
                .of(station_kind::UNIX)
                .filter(|(part, _)| part.object == call.source.extra && part.flags & page_record_flag::DROPPED == 0)
                .flat_map(|(part, pieces)| observations_of(part.linear, pieces, names))
                .collect();
            let read: u64 = runs.iter().map(|run| run.len).sum();
            Messages {
                places,
                complete: read == call.result as u64,
                runs,
            }
        });
        Self {
            writes: source == EndpointForm::Memory && !is_vmsplice(call),
            device: (source == EndpointForm::Direct).then(|| requests(observed, false, names)),
            messages,
            only_identity: source == EndpointForm::Pipe || (source == EndpointForm::Tcp && surplus(call) != 0),
        }
    }

    /// What became of `span`, which is `at` bytes into the call, and is now in `seen`.
    fn classify(&self, span: &Span, seen: &Observation, at: u64) -> Outcome {
        if self.writes {
            return Outcome::Copied(Reason::FromMemory);
        }
        if let Some(requests) = &self.device {
            return match run_at(requests, at) {
                Some((start, len)) if Some(start) == seen.start && len >= seen.len => Outcome::Dma,
                _ => Outcome::Unknown(Reason::DirectDevice),
            };
        }
        if let Some(messages) = &self.messages {
            return messages.classify(seen, at);
        }
        let outcome = classify(span.location, seen);
        match outcome {
            // From pipe to pipe nothing is ever copied: another page means that something was not seen.
            Outcome::Copied(_) if self.only_identity => Outcome::Unknown(Reason::NotObserved),
            other => other,
        }
    }
}

impl Messages {
    /// Whether all of `seen`, which is `at` bytes into the call, lies where its sender had it: a message of which a part is
    /// left is not consumed, so it has not been seen.
    fn is_where_it_was(&self, seen: &Observation, at: u64) -> bool {
        let mut done = 0;
        for (from, len, place) in &self.places {
            let Some(skip) = (at + done).checked_sub(*from).filter(|skip| skip < len) else {
                continue;
            };
            let n = (len - skip).min(seen.len - done);
            if classify(place.plus(skip), &seen.part(done, n)) != Outcome::Identity {
                return false;
            }
            done += n;
            if done == seen.len {
                return true;
            }
        }
        false
    }

    fn classify(&self, seen: &Observation, at: u64) -> Outcome {
        let Some(start) = seen.start else {
            return Outcome::Unknown(Reason::NotObserved);
        };
        if seen.mark == SlotKind::Zero {
            return Outcome::Zero;
        }
        // The very bytes of the very page, in a message that was consumed inside this call.
        let held = |run: &Observation| {
            run.start
                .is_some_and(|at| at <= start && start.0 + seen.len <= at.0 + run.len)
        };
        if self.runs.iter().any(held) || self.is_where_it_was(seen, at) {
            return Outcome::Identity;
        }
        let linear = self.complete && is_linear(&self.runs, at, seen.len);
        if linear {
            Outcome::Copied(Reason::KernelCopies)
        } else {
            Outcome::Unknown(Reason::PeerDependent)
        }
    }
}

/// The run that holds the byte at `at`: where that byte lies, and how many more follow in the run.
fn run_at(runs: &[Observation], at: u64) -> Option<(PageAddress, u64)> {
    let mut before = 0;
    for run in runs {
        if at < before + run.len {
            let skip = at - before;
            return run.start.map(|start| (start.plus(skip), run.len - skip));
        }
        before += run.len;
    }
    None
}

/// Whether the bytes from `at` on are all in linear parts of messages.
fn is_linear(runs: &[Observation], at: u64, len: u64) -> bool {
    let mut before = 0;
    runs.iter().all(|run| {
        let apart = before + run.len <= at || before >= at + len;
        before += run.len;
        apart || run.mark == SlotKind::Linear
    })
}

/// Where the bytes of a slot start, and how many there are.
type Extent = (Option<PageAddress>, u64);

/// Where the bytes of each new slot are.
enum Extents {
    /// As the slots say, for nobody has taken anything yet.
    AsTheyLie,
    Found(Vec<Extent>),
}

impl Extents {
    fn of(&self, pieces: &[PageRange]) -> impl Iterator<Item = Extent> {
        let found = match self {
            Self::AsTheyLie => None,
            Self::Found(extents) => Some(extents),
        };
        pieces.iter().enumerate().map_while(move |(number, piece)| match found {
            None => Some((start_of(piece), u64::from(piece.len))),
            Some(extents) => extents.get(number).copied(),
        })
    }
}

/// How many bytes a call appended to the last slot, and what it put into each new one. `None` if that cannot be told.
fn slot_lens(call: &Call, spans: &[Span], pieces: &[PageRange]) -> Option<(u64, Extents)> {
    let len = total(spans);
    if pieces.len() != PipeMirror::added(&call.sink) as usize {
        return None;
    }
    let seen: u64 = pieces.iter().map(|piece| u64::from(piece.len)).sum();
    let untouched = pieces.iter().all(|piece| piece.ops != 0);
    if untouched && seen == len {
        return Some((0, Extents::AsTheyLie));
    }
    if untouched && seen < len {
        let grown = u64::from(call.sink.last_after.saturating_sub(call.sink.last_before));
        if call.sink.last_before > 0 && grown == len - seen {
            return Some((grown, Extents::AsTheyLie));
        }
    }
    if form_of(&call.source) == EndpointForm::Memory && !is_vmsplice(call) {
        return written(call, len, pieces).map(|(appended, slots)| (appended, Extents::Found(slots)));
    }
    by_ends(spans, pieces)
        .filter(|slots| slots.iter().map(|(_, len)| len).sum::<u64>() == len)
        .map(|slots| (0, Extents::Found(slots)))
}

/// Slots that write(2) filled: each a page from its start (fs/pipe.c, `pipe_write`), the last as far as its end says.
fn written(call: &Call, len: u64, pieces: &[PageRange]) -> Option<(u64, Vec<Extent>)> {
    let mut slots: Vec<Extent> = pieces.iter().map(|piece| (page_of(piece), PAGE)).collect();
    if let (Some((_, last)), Some(piece)) = (slots.last_mut(), pieces.last()) {
        *last = u64::from(piece.offset) + u64::from(piece.len);
        if *last == 0 || *last > PAGE {
            return None;
        }
    }
    let appended = len.checked_sub(slots.iter().map(|(_, len)| len).sum())?;
    let room = PAGE.saturating_sub(u64::from(call.sink.last_before));
    (appended == 0 || (call.sink.last_before > 0 && appended <= room)).then_some((appended, slots))
}

/// Slots of which a part was taken already: each starts where the bytes that go into it lie, and its end has stayed.
fn by_ends(spans: &[Span], pieces: &[PageRange]) -> Option<Vec<Extent>> {
    let mut rest = SpanCursor::new(spans);
    let mut slots = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let end = end_of(piece)?;
        let first = rest.first()?;
        let start = match first.location {
            Location::Page(address) => address,
            Location::File { position, .. } => page_of(piece)?.plus(position % PAGE),
            Location::Memory(address) => page_of(piece)?.plus(address % PAGE),
            // One slot has all of it, whatever it is; where it started only one that still has something tells.
            _ if pieces.len() == 1 => {
                let len = total(spans);
                let start = (piece.ops != 0).then(|| PageAddress(end.0.wrapping_sub(len)));
                return Some(vec![(start, len)]);
            }
            _ => return None,
        };
        // The last byte must lie in the pages that the bytes are known to lie in: another page would not be theirs.
        let room = first.len;
        let len = match (end.0.checked_sub(start.0)?, first.location) {
            // Emptied by a write to a file, which does not move the end: a slot of a file holds as much as its page has
            // (fs/splice.c, `splice_folio_into_pipe`).
            (0, Location::File { position, .. }) => room.min(PAGE - position % PAGE),
            // No slot of a file or of lent memory ends inside a page, but the last: else another's slot lies among them.
            (len, Location::File { position: at, .. } | Location::Memory(at)) if len != room.min(PAGE - at % PAGE) => {
                return None;
            }
            (len, _) => len,
        };
        if len == 0 || len > room {
            return None;
        }
        rest.take(len, drop);
        slots.push((Some(start), len));
    }
    Some(slots)
}

//! From a source into a list.

use super::{Patience, Progress};
use crate::counts::Copies;
use crate::endpoint::kind::{Endpoint, EndpointKind, LOCAL_HOST};
use crate::endpoint::{Taking, Way, direct_io, failure, refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, Caller, Note, Operation};
use crate::list::BufferList;
use crate::pipe::{Fill, Lane, Refused, Ring};
use crate::reason::Reason;
use crate::receipt::{Receipt, Side};
use crate::segment::{Body, FileExtent, Segment, SegmentId, Stability};
use crate::sys;
use bytes::Bytes;
use rustix::io::Errno;
use std::sync::Arc;

/// With fewer slots than this a pipe is not worth having: over an unprivileged user's quota new pipes have two (pipe(7)),
/// which is two system calls for 8 KiB where a read and a write move 64 KiB.
const FEWEST_SLOTS: u64 = 4;

/// What one read takes when bytes are copied: what a pipe of the usual size holds.
const COPY_AT_A_TIME: u64 = 64 * 1024;

/// A full pipe whose slots hold less than this on average is rewritten into whole pages rather than left behind for a
/// new one: an eighth of a page, so that the copy frees seven of eight slots.
const TINY: u64 = 512;

const DOING: &str = "splice from the source";

/// The end that a list's pipe is.
const PIPE: Endpoint = Endpoint {
    kind: EndpointKind::Pipe,
    domain: LOCAL_HOST,
};

/// One attempt to add up to `len` bytes of `source` to `list`, which the receipt then tells of.
pub(super) fn fill(
    list: &mut BufferList,
    source: &mut Taking<'_>,
    len: u64,
    lane: &mut Lane,
    patience: Patience,
    caller: Caller,
    receipt: &mut Receipt,
) -> Result<Progress> {
    if len == 0 {
        return Err(Error::new(ErrorKind::InvalidInput, "splice nothing from a source"));
    }
    if patience == Patience::Never {
        source.never_waits()?;
    }
    let want = len.min(source.end - source.at);
    if want == 0 {
        return Ok(Progress::End);
    }
    let mut filling = Filling {
        list,
        source,
        want,
        lane,
        copies: Copies::of(caller),
        receipt,
    };
    let result = filling.attempt();
    filling.list.counter().record(&filling.copies);
    result
}

/// One attempt, with all that it works on.
struct Filling<'a, 'fd> {
    list: &'a mut BufferList,
    source: &'a mut Taking<'fd>,
    /// How many bytes, at most.
    want: u64,
    lane: &'a mut Lane,
    copies: Copies,
    /// Told of what comes into the list.
    receipt: &'a mut Receipt,
}

impl Filling<'_, '_> {
    fn attempt(&mut self) -> Result<Progress> {
        if let Way::Copy(reason) = self.source.way {
            return self.copy(reason);
        }
        if self.want < self.source.threshold && self.source.facts.endpoint.kind != EndpointKind::DirectFile {
            return self.copy(Reason::BelowThreshold);
        }
        match self.fill_tail()? {
            Tail::Done(step) => Ok(step),
            Tail::Refused(reason) => self.copy(reason),
            Tail::NoRoom => self.fill_new(),
        }
    }

    /// Adds to the pipe that the list ends with, if only this list holds it and the bytes are of the same origin.
    fn fill_tail(&mut self) -> Result<Tail> {
        let origin = self.source.facts.endpoint;
        let caller = self.copies.caller;
        let Some(Segment {
            body: Body::Pipe(range),
            ..
        }) = self.list.rope_mut().back_mut()
        else {
            return Ok(Tail::NoRoom);
        };
        let range_end = range.end();
        let fill = range.cell.note(Operation::Fill, range_end, caller);
        let Some(cell) = Arc::get_mut(&mut range.cell) else {
            return Ok(Tail::NoRoom);
        };
        let Some((cell_end, ring)) = cell.tail(origin) else {
            return Ok(Tail::NoRoom);
        };
        // A pipe in use has its place in a list: what was cut off behind the range must not come back.
        if cell_end != range_end || ring.ledger.is_empty() {
            return Ok(Tail::NoRoom);
        }
        if !ring.has_room() {
            return if is_tiny(ring) {
                rewrite(self.list, &mut self.copies)
            } else {
                Ok(Tail::NoRoom)
            };
        }
        match splice(self.source, ring, self.want, &fill) {
            Ok(0) => Ok(Tail::Done(Progress::End)),
            Ok(got) => {
                cell.extended(source_extent(self.source, got));
                range.extend(got);
                self.list.rope_mut().extended(got);
                self.receipt.add_spliced(self.source.facts.endpoint, PIPE, got);
                Ok(Tail::Done(Progress::Moved))
            }
            Err(Errno::AGAIN) if !ring.has_room() => {
                if is_tiny(ring) {
                    return rewrite(self.list, &mut self.copies);
                }
                Ok(Tail::NoRoom)
            }
            Err(Errno::AGAIN) => Ok(Tail::Done(Progress::Blocked(Side::Source))),
            Err(errno) => self.refused(errno).map(Tail::Refused),
        }
    }

    /// Puts bytes into a pipe of their own.
    fn fill_new(&mut self) -> Result<Progress> {
        // One slot more than pages: the first byte seldom lies at the start of one.
        let page = sys::page_size() as u64;
        let offset = if self.source.facts.endpoint.kind.is_file() {
            self.source.at % page
        } else {
            0
        };
        let slots = (self.want.min(sys::MAX_COUNT as u64) + offset).div_ceil(page).max(1);
        let mut cell = match self.lane.take_cell(slots.max(FEWEST_SLOTS), FEWEST_SLOTS) {
            Ok(cell) => cell,
            Err(Refused::Wait) => return Ok(Progress::Blocked(Side::Pipe)),
            Err(Refused::Copy) => return self.copy(Reason::NoPipe),
        };
        let id = SegmentId::next();
        let fill = Note {
            operation: Operation::Fill,
            reason: None,
            segment: id,
            at: 0,
            caller: self.copies.caller,
        };
        match splice(self.source, cell.ring(), self.want, &fill) {
            Ok(0) => {
                self.lane.give_cell(cell);
                Ok(Progress::End)
            }
            Ok(got) => {
                let end = self.source.facts.endpoint;
                let range = cell.filled(id, end, stability(end.kind), source_extent(self.source, got));
                self.list.push(Segment::new(Body::Pipe(range)));
                self.receipt.add_spliced(self.source.facts.endpoint, PIPE, got);
                Ok(Progress::Moved)
            }
            Err(errno) => {
                // The pipe was empty, so it is not what is full.
                self.lane.give_cell(cell);
                if errno == Errno::AGAIN {
                    return Ok(Progress::Blocked(Side::Source));
                }
                let reason = self.refused(errno)?;
                self.copy(reason)
            }
        }
    }

    /// Reads into memory, and adds that to the list.
    fn copy(&mut self, reason: Reason) -> Result<Progress> {
        let len = self.want.min(COPY_AT_A_TIME) as usize;
        match read(self.source, len) {
            Ok(bytes) if bytes.is_empty() => Ok(Progress::End),
            Ok(bytes) => {
                let got = bytes.len() as u64;
                if self.source.facts.endpoint.kind.is_file() {
                    self.source.at += got;
                }
                self.copies.add(reason, got);
                let segment = Segment::copied(bytes, reason);
                journal::copied(&segment.materialised(reason, self.copies.caller), got);
                self.list.push(segment);
                self.receipt.add_copied(reason, got);
                Ok(Progress::Moved)
            }
            Err(Errno::AGAIN) => Ok(Progress::Blocked(Side::Source)),
            Err(errno) => Err(failure(self.source.facts.endpoint.kind, errno, DOING, Side::Source)),
        }
    }

    /// Whether an error of splice(2) lets us copy instead, and remembers so. Nothing had moved.
    fn refused(&mut self, errno: Errno) -> Result<Reason> {
        let kind = self.source.facts.endpoint.kind;
        let Some(reason) = refusal(kind, errno) else {
            return Err(failure(kind, errno, DOING, Side::Source));
        };
        // A TCP socket can refuse one splice and take the next (a kTLS record that is not data: HAProxy 755436920), so only
        // this attempt is copied. For all others it is a property of the file.
        if !kind.is_socket() || errno != Errno::INVAL {
            self.source.way = Way::Copy(reason);
        }
        Ok(reason)
    }
}

/// What became of the attempt to use the pipe at the end of the list.
enum Tail {
    Done(Progress),
    /// There is none, or no slot of it is free.
    NoRoom,
    /// The source cannot be spliced, for this reason.
    Refused(Reason),
}

/// The extent of the last `got` bytes of the source, which has gone on already.
fn source_extent(source: &Taking<'_>, got: u64) -> Option<FileExtent> {
    let file = source.provenance.as_ref()?;
    Some(FileExtent::of(
        Arc::clone(file),
        source.facts.endpoint,
        source.at - got..source.at,
    ))
}

/// Pages of a file change when the file is written to. What comes through a socket or pipe may be such pages, if its
/// other side is on this host and spliced them; we cannot know. A direct read is into fresh pages that are ours alone.
pub(super) fn stability(kind: EndpointKind) -> Stability {
    match kind {
        EndpointKind::DirectFile => Stability::Private,
        _ => Stability::Volatile,
    }
}

/// How bytes that were spliced out of an end, from this offset on, lie in slots.
pub(super) fn lie(kind: EndpointKind, offset: u64) -> Fill {
    match kind {
        EndpointKind::File | EndpointKind::Tmpfs => Fill::Paged {
            offset: (offset % sys::page_size() as u64) as u32,
        },
        // Direct reads fill fresh pages from their start, whatever the offset (copy_splice_read, fs/splice.c).
        EndpointKind::DirectFile => Fill::Paged { offset: 0 },
        _ => Fill::Opaque,
    }
}

/// One splice into a ring of ours, accounted for at both sides.
fn splice(source: &mut Taking<'_>, ring: &mut Ring, want: u64, note: &Note) -> Result<u64, Errno> {
    let is_file = source.facts.endpoint.kind.is_file();
    let offset = source.at;
    let len = want.min(sys::MAX_COUNT as u64) as usize;
    let got = if is_file {
        sys::splice(source.fd, Some(&mut source.state.at), ring.writer(), None, len, false)?
    } else {
        sys::splice(source.fd, None, ring.writer(), None, len, false)?
    };
    if got > 0 {
        ring.filled(got as u64, lie(source.facts.endpoint.kind, offset));
        ring.note_put(got as u64, note);
    }
    Ok(got as u64)
}

/// The next bytes of the source in memory, without going on in a file; none at its end.
fn read(source: &Taking<'_>, len: usize) -> Result<Bytes, Errno> {
    let mut bytes = Vec::new();
    match source.facts.endpoint.kind {
        EndpointKind::DirectFile => return direct_io::pread(source.fd, len, source.at),
        kind if kind.is_file() => sys::pread(source.fd, &mut bytes, len, source.at)?,
        _ => sys::read(source.fd, &mut bytes, len)?,
    };
    if bytes.capacity() > 2 * bytes.len() {
        bytes.shrink_to_fit();
    }
    Ok(bytes.into())
}

/// Whether the slots of a full ring hold next to nothing.
fn is_tiny(ring: &Ring) -> bool {
    ring.ledger.bytes() < ring.slots() * TINY
}

/// Reads the pipe that the list ends with, full of tiny pieces, into memory: one bounded copy, which frees the pipe for
/// what comes next, instead of a new pipe for each few hundred bytes.
fn rewrite(list: &mut BufferList, copies: &mut Copies) -> Result<Tail> {
    if let Some(Segment {
        body: Body::Pipe(range),
        ..
    }) = list.rope_mut().back_mut()
    {
        range
            .cell
            .read_into_memory(range.start(), Reason::Defragmented, copies)
            .map_err(|errno| Error::sys(errno, "rewrite a pipe full of tiny pieces").at_side(Side::Pipe))?;
    }
    Ok(Tail::NoRoom)
}

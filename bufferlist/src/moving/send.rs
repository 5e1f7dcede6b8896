//! From a list into a sink.

use super::{Patience, Progress};
use crate::counts::Copies;
use crate::ends::kind::{End, EndKind, HERE};
use crate::ends::{Giving, Way, refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::list::BufferList;
use crate::outcome::{Receipt, Side};
use crate::pipe::{Fill, Front, IdleCell, Lane, PipeCell, PipeRange, PooledPipe, Refused};
use crate::reason::Reason;
use crate::segment::{Body, FileExtent, Pages, Segment, Stability};
use crate::sys;
use bytes::Bytes;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::io::IoSlice;
use std::panic::Location;
use std::sync::Arc;

/// writev(2) and sendmsg(2) take so many pieces at most (`UIO_MAXIOV`, include/uapi/linux/uio.h).
const IOV_MAX: usize = 1024;

/// Sealed pages of fewer bytes are written, not lent: less than a page is not worth a slot and a second system call.
const LEND_AT_LEAST: usize = 4096;

/// What zeros are written from, as often as is needed.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

const DOING: &str = "splice to the sink";

/// The end that lent memory is.
const MEMORY: End = End {
    kind: EndKind::Memory,
    place: HERE,
};

/// What one movement out of the list did.
enum Out {
    Moved,
    Blocked(Side),
    /// The list is the same bytes in another form: look at its front again.
    Again,
}

/// One attempt to give bytes of `list` to `sink`, which the receipt then tells of.
pub(super) fn send(
    list: &mut BufferList,
    sink: &mut Giving<'_>,
    lane: &mut Lane,
    patience: Patience,
    at: &'static Location<'static>,
    receipt: &mut Receipt,
) -> Result<Progress> {
    if list.is_empty() {
        return Ok(Progress::End);
    }
    if patience == Patience::Never {
        sink.never_waits()?;
    }
    if list.rope_mut().has_unfilled_hole() {
        return Err(Error::new(ErrorKind::Hole, DOING));
    }
    let mut copies = Copies::default();
    let result = attempt(list, sink, lane, &mut copies, receipt);
    list.counter().record(&copies, at);
    result
}

/// Memory at the front, and then one movement of what follows it; or one movement of what is at the front.
fn attempt(
    list: &mut BufferList,
    sink: &mut Giving<'_>,
    lane: &mut Lane,
    copies: &mut Copies,
    receipt: &mut Receipt,
) -> Result<Progress> {
    let mut moved = false;
    // Each turn that answers `Again` has changed the form of the front for good, towards memory, which always goes: from
    // file to pipe to memory is the longest way.
    for _ in 0..8 {
        let was_memory = list.rope().front().is_some_and(|front| goes_as_memory(front, sink));
        match front(list, sink, lane, copies, receipt) {
            Ok(Out::Again) => {}
            Ok(Out::Moved) => {
                moved = true;
                let follows = list.rope().front().is_some_and(|front| !goes_as_memory(front, sink));
                // A header that has gone out with "more follows" is followed at once by what it belongs to. A message
                // is one call.
                if !(was_memory && follows) || sink.facts.messages {
                    return Ok(Progress::Moved);
                }
            }
            // What has moved has moved: the next attempt will meet the same obstacle.
            Ok(Out::Blocked(_)) | Err(_) if moved => return Ok(Progress::Moved),
            Ok(Out::Blocked(side)) => return Ok(Progress::Blocked(side)),
            Err(error) => {
                if error.kind() == ErrorKind::Truncated {
                    cut_short(list);
                }
                return Err(error);
            }
        }
    }
    if moved {
        Ok(Progress::Moved)
    } else {
        Err(Error::new(ErrorKind::Io, DOING).at(Side::Sink))
    }
}

/// Whether a segment leaves by a write from memory.
fn goes_as_memory(segment: &Segment, sink: &Giving<'_>) -> bool {
    match &segment.body {
        Body::Memory(..) | Body::Zero(_) | Body::Hole(_) => true,
        Body::Mapped(pages) => !lends(pages, sink),
        Body::File(_) | Body::Pipe(_) => false,
    }
}

/// Whether sealed pages are lent to a sink. A file gets them by pwrite(2): a direct one has the device fetch them from
/// where they are, a buffered one copies either way; a message is too small for it to matter, and must stay in one piece.
fn lends(pages: &Pages, sink: &Giving<'_>) -> bool {
    pages.len() >= LEND_AT_LEAST && sink.lend == Way::Splice && !sink.facts.end.kind.is_file() && !sink.facts.messages
}

/// Why sealed pages are written and not lent: the kernel has refused them here, or it is the way of things.
fn not_lent(sink: &Giving<'_>) -> Reason {
    match sink.lend {
        Way::Copy(reason) if !sink.facts.end.kind.is_file() => reason,
        _ => Reason::FromMemory,
    }
}

/// Moves what is at the front of the list.
fn front(
    list: &mut BufferList,
    sink: &mut Giving<'_>,
    lane: &mut Lane,
    copies: &mut Copies,
    receipt: &mut Receipt,
) -> Result<Out> {
    let Some(front) = list.rope().front() else {
        return Ok(Out::Again);
    };
    if goes_as_memory(front, sink) {
        return memory(list, sink, copies, receipt);
    }
    match &front.body {
        Body::Mapped(pages) => {
            let pages = pages.clone();
            Ok(lend(list, &pages, sink, lane))
        }
        Body::File(extent) => {
            let extent = extent.clone();
            file(list, &extent, sink, lane, copies, receipt)
        }
        Body::Pipe(_) => pipe(list, sink, lane, copies, receipt),
        Body::Memory(..) | Body::Zero(_) | Body::Hole(_) => Ok(Out::Again),
    }
}

/// Writes as much of the memory at the front as one call takes.
fn memory(list: &mut BufferList, sink: &mut Giving<'_>, copies: &mut Copies, receipt: &mut Receipt) -> Result<Out> {
    let mut parts: Vec<IoSlice<'_>> = Vec::with_capacity(list.segments().len().min(IOV_MAX));
    // Which reason each piece has, to count what went.
    let mut reasons: Vec<(Reason, usize)> = Vec::with_capacity(parts.capacity());
    let mut len = 0;
    let mut whole = true;
    'gather: for segment in list.segments() {
        if !goes_as_memory(segment, sink) {
            break;
        }
        let reason = match &segment.body {
            Body::Memory(_, reason) => *reason,
            Body::Mapped(_) => not_lent(sink),
            _ => Reason::FromMemory,
        };
        // Zeros are written from the same stretch again and again; all else is one piece.
        let mut left = segment.len();
        while left > 0 {
            let room = (sys::MOST - len).min(usize::try_from(left).unwrap_or(usize::MAX));
            if room == 0 || parts.len() == IOV_MAX {
                whole = false;
                break 'gather;
            }
            let piece = match segment.as_memory() {
                Some(memory) => &memory[..room],
                None => &ZEROS[..room.min(ZEROS.len())],
            };
            parts.push(IoSlice::new(piece));
            reasons.push((reason, piece.len()));
            len += piece.len();
            left -= piece.len() as u64;
            if segment.as_memory().is_some() && left > 0 {
                whole = false;
                break 'gather;
            }
        }
    }
    // The next bytes are in the list, and the caller's next step or our next turn sends them.
    let more = !whole || list.len() > len as u64;
    let fd = sink.fd;
    let sent = if sink.facts.end.kind.is_socket() || sink.facts.messages {
        sys::send(fd, &parts, more && !sink.facts.messages)
    } else if sink.offsets() {
        sys::pwrite(fd, &parts, sink.at)
    } else {
        sys::write(fd, &parts)
    };
    drop(parts);
    let sent = match sent {
        Ok(0) => return Err(Error::sys(Errno::IO, DOING).at(Side::Sink)),
        Ok(sent) => sent,
        Err(errno) => return failed(errno, sink),
    };
    if sink.offsets() {
        sink.at += sent as u64;
    }
    count_memory(&reasons, sent, sink, copies, receipt);
    list.rope_mut().advance(sent as u64);
    Ok(Out::Moved)
}

/// Tells the receipt of `sent` bytes that were written from memory.
fn count_memory(
    reasons: &[(Reason, usize)],
    sent: usize,
    sink: &Giving<'_>,
    copies: &mut Copies,
    receipt: &mut Receipt,
) {
    let mut left = sent;
    for &(reason, len) in reasons {
        let bytes = len.min(left) as u64;
        left -= bytes as usize;
        if bytes == 0 {
            break;
        }
        if sink.facts.end.kind == EndKind::DirectFile {
            // The device fetches it from where it is; nobody in user space can see whether it did.
            receipt.add_spliced(MEMORY, sink.facts.end, bytes);
        } else {
            copies.add(reason, bytes);
            receipt.add_copied(reason, bytes);
        }
    }
}

/// Lends sealed pages to a pipe: the front of the list becomes a pipe segment.
fn lend(list: &mut BufferList, pages: &Pages, sink: &mut Giving<'_>, lane: &mut Lane) -> Out {
    let page = sys::page_size();
    let offset = pages.as_ptr() as usize % page;
    let len = pages.len().min(sys::MOST);
    let slots = (offset + len).div_ceil(page) as u64;
    let mut pipe = match lane.take(slots, 1) {
        Ok(pipe) => pipe,
        Err(Refused::Wait) => return Out::Blocked(Side::Pipe),
        Err(Refused::Copy) => return write_instead(list, pages, Reason::NoPipe),
    };
    // SAFETY: sealed pages are mapped read-only and unmapped, never given out again, when the last holder lets go:
    // nobody can change them or find them recycled while the kernel holds them.
    let lent = unsafe { sys::vmsplice(pipe.writer(), &pages[..len]) };
    match lent {
        Ok(got @ 1..) => {
            pipe.filled(got as u64, Fill::Paged { offset: offset as u32 });
            turn_into_pipe(list, MEMORY, Stability::Private, None, pipe, got as u64, lane);
            Out::Again
        }
        failed => {
            lane.give(pipe);
            let errno = failed.err().unwrap_or(Errno::INVAL);
            // Whatever it is, the pages can be written; what cannot be lent once is not tried again.
            let reason = refusal(errno).unwrap_or(Reason::NoPipe);
            sink.lend = Way::Copy(reason);
            Out::Again
        }
    }
}

/// The pages at the front are written as memory, for this reason.
fn write_instead(list: &mut BufferList, pages: &Pages, reason: Reason) -> Out {
    let len = pages.len() as u64;
    list.rope_mut().advance(len);
    list.rope_mut()
        .push_front(Segment::copied(pages.clone().into(), reason));
    Out::Again
}

/// The first `len` bytes of the list are in `pipe` now.
fn turn_into_pipe(
    list: &mut BufferList,
    origin: End,
    stability: Stability,
    source: Option<FileExtent>,
    pipe: PooledPipe,
    len: u64,
    lane: &Lane,
) {
    let cell = PipeCell::new(origin, stability, source, pipe, lane.pool());
    list.rope_mut().advance(len);
    list.rope_mut()
        .push_front(Segment::new(Body::Pipe(PipeRange::new(cell, len))));
}

/// Moves a part of a file: straight into a socket or pipe where the kernel can, else through a pipe of ours.
fn file(
    list: &mut BufferList,
    extent: &FileExtent,
    sink: &mut Giving<'_>,
    lane: &mut Lane,
    copies: &mut Copies,
    receipt: &mut Receipt,
) -> Result<Out> {
    if sink.facts.messages {
        return match extent.read(sys::MOST as u64) {
            Ok(bytes) if bytes.is_empty() => Err(too_short()),
            Ok(bytes) => message(list, &bytes, Reason::CannotSplice, sink, copies, receipt),
            Err(errno) => Err(Error::sys(errno, DOING).at(Side::Source)),
        };
    }
    if let Way::Copy(reason) = sink.way {
        return read_extent(list, extent, reason, copies);
    }
    let len = extent.len().min(sys::MOST as u64) as usize;
    let mut at = extent.start();
    let kind = sink.facts.end.kind;
    let straight = if kind == EndKind::Pipe {
        Some(sys::splice(extent.fd(), Some(&mut at), sink.fd, None, len, false))
    } else if kind.is_socket() && !sink.facts.messages && !sink.no_sendfile {
        // No pipe of ours is needed, and one system call instead of two.
        Some(sys::sendfile(sink.fd, extent.fd(), &mut at, len))
    } else {
        None
    };
    match straight {
        Some(Ok(0)) => Err(too_short()),
        Some(Ok(sent)) => {
            list.rope_mut().advance(sent as u64);
            receipt.add_spliced(extent.origin(), sink.facts.end, sent as u64);
            Ok(Out::Moved)
        }
        Some(Err(errno)) if refusal(errno).is_some() => {
            if kind == EndKind::Pipe {
                return read_extent(list, extent, refusal(errno).unwrap_or(Reason::CannotSplice), copies);
            }
            sink.no_sendfile = true;
            Ok(Out::Again)
        }
        Some(Err(errno)) => failed(errno, sink),
        None => fill_from_extent(list, extent, lane, copies),
    }
}

/// The file is shorter than the extent at the front of the list. The list is cut only when the caller is told, which may
/// be an attempt later: what has moved before in this one comes first.
fn too_short() -> Error {
    Error::new(ErrorKind::Truncated, DOING).at(Side::Source)
}

/// Cuts the list to what is true.
fn cut_short(list: &mut BufferList) {
    if matches!(
        list.rope().front(),
        Some(Segment {
            body: Body::File(_),
            ..
        })
    ) {
        list.rope_mut().pop_front();
    }
}

/// Splices a part of a file into a pipe of ours, which takes its place in the list.
fn fill_from_extent(list: &mut BufferList, extent: &FileExtent, lane: &mut Lane, copies: &mut Copies) -> Result<Out> {
    let page = sys::page_size() as u64;
    let offset = extent.start() % page;
    let len = extent.len().min(sys::MOST as u64);
    let mut pipe = match lane.take((offset + len).div_ceil(page), 1) {
        Ok(pipe) => pipe,
        Err(Refused::Wait) => return Ok(Out::Blocked(Side::Pipe)),
        Err(Refused::Copy) => return read_extent(list, extent, Reason::NoPipe, copies),
    };
    let mut at = extent.start();
    match sys::splice(extent.fd(), Some(&mut at), pipe.writer(), None, len as usize, false) {
        Ok(0) => {
            lane.give(pipe);
            Err(too_short())
        }
        Ok(got) => {
            let got = got as u64;
            let direct = extent.origin().kind == EndKind::DirectFile;
            let offset = if direct { 0 } else { offset as u32 };
            pipe.filled(got, Fill::Paged { offset });
            let stability = if direct {
                Stability::Private
            } else {
                Stability::Volatile
            };
            turn_into_pipe(
                list,
                extent.origin(),
                stability,
                Some(extent.part(0, got)),
                pipe,
                got,
                lane,
            );
            Ok(Out::Again)
        }
        Err(errno) => {
            lane.give(pipe);
            match refusal(errno) {
                Some(_) if errno == Errno::INVAL && extent.origin().kind == EndKind::DirectFile => {
                    Err(Error::new(ErrorKind::Misaligned, DOING).because(errno).at(Side::Source))
                }
                Some(reason) => read_extent(list, extent, reason, copies),
                None => Err(Error::sys(errno, DOING).at(Side::Source)),
            }
        }
    }
}

/// Reads a part of a file into memory, which takes its place in the list.
fn read_extent(list: &mut BufferList, extent: &FileExtent, reason: Reason, copies: &mut Copies) -> Result<Out> {
    match extent.read(sys::MOST as u64) {
        Ok(bytes) if bytes.is_empty() => Err(too_short()),
        Ok(bytes) => {
            copies.add(reason, bytes.len() as u64);
            turn_into_memory(list, bytes, reason);
            Ok(Out::Again)
        }
        Err(errno) => Err(Error::sys(errno, DOING).at(Side::Source)),
    }
}

/// Moves the pipe segment at the front.
fn pipe(
    list: &mut BufferList,
    sink: &mut Giving<'_>,
    lane: &mut Lane,
    copies: &mut Copies,
    receipt: &mut Receipt,
) -> Result<Out> {
    let error = |errno| Error::sys(errno, "take bytes out of a pipe").at(Side::Pipe);
    let more = list.segments().len() > 1 && !sink.facts.messages;
    let Some(Segment {
        body: Body::Pipe(range),
        ..
    }) = list.rope_mut().front_mut()
    else {
        return Ok(Out::Again);
    };
    if !range.cell.is_ours() {
        return Err(Error::new(ErrorKind::Forked, DOING).at(Side::Pipe));
    }
    let (start, end, origin, stability) = (range.start(), range.end(), range.origin(), range.stability());
    if sink.facts.messages && !is_one_message(range, sink.facts.end.kind).map_err(error)? {
        let bytes = whole(range, Reason::CannotSplice, copies).map_err(error)?;
        return message(list, &bytes, Reason::CannotSplice, sink, copies, receipt);
    }
    if let Way::Copy(reason) = sink.way {
        return as_memory(list, reason, copies);
    }
    let Some(cell) = Arc::get_mut(&mut range.cell) else {
        // Somebody else holds the cell: a private pipe, by tee, takes the place of our part of it.
        let shared = range.cell.share(start, end, lane, copies).map_err(error)?;
        match shared {
            Front::Pipe(pipe, len) => {
                let source = range.source().map(|source| source.part(0, len));
                turn_into_pipe(list, origin, stability, source, pipe, len, lane);
            }
            Front::Memory(bytes, reason) => turn_into_memory(list, bytes, reason),
        }
        return Ok(Out::Again);
    };
    match cell.front(start, end).map_err(error)? {
        Front::Memory(bytes, reason) => {
            turn_into_memory(list, bytes, reason);
            Ok(Out::Again)
        }
        Front::Pipe(ring, len) => {
            let sent = splice(ring.reader(), sink, len, more);
            match sent {
                Ok(0) => Err(Error::sys(Errno::IO, DOING).at(Side::Sink)),
                Ok(sent) => {
                    let sent = sent as u64;
                    cell.sent(sent);
                    if sent == end - start {
                        if let Some(segment) = list.rope_mut().pop_front() {
                            recycle(segment, lane);
                        }
                    } else {
                        list.rope_mut().advance(sent);
                    }
                    receipt.add_spliced(origin, sink.facts.end, sent);
                    Ok(Out::Moved)
                }
                Err(errno) => refused(list, sink, errno, copies),
            }
        }
    }
}

/// One splice out of a ring of ours.
fn splice(ring: BorrowedFd<'_>, sink: &mut Giving<'_>, len: u64, more: bool) -> Result<usize, Errno> {
    let len = len as usize;
    if sink.offsets() {
        sys::splice(ring, None, sink.fd, Some(&mut sink.state.at), len, false)
    } else {
        sys::splice(ring, None, sink.fd, None, len, more)
    }
}

/// Whether one splice sends a range as one message. The kernel makes a message of each sixteen slots (`splice_to_socket`,
/// fs/splice.c); of each slot before Linux 6.5. UDP is told that more follows, and joins them, but drops what it has
/// joined, unsaid, when a later part fails.
fn is_one_message(range: &mut PipeRange, kind: EndKind) -> Result<bool, Errno> {
    let most = if kind == EndKind::Udp { 16 } else { 1 };
    let (start, end) = (range.start(), range.end());
    let Some(cell) = Arc::get_mut(&mut range.cell) else {
        return Ok(false);
    };
    Ok(match cell.front(start, end)? {
        Front::Pipe(ring, len) => len == end - start && ring.ledger.prefix(len).slots().at_most <= most,
        Front::Memory(..) => false,
    })
}

/// All the bytes of a range in memory, where they stay as well in their pipes.
fn whole(range: &PipeRange, reason: Reason, copies: &mut Copies) -> Result<Bytes, Errno> {
    let (mut start, end) = (range.start(), range.end());
    let mut seen = Vec::new();
    while start < end {
        let bytes = range.cell.look(start, end, copies, reason)?;
        start += bytes.len() as u64;
        seen.push(bytes);
    }
    Ok(crate::look::join(&seen))
}

/// Sends what is at the front of the list, which is `bytes`, as one message. The list is as it was if that fails.
fn message(
    list: &mut BufferList,
    bytes: &[u8],
    reason: Reason,
    sink: &Giving<'_>,
    copies: &mut Copies,
    receipt: &mut Receipt,
) -> Result<Out> {
    match sys::send(sink.fd, &[IoSlice::new(bytes)], false) {
        Ok(0) => Err(Error::sys(Errno::IO, DOING).at(Side::Sink)),
        Ok(sent) => {
            count_memory(&[(reason, sent)], sent, sink, copies, receipt);
            list.rope_mut().advance(sent as u64);
            Ok(Out::Moved)
        }
        Err(errno) => failed(errno, sink),
    }
}

/// A segment that has been sent whole: its pipe, empty now, is kept at hand.
fn recycle(segment: Segment, lane: &mut Lane) {
    if let Body::Pipe(range) = segment.body {
        if let Some(cell) = IdleCell::of(range) {
            lane.give_cell(cell);
        }
    }
}

/// The sink has refused the pages at the front. Nothing has moved.
fn refused(list: &mut BufferList, sink: &mut Giving<'_>, errno: Errno, copies: &mut Copies) -> Result<Out> {
    if sink.facts.end.kind == EndKind::DirectFile && errno == Errno::INVAL {
        return Err(Error::new(ErrorKind::Misaligned, DOING).because(errno).at(Side::Sink));
    }
    let Some(reason) = refusal(errno) else {
        return failed(errno, sink);
    };
    // A socket may refuse one splice and take the next, as in `fill`; for all else it is a property of the file.
    if !sink.facts.end.kind.is_socket() || errno != Errno::INVAL {
        sink.way = Way::Copy(reason);
    }
    as_memory(list, reason, copies)
}

/// The pipe segment at the front is read into memory, for this reason.
fn as_memory(list: &mut BufferList, reason: Reason, copies: &mut Copies) -> Result<Out> {
    let error = |errno| Error::sys(errno, "read a pipe into memory").at(Side::Pipe);
    let Some(Segment {
        body: Body::Pipe(range),
        ..
    }) = list.rope_mut().front_mut()
    else {
        return Ok(Out::Again);
    };
    let (start, end) = (range.start(), range.end());
    let bytes = match Arc::get_mut(&mut range.cell) {
        Some(cell) => {
            // What lies before our part need not be read.
            if let Front::Memory(bytes, reason) = cell.front(start, end).map_err(error)? {
                turn_into_memory(list, bytes, reason);
                return Ok(Out::Again);
            }
            range.cell.read_into_memory(start, reason, copies).map_err(error)?;
            range.cell.look(start, end, copies, reason).map_err(error)?
        }
        None => range.cell.look(start, end, copies, reason).map_err(error)?,
    };
    turn_into_memory(list, bytes, reason);
    Ok(Out::Again)
}

/// The first bytes of the list are in memory now.
fn turn_into_memory(list: &mut BufferList, bytes: Bytes, reason: Reason) {
    list.rope_mut().advance(bytes.len() as u64);
    list.rope_mut().push_front(Segment::copied(bytes, reason));
}

/// An error that is not about the way: the sink is full, or gone, or broken.
fn failed(errno: Errno, sink: &Giving<'_>) -> Result<Out> {
    match errno {
        Errno::AGAIN => Ok(Out::Blocked(Side::Sink)),
        Errno::INVAL if sink.facts.end.kind == EndKind::DirectFile => {
            Err(Error::new(ErrorKind::Misaligned, DOING).because(errno).at(Side::Sink))
        }
        errno => Err(Error::sys(errno, DOING).at(Side::Sink)),
    }
}

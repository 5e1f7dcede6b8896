//! Kernel pages in pipes: spliced straight out of a cell that is ours alone, tee'd out of one that is shared.

use super::{DOING, Out, Sending};
use crate::counts::Copies;
use crate::endpoint::{Giving, Way, refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::{Front, IdleCell, PipeRange};
use crate::reason::Reason;
use crate::receipt::Side;
use crate::segment::{Body, Segment};
use crate::sys;
use bytes::Bytes;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::sync::Arc;

impl Sending<'_, '_> {
    /// Moves the pipe segment at the front.
    pub(super) fn pipe(&mut self) -> Result<Out> {
        let error = |errno| Error::sys(errno, "take bytes out of a pipe").at_side(Side::Pipe);
        // The next bytes are in hand.
        let more = self.list.segments().len() > 1;
        let caller = self.copies.caller;
        let Some(Segment {
            body: Body::Pipe(range),
            ..
        }) = self.list.rope_mut().front_mut()
        else {
            return Ok(Out::Again);
        };
        if !range.cell.is_ours() {
            return Err(Error::new(ErrorKind::Forked, DOING).at_side(Side::Pipe));
        }
        let (start, end, origin, stability) = (range.start(), range.end(), range.origin(), range.stability());
        if self.sink.facts.message_oriented {
            // Splicing into a message socket loses more than borders. The kernel makes a message of each sixteen slots, of
            // each slot before 6.5; UDP joins them and drops the whole, unsaid, when a later part fails; and on 5.10 what was
            // spliced into UDP never arrives at all.
            let bytes = whole(range, Reason::MessageSink, &mut self.copies).map_err(error)?;
            return self.message(&bytes, Reason::MessageSink);
        }
        if let Way::Copy(reason) = self.sink.way {
            return self.as_memory(reason);
        }
        let Some(cell) = Arc::get_mut(&mut range.cell) else {
            // Somebody else holds the cell: a private pipe, by tee, takes the place of our part of it.
            let shared = range
                .cell
                .share(start, end, self.lane, &mut self.copies)
                .map_err(error)?;
            match shared {
                Front::Pipe(pipe, len) => {
                    let source = range.source().map(|source| source.part(0, len));
                    let part = range.cell.name_at(start);
                    self.turn_into_pipe(part, origin, stability, source, pipe, len);
                }
                Front::Memory(bytes, reason) => self.turn_into_memory(bytes, reason),
            }
            return Ok(Out::Again);
        };
        match cell.front(start, end, caller).map_err(error)? {
            Front::Memory(bytes, reason) => {
                self.turn_into_memory(bytes, reason);
                Ok(Out::Again)
            }
            Front::Pipe(ring, len) => {
                let sent = splice(ring.reader(), self.sink, len, more);
                match sent {
                    Ok(0) => Err(Error::sys(Errno::IO, DOING).at_side(Side::Sink)),
                    Ok(sent) => {
                        let sent = sent as u64;
                        cell.sent(sent, caller);
                        if sent == end - start {
                            if let Some(segment) = self.list.rope_mut().pop_front() {
                                self.recycle(segment);
                            }
                        } else {
                            self.list.rope_mut().advance(sent);
                        }
                        self.receipt.add_spliced(origin, self.sink.facts.endpoint, sent);
                        Ok(Out::Moved)
                    }
                    Err(errno) => self.refused(errno),
                }
            }
        }
    }

    /// A segment that has been sent whole: its pipe, empty now, is kept at hand.
    fn recycle(&mut self, segment: Segment) {
        if let Body::Pipe(range) = segment.body {
            if let Some(cell) = IdleCell::of(range) {
                self.lane.give_cell(cell);
            }
        }
    }

    /// The sink has refused the pages at the front. Nothing has moved.
    fn refused(&mut self, errno: Errno) -> Result<Out> {
        let kind = self.sink.facts.endpoint.kind;
        let Some(reason) = refusal(kind, errno) else {
            return self.failed(errno);
        };
        // A socket may refuse one splice and take the next, as in `fill`; for all else it is a property of the file.
        if !kind.is_socket() || errno != Errno::INVAL {
            self.sink.way = Way::Copy(reason);
        }
        self.as_memory(reason)
    }

    /// The pipe segment at the front is read into memory, for this reason.
    fn as_memory(&mut self, reason: Reason) -> Result<Out> {
        let error = |errno| Error::sys(errno, "read a pipe into memory").at_side(Side::Pipe);
        let Some(Segment {
            body: Body::Pipe(range),
            ..
        }) = self.list.rope_mut().front_mut()
        else {
            return Ok(Out::Again);
        };
        let (start, end) = (range.start(), range.end());
        let bytes = match Arc::get_mut(&mut range.cell) {
            Some(cell) => {
                // What lies before our part need not be read.
                if let Front::Memory(bytes, reason) = cell.front(start, end, self.copies.caller).map_err(error)? {
                    self.turn_into_memory(bytes, reason);
                    return Ok(Out::Again);
                }
                range
                    .cell
                    .read_into_memory(start, reason, &mut self.copies)
                    .map_err(error)?;
                range.cell.look(start, end, &mut self.copies, reason).map_err(error)?
            }
            None => range.cell.look(start, end, &mut self.copies, reason).map_err(error)?,
        };
        self.turn_into_memory(bytes, reason);
        Ok(Out::Again)
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

/// All the bytes of a range in memory, where they stay as well in their pipes.
fn whole(range: &PipeRange, reason: Reason, copies: &mut Copies) -> Result<Bytes, Errno> {
    let (mut start, end) = (range.start(), range.end());
    let mut seen = Vec::new();
    while start < end {
        let bytes = range.cell.look(start, end, copies, reason)?;
        start += bytes.len() as u64;
        seen.push(bytes);
    }
    Ok(crate::peek::join(&seen))
}

//! Sending kernel pages in pipes: spliced straight out of a cell without other holders, tee'd out
//! of a shared one.

use super::{ACTION, SendOp, SendStep};
use crate::counts::Copies;
use crate::endpoint::{SinkMut, TransferMode, fallback_reason};
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::{Head, IdleCell, PipeRange};
use crate::reason::Reason;
use crate::segment::{Body, Segment};
use crate::step::Side;
use crate::sys;
use bytes::Bytes;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::sync::Arc;

/// Returns the error of a failed operation on a pipe of the list.
fn pipe_error(errno: Errno) -> Error {
    Error::from_errno(errno, "read or splice from a pipe").at_side(Side::Pipe)
}

impl SendOp<'_, '_> {
    /// Sends the pipe segment at the front.
    pub(super) fn send_pipe(&mut self) -> Result<SendStep> {
        // The next bytes are in the list.
        let more = self.list.segments().len() > 1;
        let caller = self.copies.caller;
        let Some(Segment {
            body: Body::Pipe(range),
            ..
        }) = self.list.rope_mut().front_mut()
        else {
            return Ok(SendStep::Retry);
        };
        if !range.cell.is_from_this_process() {
            return Err(Error::new(ErrorKind::Forked, ACTION).at_side(Side::Pipe));
        }
        let (start, end, origin) = (range.start(), range.end(), range.origin());
        if self.sink.info.message_oriented {
            // Splicing into a message socket loses more than message boundaries. The kernel makes
            // one message of each sixteen slots, and of each slot before 6.5. UDP joins them, and
            // silently drops the whole if a later part fails. On 5.10, bytes spliced into UDP never
            // arrive.
            let bytes = read_range(range, Reason::MessageSink, &mut self.copies).map_err(pipe_error)?;
            return self.send_message(&bytes, Reason::MessageSink);
        }
        if let TransferMode::Copy(reason) = self.sink.mode {
            return self.read_front_into_memory(reason);
        }
        let Some(cell) = Arc::get_mut(&mut range.cell) else {
            return self.tee_shared_front();
        };
        match cell.head(start, end, caller).map_err(pipe_error)? {
            Head::Memory(bytes, reason) => {
                self.replace_front_with_memory(bytes, reason);
                Ok(SendStep::Retry)
            }
            Head::Pipe(pipe, len) => {
                let sent = splice(pipe.reader(), self.sink, len, more);
                match sent {
                    Ok(0) => Err(Error::from_errno(Errno::IO, ACTION).at_side(Side::Sink)),
                    Ok(sent) => {
                        let sent = sent as u64;
                        cell.record_sent(sent, caller);
                        if sent == end - start {
                            if let Some(segment) = self.list.rope_mut().pop_front() {
                                self.recycle(segment);
                            }
                        } else {
                            self.list.rope_mut().advance(sent);
                        }
                        self.receipt.add_spliced(origin, self.sink.info.endpoint, sent);
                        Ok(SendStep::Moved)
                    }
                    Err(errno) => self.fall_back(errno),
                }
            }
        }
    }

    /// Replaces the part of a shared cell at the front by a private pipe, made by tee(2), or by
    /// memory if there is no pipe.
    fn tee_shared_front(&mut self) -> Result<SendStep> {
        let Some(Segment {
            body: Body::Pipe(range),
            ..
        }) = self.list.rope().front()
        else {
            return Ok(SendStep::Retry);
        };
        let (start, origin, stability) = (range.start(), range.origin(), range.stability());
        let shared = range
            .cell
            .shared_head(start, range.end(), self.pipe_cache, &mut self.copies)
            .map_err(pipe_error)?;
        match shared {
            Head::Pipe(pipe, len) => {
                let source = range.source().map(|source| source.part(0, len));
                let part = range.cell.segment_at(start);
                self.replace_front_with_pipe(part, origin, stability, source, pipe, len);
            }
            Head::Memory(bytes, reason) => self.replace_front_with_memory(bytes, reason),
        }
        Ok(SendStep::Retry)
    }

    /// Keeps the empty pipe of a segment that has been sent completely as the spare.
    fn recycle(&mut self, segment: Segment) {
        if let Body::Pipe(range) = segment.body {
            if let Some(cell) = IdleCell::reclaim(range) {
                self.pipe_cache.put_cell(cell);
            }
        }
    }

    /// Handles an error of the sink while the front was being spliced. No byte has moved.
    fn fall_back(&mut self, errno: Errno) -> Result<SendStep> {
        let kind = self.sink.info.endpoint.kind;
        let Some(reason) = fallback_reason(kind, errno) else {
            return self.sink_error(errno);
        };
        // A socket may refuse one splice and accept the next, as in `fill`. For all other kinds,
        // refusal is a property of the file.
        if !kind.is_socket() || errno != Errno::INVAL {
            self.sink.mode = TransferMode::Copy(reason);
        }
        self.read_front_into_memory(reason)
    }

    /// Reads the pipe segment at the front into memory, with the reason for the copy.
    fn read_front_into_memory(&mut self, reason: Reason) -> Result<SendStep> {
        let error = |errno| Error::from_errno(errno, "read a pipe into memory").at_side(Side::Pipe);
        let Some(Segment {
            body: Body::Pipe(range),
            ..
        }) = self.list.rope_mut().front_mut()
        else {
            return Ok(SendStep::Retry);
        };
        let (start, end) = (range.start(), range.end());
        let bytes = match Arc::get_mut(&mut range.cell) {
            Some(cell) => {
                // Bytes before the range need not be read.
                if let Head::Memory(bytes, reason) = cell.head(start, end, self.copies.caller).map_err(error)? {
                    self.replace_front_with_memory(bytes, reason);
                    return Ok(SendStep::Retry);
                }
                range
                    .cell
                    .read_into_memory(start, reason, &mut self.copies)
                    .map_err(error)?;
                range.cell.peek(start, end, &mut self.copies, reason).map_err(error)?
            }
            None => range.cell.peek(start, end, &mut self.copies, reason).map_err(error)?,
        };
        self.replace_front_with_memory(bytes, reason);
        Ok(SendStep::Retry)
    }
}

/// Splices once out of a pipe of the list.
fn splice(pipe: BorrowedFd<'_>, sink: &mut SinkMut<'_>, len: u64, more: bool) -> Result<usize, Errno> {
    let len = len as usize;
    if sink.is_positioned() {
        sys::splice(pipe, None, sink.fd, Some(&mut sink.state.offset), len, false)
    } else {
        sys::splice(pipe, None, sink.fd, None, len, more)
    }
}

/// Copies all bytes of a range into memory. The pipes keep them.
fn read_range(range: &PipeRange, reason: Reason, copies: &mut Copies) -> Result<Bytes, Errno> {
    let (mut start, end) = (range.start(), range.end());
    let mut chunks = Vec::new();
    while start < end {
        let bytes = range.cell.peek(start, end, copies, reason)?;
        start += bytes.len() as u64;
        chunks.push(bytes);
    }
    Ok(crate::peek::concat(&chunks))
}

//! Sending file extents: straight into a socket or pipe if the kernel can, otherwise through a pipe
//! of the list, otherwise through memory.

use super::{ACTION, SendOp, SendStep};
use crate::endpoint::kind::EndpointKind;
use crate::endpoint::{TransferMode, endpoint_error, fallback_reason};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, Operation};
use crate::pipe::NoPipe;
use crate::reason::Reason;
use crate::segment::{Body, FileExtent, Segment, SegmentId};
use crate::step::Side;
use crate::sys;
use crate::transfer::fill::{slot_layout, stability};
use bytes::Bytes;

/// Returns the error for a file that is shorter than the extent at the front of the list.
///
/// The list is cut only when the caller receives the error. If bytes have already moved in this
/// attempt, that is the next attempt.
fn truncated() -> Error {
    Error::new(ErrorKind::Truncated, ACTION).at_side(Side::Source)
}

/// Reads the beginning of an extent into memory, at least one byte.
fn read(extent: &FileExtent) -> Result<Bytes> {
    match extent.read(sys::MAX_COUNT as u64) {
        Ok(bytes) if bytes.is_empty() => Err(truncated()),
        Ok(bytes) => Ok(bytes),
        Err(errno) => Err(Error::from_errno(errno, ACTION).at_side(Side::Source)),
    }
}

impl SendOp<'_, '_> {
    /// Sends a file extent: straight into a socket or pipe if the kernel can, otherwise through a
    /// pipe of the list.
    pub(super) fn send_extent(&mut self, extent: &FileExtent) -> Result<SendStep> {
        if self.sink.info.message_oriented {
            return self.send_message(&read(extent)?, Reason::MessageSink);
        }
        if let TransferMode::Copy(reason) = self.sink.mode {
            return self.read_extent(extent, reason);
        }
        let len = extent.len().min(sys::MAX_COUNT as u64) as usize;
        let mut at = extent.start();
        let kind = self.sink.info.endpoint.kind;
        let direct = if kind == EndpointKind::Pipe {
            Some(sys::splice(extent.fd(), Some(&mut at), self.sink.fd, None, len, false))
        } else if kind.is_socket() && !self.sink.sendfile_refused {
            // Needs no pipe of the list, and one system call instead of two.
            Some(sys::sendfile(self.sink.fd, extent.fd(), &mut at, len))
        } else {
            None
        };
        match direct {
            Some(Ok(0)) => Err(truncated()),
            Some(Ok(sent)) => {
                self.list.rope_mut().advance(sent as u64);
                self.receipt
                    .add_spliced(extent.origin(), self.sink.info.endpoint, sent as u64);
                Ok(SendStep::Moved)
            }
            Some(Err(errno)) => match fallback_reason(kind, errno) {
                Some(reason) if kind == EndpointKind::Pipe => self.read_extent(extent, reason),
                Some(_) => {
                    self.sink.sendfile_refused = true;
                    Ok(SendStep::Retry)
                }
                None => self.sink_error(errno),
            },
            None => self.fill_from_extent(extent),
        }
    }

    /// Removes a truncated extent from the front of the list.
    pub(super) fn drop_truncated_extent(&mut self) {
        if matches!(
            self.list.rope().front(),
            Some(Segment {
                body: Body::File(_),
                ..
            })
        ) {
            self.list.rope_mut().pop_front();
        }
    }

    /// Splices a file extent into a pipe, which replaces it in the list.
    fn fill_from_extent(&mut self, extent: &FileExtent) -> Result<SendStep> {
        let page = sys::page_size() as u64;
        let offset = extent.start() % page;
        let len = extent.len().min(sys::MAX_COUNT as u64);
        let mut pipe = match self.pipe_cache.get((offset + len).div_ceil(page), 1) {
            Ok(pipe) => pipe,
            Err(NoPipe::Wait) => return Ok(SendStep::Blocked(Side::Pipe)),
            Err(NoPipe::Copy) => return self.read_extent(extent, Reason::NoPipe),
        };
        let mut at = extent.start();
        match sys::splice(extent.fd(), Some(&mut at), pipe.writer(), None, len as usize, false) {
            Ok(0) => {
                self.pipe_cache.put(pipe);
                Err(truncated())
            }
            Ok(got) => {
                let got = got as u64;
                let origin = extent.origin();
                pipe.record_fill(got, slot_layout(origin.kind, extent.start()));
                let id = SegmentId::next();
                pipe.journal_put(got, &self.new_segment_template(Operation::Fill, id));
                self.replace_front_with_pipe(
                    (id, 0),
                    origin,
                    stability(origin.kind),
                    Some(extent.part(0, got)),
                    pipe,
                    got,
                );
                Ok(SendStep::Retry)
            }
            Err(errno) => {
                self.pipe_cache.put(pipe);
                let kind = extent.origin().kind;
                match fallback_reason(kind, errno) {
                    Some(reason) => self.read_extent(extent, reason),
                    None => Err(endpoint_error(kind, errno, ACTION, Side::Source)),
                }
            }
        }
    }

    /// Reads a file extent into memory, which replaces it in the list.
    fn read_extent(&mut self, extent: &FileExtent, reason: Reason) -> Result<SendStep> {
        let bytes = read(extent)?;
        let got = bytes.len() as u64;
        self.copies.add(reason, got);
        self.replace_front_with_memory(bytes, reason);
        if let Some(front) = self.list.rope().front() {
            journal::write_copy(&front.copy_template(reason, self.copies.caller), got);
        }
        Ok(SendStep::Retry)
    }
}

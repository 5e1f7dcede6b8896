//! Sending memory: by a write of as much as one call takes or, for sealed pages, by vmsplice(2)
//! into a pipe.

use super::{ACTION, SendOp, SendStep};
use crate::endpoint::kind::{Endpoint, EndpointKind, LOCAL_HOST};
use crate::endpoint::{SinkMut, TransferMode, fallback_reason};
use crate::error::{Error, Result};
use crate::journal::Operation;
use crate::pipe::{NoPipe, SlotLayout};
use crate::reason::Reason;
use crate::segment::{Body, Pages, Segment, SegmentId, Stability, ZEROS};
use crate::step::Side;
use crate::sys;
use rustix::io::Errno;
use std::io::IoSlice;

/// Maximum number of pieces of writev(2) and sendmsg(2) (`include/uapi/linux/uio.h`: `UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

/// Fewer bytes of sealed pages are written and not vmspliced: less than a page is not worth a slot
/// and a second system call.
const MIN_VMSPLICE_LEN: usize = 4096;

/// Endpoint of vmspliced memory.
const MEMORY_ENDPOINT: Endpoint = Endpoint {
    kind: EndpointKind::Memory,
    domain: LOCAL_HOST,
};

/// Returns whether a segment is sent by a write from memory.
pub(super) fn is_sent_from_memory(segment: &Segment, sink: &SinkMut<'_>) -> bool {
    match &segment.body {
        Body::Memory(..) | Body::Zero(_) | Body::Hole(_) => true,
        Body::Mapped(pages) => !can_vmsplice(pages, sink),
        Body::File(_) | Body::Pipe(_) => false,
    }
}

/// Returns whether sealed pages are vmspliced for this sink.
///
/// Files receive them by pwrite(2): for a direct file, the device fetches the bytes from the pages,
/// and a buffered file copies in either case. A message is too small for it to matter, and must
/// stay in one piece.
fn can_vmsplice(pages: &Pages, sink: &SinkMut<'_>) -> bool {
    pages.len() >= MIN_VMSPLICE_LEN
        && sink.vmsplice_mode == TransferMode::Splice
        && !sink.info.endpoint.kind.is_file()
        && !sink.info.message_oriented
}

/// Returns why sealed pages are written and not vmspliced: the kernel has refused vmsplice(2) here,
/// or a write is the normal way for this sink.
fn write_reason(sink: &SinkMut<'_>) -> Reason {
    match sink.vmsplice_mode {
        TransferMode::Copy(reason) if !sink.info.endpoint.kind.is_file() => reason,
        _ => Reason::FromMemory,
    }
}

impl SendOp<'_, '_> {
    /// Writes as much of the memory at the front as one call takes.
    pub(super) fn send_memory(&mut self) -> Result<SendStep> {
        let mut parts: Vec<IoSlice<'_>> = Vec::with_capacity(self.list.segments().len().min(IOV_MAX));
        // Reason and length of each piece, to record what was sent.
        let mut reasons: Vec<(Reason, usize)> = Vec::with_capacity(parts.capacity());
        let mut len = 0;
        let mut is_complete = true;
        'gather: for segment in self.list.segments() {
            if !is_sent_from_memory(segment, self.sink) {
                break;
            }
            let reason = match &segment.body {
                Body::Memory(_) => segment.copy_reason,
                Body::Mapped(_) => write_reason(self.sink),
                _ => Reason::FromMemory,
            };
            // Zeros are written from the same buffer repeatedly; any other segment is one piece.
            let mut left = segment.len();
            while left > 0 {
                let space = (sys::MAX_COUNT - len).min(usize::try_from(left).unwrap_or(usize::MAX));
                if space == 0 || parts.len() == IOV_MAX {
                    is_complete = false;
                    break 'gather;
                }
                let piece = match segment.as_memory() {
                    Some(memory) => &memory[..space],
                    None => &ZEROS[..space.min(ZEROS.len())],
                };
                parts.push(IoSlice::new(piece));
                reasons.push((reason, piece.len()));
                len += piece.len();
                left -= piece.len() as u64;
                if segment.as_memory().is_some() && left > 0 {
                    is_complete = false;
                    break 'gather;
                }
            }
        }
        // The next bytes are in the list, and the caller's or the transfer's next step sends them.
        let more = !is_complete || self.list.len() > len as u64;
        let fd = self.sink.fd;
        let sent = if self.sink.info.endpoint.kind.is_socket() || self.sink.info.message_oriented {
            sys::send(fd, &parts, more && !self.sink.info.message_oriented)
        } else if self.sink.is_positioned() {
            sys::pwrite(fd, &parts, self.sink.offset)
        } else {
            sys::write(fd, &parts)
        };
        drop(parts);
        let sent = match sent {
            Ok(0) => return Err(Error::from_errno(Errno::IO, ACTION).at_side(Side::Sink)),
            Ok(sent) => sent,
            Err(errno) => return self.sink_error(errno),
        };
        if self.sink.is_positioned() {
            self.sink.offset += sent as u64;
        }
        self.record_copied(&reasons, sent);
        self.list.rope_mut().advance(sent as u64);
        Ok(SendStep::Moved)
    }

    /// Records `sent` bytes that were written from memory.
    pub(super) fn record_copied(&mut self, reasons: &[(Reason, usize)], sent: usize) {
        let mut left = sent;
        for &(reason, len) in reasons {
            let bytes = len.min(left) as u64;
            left -= bytes as usize;
            if bytes == 0 {
                break;
            }
            if self.sink.info.endpoint.kind == EndpointKind::DirectFile {
                // The device may fetch the bytes from the pages; user space cannot observe whether
                // it did.
                self.receipt
                    .add_spliced(MEMORY_ENDPOINT, self.sink.info.endpoint, bytes);
            } else {
                self.copies.add(reason, bytes);
                self.receipt.add_copied(reason, bytes);
            }
        }
    }

    /// Puts sealed pages into a pipe by vmsplice(2), which replaces the front of the list by a pipe
    /// segment.
    pub(super) fn vmsplice_pages(&mut self, pages: &Pages) -> SendStep {
        let page = sys::page_size();
        let offset = pages.as_ptr() as usize % page;
        let len = pages.len().min(sys::MAX_COUNT);
        let slots = (offset + len).div_ceil(page) as u64;
        let mut pipe = match self.pipe_cache.get(slots, 1) {
            Ok(pipe) => pipe,
            Err(NoPipe::Wait) => return SendStep::Blocked(Side::Pipe),
            Err(NoPipe::Copy) => {
                self.replace_front_with_memory(pages.clone().into(), Reason::NoPipe);
                return SendStep::Retry;
            }
        };
        // SAFETY: `vmsplice` requires that the pages neither change nor are reused while the kernel
        // holds them. Sealed pages are mapped read-only, so they do not change. When the last
        // reference is dropped they are unmapped, so no allocator reuses them.
        let spliced = unsafe { sys::vmsplice(pipe.writer(), &pages[..len]) };
        match spliced {
            Ok(got @ 1..) => {
                pipe.record_fill(got as u64, SlotLayout::Paged { offset: offset as u32 });
                let id = SegmentId::next();
                pipe.journal_put(got as u64, &self.new_segment_template(Operation::Vmsplice, id));
                self.replace_front_with_pipe((id, 0), MEMORY_ENDPOINT, Stability::Private, None, pipe, got as u64);
                SendStep::Retry
            }
            failed => {
                self.pipe_cache.put(pipe);
                let errno = failed.err().unwrap_or(Errno::INVAL);
                // The pages can be written after any error. A refused vmsplice is not retried.
                let reason = fallback_reason(EndpointKind::Memory, errno).unwrap_or(Reason::NoPipe);
                self.sink.vmsplice_mode = TransferMode::Copy(reason);
                SendStep::Retry
            }
        }
    }

    /// Sends `bytes`, which are the front of the list, as one message. If that fails, the list is
    /// unchanged.
    pub(super) fn send_message(&mut self, bytes: &[u8], reason: Reason) -> Result<SendStep> {
        match sys::send(self.sink.fd, &[IoSlice::new(bytes)], false) {
            Ok(0) => Err(Error::from_errno(Errno::IO, ACTION).at_side(Side::Sink)),
            Ok(sent) => {
                self.record_copied(&[(reason, sent)], sent);
                self.list.rope_mut().advance(sent as u64);
                Ok(SendStep::Moved)
            }
            Err(errno) => self.sink_error(errno),
        }
    }
}

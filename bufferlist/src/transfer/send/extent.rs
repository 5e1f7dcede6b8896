//! Parts of files: straight into a socket or pipe where the kernel can, else through a pipe of ours, else through memory.

use super::{DOING, Out, Sending};
use crate::endpoint::kind::EndpointKind;
use crate::endpoint::{Way, failure, refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, Operation};
use crate::pipe::Refused;
use crate::reason::Reason;
use crate::receipt::Side;
use crate::segment::{Body, FileExtent, Segment, SegmentId};
use crate::sys;
use crate::transfer::fill::{lie, stability};
use bytes::Bytes;

/// The file is shorter than the extent at the front of the list. The list is cut only when the caller is told, which may
/// be an attempt later: what has moved before in this one comes first.
fn too_short() -> Error {
    Error::new(ErrorKind::Truncated, DOING).at_side(Side::Source)
}

/// The beginning of an extent in memory: at least a byte of it.
fn read(extent: &FileExtent) -> Result<Bytes> {
    match extent.read(sys::MAX_COUNT as u64) {
        Ok(bytes) if bytes.is_empty() => Err(too_short()),
        Ok(bytes) => Ok(bytes),
        Err(errno) => Err(Error::sys(errno, DOING).at_side(Side::Source)),
    }
}

impl Sending<'_, '_> {
    /// Moves a part of a file: straight into a socket or pipe where the kernel can, else through a pipe of ours.
    pub(super) fn file(&mut self, extent: &FileExtent) -> Result<Out> {
        if self.sink.facts.message_oriented {
            return self.message(&read(extent)?, Reason::MessageSink);
        }
        if let Way::Copy(reason) = self.sink.way {
            return self.read_extent(extent, reason);
        }
        let len = extent.len().min(sys::MAX_COUNT as u64) as usize;
        let mut at = extent.start();
        let kind = self.sink.facts.endpoint.kind;
        let straight = if kind == EndpointKind::Pipe {
            Some(sys::splice(extent.fd(), Some(&mut at), self.sink.fd, None, len, false))
        } else if kind.is_socket() && !self.sink.no_sendfile {
            // No pipe of ours is needed, and one system call instead of two.
            Some(sys::sendfile(self.sink.fd, extent.fd(), &mut at, len))
        } else {
            None
        };
        match straight {
            Some(Ok(0)) => Err(too_short()),
            Some(Ok(sent)) => {
                self.list.rope_mut().advance(sent as u64);
                self.receipt
                    .add_spliced(extent.origin(), self.sink.facts.endpoint, sent as u64);
                Ok(Out::Moved)
            }
            Some(Err(errno)) => match refusal(kind, errno) {
                Some(reason) if kind == EndpointKind::Pipe => self.read_extent(extent, reason),
                Some(_) => {
                    self.sink.no_sendfile = true;
                    Ok(Out::Again)
                }
                None => self.failed(errno),
            },
            None => self.fill_from_extent(extent),
        }
    }

    /// Cuts the list to what is true.
    pub(super) fn cut_short(&mut self) {
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

    /// Splices a part of a file into a pipe of ours, which takes its place in the list.
    fn fill_from_extent(&mut self, extent: &FileExtent) -> Result<Out> {
        let page = sys::page_size() as u64;
        let offset = extent.start() % page;
        let len = extent.len().min(sys::MAX_COUNT as u64);
        let mut pipe = match self.lane.take((offset + len).div_ceil(page), 1) {
            Ok(pipe) => pipe,
            Err(Refused::Wait) => return Ok(Out::Blocked(Side::Pipe)),
            Err(Refused::Copy) => return self.read_extent(extent, Reason::NoPipe),
        };
        let mut at = extent.start();
        match sys::splice(extent.fd(), Some(&mut at), pipe.writer(), None, len as usize, false) {
            Ok(0) => {
                self.lane.give(pipe);
                Err(too_short())
            }
            Ok(got) => {
                let got = got as u64;
                let origin = extent.origin();
                pipe.filled(got, lie(origin.kind, extent.start()));
                let id = SegmentId::next();
                pipe.note_put(got, &self.makes(Operation::Fill, id));
                self.turn_into_pipe(
                    (id, 0),
                    origin,
                    stability(origin.kind),
                    Some(extent.part(0, got)),
                    pipe,
                    got,
                );
                Ok(Out::Again)
            }
            Err(errno) => {
                self.lane.give(pipe);
                let kind = extent.origin().kind;
                match refusal(kind, errno) {
                    Some(reason) => self.read_extent(extent, reason),
                    None => Err(failure(kind, errno, DOING, Side::Source)),
                }
            }
        }
    }

    /// Reads a part of a file into memory, which takes its place in the list.
    fn read_extent(&mut self, extent: &FileExtent, reason: Reason) -> Result<Out> {
        let bytes = read(extent)?;
        let got = bytes.len() as u64;
        self.copies.add(reason, got);
        self.turn_into_memory(bytes, reason);
        if let Some(front) = self.list.rope().front() {
            journal::copied(&front.materialised(reason, self.copies.caller), got);
        }
        Ok(Out::Again)
    }
}

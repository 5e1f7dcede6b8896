//! Sending a list to a sink.
//!
//! `mod.rs` decides which segment is sent next; `memory.rs`, `extent.rs` and `pipe.rs` send the
//! three kinds of segments.

mod extent;
mod memory;
mod pipe;

use super::{Blocking, Progress};
use crate::counts::Copies;
use crate::endpoint::kind::Endpoint;
use crate::endpoint::{SinkMut, endpoint_error};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Caller, EntryTemplate, Operation};
use crate::list::BufferList;
use crate::pipe::{PipeCache, PipeCell, PipeProvider, PipeRange, PooledPipe};
use crate::reason::Reason;
use crate::receipt::Receipt;
use crate::segment::{Body, FileExtent, Segment, SegmentId, Stability};
use crate::step::Side;
use bytes::Bytes;
use memory::is_sent_from_memory;
use rustix::io::Errno;

const ACTION: &str = "splice to the sink";

/// Result of an attempt to send the front of the list.
enum SendStep {
    Moved,
    Blocked(Side),
    /// The list holds the same bytes in another form. Its front must be examined again.
    Retry,
}

/// One attempt, with everything it works on.
struct SendOp<'a, 'fd> {
    list: &'a mut BufferList,
    sink: &'a mut SinkMut<'fd>,
    pipe_cache: &'a mut PipeCache,
    copies: Copies,
    /// Records what reaches the sink.
    receipt: &'a mut Receipt,
}

/// Makes one attempt to send bytes of `list` to `sink`, and records them in `receipt`.
pub(super) fn send(
    list: &mut BufferList,
    sink: &mut SinkMut<'_>,
    pipe_cache: &mut PipeCache,
    blocking: Blocking,
    caller: Caller,
    receipt: &mut Receipt,
) -> Result<Progress> {
    if list.is_empty() {
        return Ok(Progress::End);
    }
    if blocking == Blocking::Never {
        sink.ensure_nonblocking()?;
    }
    if list.rope_mut().has_unfilled_hole() {
        return Err(Error::new(ErrorKind::Hole, ACTION));
    }
    let mut send_op = SendOp {
        list,
        sink,
        pipe_cache,
        copies: Copies::of(caller),
        receipt,
    };
    let result = send_op.attempt();
    send_op.list.counter().record(&send_op.copies);
    result
}

impl SendOp<'_, '_> {
    /// Sends the memory at the front, followed by the segment behind it; or only the segment at the
    /// front.
    fn attempt(&mut self) -> Result<Progress> {
        let mut moved = false;
        // Each iteration that returns `Retry` has converted the front towards memory, which can
        // always be sent. The longest sequence is from file to pipe to memory.
        for _ in 0..8 {
            let was_memory = self
                .list
                .rope()
                .front()
                .is_some_and(|front| is_sent_from_memory(front, self.sink));
            match self.send_front() {
                Ok(SendStep::Retry) => {}
                Ok(SendStep::Moved) => {
                    moved = true;
                    let follows = self
                        .list
                        .rope()
                        .front()
                        .is_some_and(|front| !is_sent_from_memory(front, self.sink));
                    // A header that was sent with "more follows" is followed at once by the bytes
                    // it belongs to. A message is one call.
                    if !(was_memory && follows) || self.sink.info.message_oriented {
                        return Ok(Progress::Moved);
                    }
                }
                // Bytes have moved, so this attempt succeeds. The next one will meet the same
                // obstacle.
                Ok(SendStep::Blocked(_)) | Err(_) if moved => return Ok(Progress::Moved),
                Ok(SendStep::Blocked(side)) => return Ok(Progress::Blocked(side)),
                Err(error) => {
                    if error.kind() == ErrorKind::Truncated {
                        self.drop_truncated_extent();
                    }
                    return Err(error);
                }
            }
        }
        if moved {
            Ok(Progress::Moved)
        } else {
            Err(Error::new(ErrorKind::Io, ACTION).at_side(Side::Sink))
        }
    }

    /// Sends the front of the list.
    fn send_front(&mut self) -> Result<SendStep> {
        let Some(front) = self.list.rope().front() else {
            return Ok(SendStep::Retry);
        };
        if is_sent_from_memory(front, self.sink) {
            return self.send_memory();
        }
        match &front.body {
            Body::Mapped(pages) => {
                let pages = pages.clone();
                Ok(self.vmsplice_pages(&pages))
            }
            Body::File(extent) => {
                let extent = extent.clone();
                self.send_extent(&extent)
            }
            Body::Pipe(_) => self.send_pipe(),
            Body::Memory(..) | Body::Zero(_) | Body::Hole(_) => Ok(SendStep::Retry),
        }
    }

    /// Replaces the first `len` bytes of the list by `pipe`, which now holds them. `name` is their
    /// segment ID and their offset in that segment.
    fn replace_front_with_pipe(
        &mut self,
        name: (SegmentId, u64),
        origin: Endpoint,
        stability: Stability,
        source: Option<FileExtent>,
        pipe: PooledPipe,
        len: u64,
    ) {
        let cell = PipeCell::new(name, origin, stability, source, pipe, self.pipe_cache.pool());
        self.list.rope_mut().advance(len);
        self.list
            .rope_mut()
            .push_front(Segment::new(Body::Pipe(PipeRange::new(cell, len))));
    }

    /// Returns the journal entry template of a segment that is created here.
    fn new_segment_template(&self, operation: Operation, segment: SegmentId) -> EntryTemplate {
        EntryTemplate {
            operation,
            reason: None,
            segment,
            at: 0,
            caller: self.copies.caller,
        }
    }

    /// Replaces the first bytes of the list by memory, which now holds them.
    fn replace_front_with_memory(&mut self, bytes: Bytes, reason: Reason) {
        self.list.rope_mut().advance(bytes.len() as u64);
        self.list.rope_mut().push_front(Segment::copied(bytes, reason));
    }

    /// Handles an error that does not mean "unsupported": the sink is full, closed, or broken.
    fn sink_error(&self, errno: Errno) -> Result<SendStep> {
        match errno {
            Errno::AGAIN => Ok(SendStep::Blocked(Side::Sink)),
            errno => Err(endpoint_error(self.sink.info.endpoint.kind, errno, ACTION, Side::Sink)),
        }
    }
}

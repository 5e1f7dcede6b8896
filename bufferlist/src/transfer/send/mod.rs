//! From a list into a sink.
//!
//! `mod.rs` decides what goes next; `memory.rs`, `extent.rs` and `pages.rs` move the three kinds of things there are.

mod extent;
mod memory;
mod pipe;

use super::{Patience, Progress};
use crate::counts::Copies;
use crate::endpoint::kind::Endpoint;
use crate::endpoint::{Giving, failure};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Caller, Note, Operation};
use crate::list::BufferList;
use crate::pipe::{Lane, PipeCell, PipeRange, PooledPipe};
use crate::reason::Reason;
use crate::receipt::{Receipt, Side};
use crate::segment::{Body, FileExtent, Segment, SegmentId, Stability};
use bytes::Bytes;
use memory::goes_as_memory;
use rustix::io::Errno;

const DOING: &str = "splice to the sink";

/// What one movement out of the list did.
enum Out {
    Moved,
    Blocked(Side),
    /// The list is the same bytes in another form: look at its front again.
    Again,
}

/// One attempt, with all that it works on.
struct Sending<'a, 'fd> {
    list: &'a mut BufferList,
    sink: &'a mut Giving<'fd>,
    lane: &'a mut Lane,
    copies: Copies,
    /// Told of what reaches the sink.
    receipt: &'a mut Receipt,
}

/// One attempt to give bytes of `list` to `sink`, which the receipt then tells of.
pub(super) fn send(
    list: &mut BufferList,
    sink: &mut Giving<'_>,
    lane: &mut Lane,
    patience: Patience,
    caller: Caller,
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
    let mut sending = Sending {
        list,
        sink,
        lane,
        copies: Copies::of(caller),
        receipt,
    };
    let result = sending.attempt();
    sending.list.counter().record(&sending.copies);
    result
}

impl Sending<'_, '_> {
    /// Memory at the front, and then one movement of what follows it; or one movement of what is at the front.
    fn attempt(&mut self) -> Result<Progress> {
        let mut moved = false;
        // Each turn that answers `Again` has changed the form of the front for good, towards memory, which always goes: from
        // file to pipe to memory is the longest way.
        for _ in 0..8 {
            let was_memory = self
                .list
                .rope()
                .front()
                .is_some_and(|front| goes_as_memory(front, self.sink));
            match self.front() {
                Ok(Out::Again) => {}
                Ok(Out::Moved) => {
                    moved = true;
                    let follows = self
                        .list
                        .rope()
                        .front()
                        .is_some_and(|front| !goes_as_memory(front, self.sink));
                    // A header that has gone out with "more follows" is followed at once by what it belongs to. A message
                    // is one call.
                    if !(was_memory && follows) || self.sink.facts.message_oriented {
                        return Ok(Progress::Moved);
                    }
                }
                // What has moved has moved: the next attempt will meet the same obstacle.
                Ok(Out::Blocked(_)) | Err(_) if moved => return Ok(Progress::Moved),
                Ok(Out::Blocked(side)) => return Ok(Progress::Blocked(side)),
                Err(error) => {
                    if error.kind() == ErrorKind::Truncated {
                        self.cut_short();
                    }
                    return Err(error);
                }
            }
        }
        if moved {
            Ok(Progress::Moved)
        } else {
            Err(Error::new(ErrorKind::Io, DOING).at_side(Side::Sink))
        }
    }

    /// Moves what is at the front of the list.
    fn front(&mut self) -> Result<Out> {
        let Some(front) = self.list.rope().front() else {
            return Ok(Out::Again);
        };
        if goes_as_memory(front, self.sink) {
            return self.memory();
        }
        match &front.body {
            Body::Mapped(pages) => {
                let pages = pages.clone();
                Ok(self.lend(&pages))
            }
            Body::File(extent) => {
                let extent = extent.clone();
                self.file(&extent)
            }
            Body::Pipe(_) => self.pipe(),
            Body::Memory(..) | Body::Zero(_) | Body::Hole(_) => Ok(Out::Again),
        }
    }

    /// The first `len` bytes of the list are in `pipe` now. `name`: of which segment they are a part, and where in it.
    fn turn_into_pipe(
        &mut self,
        name: (SegmentId, u64),
        origin: Endpoint,
        stability: Stability,
        source: Option<FileExtent>,
        pipe: PooledPipe,
        len: u64,
    ) {
        let cell = PipeCell::new(name, origin, stability, source, pipe, self.lane.pool());
        self.list.rope_mut().advance(len);
        self.list
            .rope_mut()
            .push_front(Segment::new(Body::Pipe(PipeRange::new(cell, len))));
    }

    /// What the journal says of a segment that is made here.
    fn makes(&self, operation: Operation, segment: SegmentId) -> Note {
        Note {
            operation,
            reason: None,
            segment,
            at: 0,
            caller: self.copies.caller,
        }
    }

    /// The first bytes of the list are in memory now.
    fn turn_into_memory(&mut self, bytes: Bytes, reason: Reason) {
        self.list.rope_mut().advance(bytes.len() as u64);
        self.list.rope_mut().push_front(Segment::copied(bytes, reason));
    }

    /// An error that is not about the way: the sink is full, or gone, or broken.
    fn failed(&self, errno: Errno) -> Result<Out> {
        match errno {
            Errno::AGAIN => Ok(Out::Blocked(Side::Sink)),
            errno => Err(failure(self.sink.facts.endpoint.kind, errno, DOING, Side::Sink)),
        }
    }
}

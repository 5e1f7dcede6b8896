//! Moving bytes: from a source into a list, from a list to a sink, and transfers that do both.
//!
//! There is one small function per pair of kinds, as in libfuse's `buffer.c`. The error of the
//! first attempt selects the fallback, before any byte has moved, and the endpoint stores it.

mod fill;
mod job;
mod send;

#[cfg(feature = "tokio")]
pub(crate) use job::Job;
pub use job::{Limits, Transfer, transfer};

use crate::endpoint::{Sink, Source};
use crate::error::Result;
use crate::journal::{ApiCall, Caller};
use crate::list::BufferList;
use crate::pipe::PipeCache;
use crate::receipt::Receipt;
use crate::step::{Side, Step};
use rustix::fd::AsFd;

/// Policy for operations that might block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blocking {
    /// A descriptor that might block is rejected.
    Never,
    /// Blocking is allowed: the caller has nothing else to do, and no other code can reach the pipe
    /// that the kernel keeps locked meanwhile.
    Allowed,
}

/// A [`Step`] without its receipt. A receipt is large, and a transfer always adds to the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    Moved,
    End,
    Blocked(Side),
}

impl Progress {
    /// Returns the step with the receipt of its bytes.
    fn step(self, receipt: Receipt) -> Step {
        match self {
            Self::Moved => Step::Moved(receipt),
            Self::End => Step::End,
            Self::Blocked(side) => Step::Blocked(side),
        }
    }
}

impl BufferList {
    /// Appends up to `len` bytes of `source` to the list. Makes one attempt, which never blocks.
    ///
    /// The bytes stay in the kernel, in a pipe. They are read into memory, and counted with the
    /// reason, if fewer than the source's threshold are requested, the source cannot be spliced, or
    /// no pipe is available.
    ///
    /// The receipt covers the path from the source into the list. Fewer bytes than `len` may be
    /// appended, as with read(2).
    ///
    /// # Errors
    ///
    /// No byte was taken from the source if this method fails:
    /// [`ErrorKind::BlockingFd`](crate::ErrorKind) if the source is a stream that might block,
    /// `Misaligned` if it is a direct file and the offset or length is not a multiple of its block
    /// size, `InvalidInput` if `len` is zero, `Closed` or `Io` from the kernel.
    ///
    /// ```
    /// use bufferlist::{BufferList, SegmentKind, Source, Step};
    /// use std::io::Write;
    ///
    /// let mut file = tempfile::tempfile()?;
    /// file.write_all(&[7; 100_000])?;
    /// let mut source = Source::file(&file, ..)?;
    /// let mut list = BufferList::new();
    /// while let Step::Moved(_) = list.splice_from(&mut source, 65_536)? {}
    /// assert_eq!(list.len(), 100_000);
    /// assert!(list.segments().all(|segment| segment.kind() == SegmentKind::Pipe));
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn splice_from<F: AsFd>(&mut self, source: &mut Source<F>, len: u64) -> Result<Step> {
        let mut pipe_cache = PipeCache::new(&source.state.pool);
        let mut receipt = Receipt::default();
        let progress = fill::fill(
            self,
            &mut source.borrowed(),
            len,
            &mut pipe_cache,
            Blocking::Never,
            Caller::of(ApiCall::SpliceFrom),
            &mut receipt,
        )?;
        Ok(progress.step(receipt))
    }

    /// Sends bytes from the front of the list to `sink`. Makes one attempt, which never blocks.
    ///
    /// Sent bytes are removed from the list; all others stay in it. To keep the bytes, send a
    /// clone: `list.clone().splice_to(..)`.
    ///
    /// Memory at the front is sent with one call, up to 1024 pieces and 1 MiB at a time. The same
    /// attempt then sends the pipe or file segment that follows. The result is [`Step::End`] if the
    /// list is empty.
    ///
    /// # Errors
    ///
    /// No byte reached the sink if this method fails, and the list is unchanged. The exception is
    /// [`ErrorKind::Truncated`](crate::ErrorKind): a file is shorter than the extent at the front
    /// of the list, and the missing bytes were removed from the list. `BlockingFd` if the sink is a
    /// stream that might block, `Hole` if one was not filled, `Misaligned` if the sink is a direct
    /// file, which accepts only whole blocks, `Closed` or `Io` from the kernel.
    ///
    /// ```
    /// use bufferlist::{BufferList, Nonblocking, Sink, Step};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let mut sink = Sink::stream(Nonblocking::enter(&near)?)?;
    /// let mut list = BufferList::from("header");
    /// while let Step::Moved(receipt) = list.splice_to(&mut sink)? {
    ///     println!("{} bytes", receipt.total());
    /// }
    /// assert!(list.is_empty());
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn splice_to<F: AsFd>(&mut self, sink: &mut Sink<F>) -> Result<Step> {
        let mut pipe_cache = PipeCache::new(&sink.state.pool);
        let mut receipt = Receipt::default();
        let progress = send::send(
            self,
            &mut sink.borrowed(),
            &mut pipe_cache,
            Blocking::Never,
            Caller::of(ApiCall::SpliceTo),
            &mut receipt,
        )?;
        Ok(progress.step(receipt))
    }
}

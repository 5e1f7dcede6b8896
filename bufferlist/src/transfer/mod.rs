//! Moving bytes: out of a source into a list, out of a list into a sink, and whole jobs from end to end.
//!
//! One small function per pair of kinds, as libfuse's buffer.c has it; what to fall back to is decided by the error of
//! the first attempt, before anything has moved, and remembered with the end.

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

/// Whether a call may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blocking {
    /// A descriptor that would wait is refused.
    Never,
    /// The caller has nothing else to do, and nobody else can reach the pipe that is locked meanwhile.
    Allowed,
}

/// A step without its receipt. A receipt is large, and a transfer adds to the same one all the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    Moved,
    End,
    Blocked(Side),
}

impl Progress {
    /// The step whose movement the receipt tells of.
    fn step(self, receipt: Receipt) -> Step {
        match self {
            Self::Moved => Step::Moved(receipt),
            Self::End => Step::End,
            Self::Blocked(side) => Step::Blocked(side),
        }
    }
}

impl BufferList {
    /// Adds up to `len` bytes of `source` at the end of the list. One attempt, which never waits.
    ///
    /// The bytes stay in the kernel, in a pipe, unless fewer than the source's threshold are asked for, the source cannot
    /// be spliced, or no pipe is to be had: then they are read into memory, counted with the reason.
    ///
    /// The receipt speaks of the way from the source into the list. Fewer bytes than `len` may come, as with read(2).
    ///
    /// # Errors
    ///
    /// Nothing was taken from the source if this returns an error: [`ErrorKind::BlockingFd`](crate::ErrorKind) if the
    /// source is a stream that would wait, `Misaligned` if it is a direct file and the offset or length is no multiple of
    /// its block size, `InvalidInput` if `len` is zero, `Closed` or `Io` from the kernel.
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

    /// Gives bytes from the front of the list to `sink`. What went is gone from the list; what did not is still in it.
    /// One attempt, which never waits. To keep the bytes, send a clone: `list.clone().splice_to(..)`.
    ///
    /// Memory at the front goes out together, up to 1024 pieces and 1 MiB at a time, and with it, in the same attempt,
    /// what follows it in a pipe or file. An empty list answers [`Step::End`].
    ///
    /// # Errors
    ///
    /// Nothing reached the sink if this returns an error, and the list holds all that it held, save for
    /// [`ErrorKind::Truncated`](crate::ErrorKind): a file has turned out shorter than the extent at the front of the
    /// list, and the extent was cut to what is there. `BlockingFd` if the sink is a stream that would wait, `Hole` if one
    /// was not filled, `Misaligned` if it is a direct file and takes only whole blocks, `Closed` or `Io` from the kernel.
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

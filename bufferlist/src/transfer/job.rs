//! Transfers from a source to a sink. The bytes in flight are stored in the transfer, not on the
//! stack of a call.

use super::{Blocking, Progress, fill, send};
use crate::counts::Counts;
use crate::endpoint::{Sink, SinkMut, SinkState, Source, SourceMut, SourceState};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{ApiCall, Caller};
use crate::list::BufferList;
use crate::pipe::{PipeCache, PipeProvider, Pool};
use crate::receipt::Receipt;
use crate::step::{Side, Step};
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// Default number of bytes per step: the capacity of a pipe of the default size, so that no pipe
/// has to grow and an unprivileged user's quota suffices for a thousand transfers.
const DEFAULT_CHUNK: u64 = 64 * 1024;

/// Limits of a transfer: bytes, time, and bytes per step.
///
/// ```
/// use bufferlist::Limits;
/// use std::time::{Duration, Instant};
///
/// let limits = Limits::default().len(1 << 20).deadline(Instant::now() + Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    len: Option<u64>,
    deadline: Option<Instant>,
    chunk: Option<u64>,
}

impl Limits {
    /// Limits the transfer to `bytes` bytes of the source. Without this limit, it ends with the
    /// source.
    ///
    /// ```
    /// let limits = bufferlist::Limits::default().len(100);
    /// ```
    #[must_use]
    pub fn len(mut self, bytes: u64) -> Self {
        self.len = Some(bytes);
        self
    }

    /// Makes [`run`](Transfer::run) fail with `TimedOut` at this time. Without it, `run` never
    /// gives up.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// let limits = bufferlist::Limits::default().deadline(Instant::now() + Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(at);
        self
    }

    /// Sets the maximum number of bytes per step.
    ///
    /// The default is 64 KiB. Larger values, up to the 1 MiB that one call moves at most, save
    /// system calls and cost a larger pipe (and more of an unprivileged user's quota of pipe pages,
    /// pipe(7)).
    ///
    /// ```
    /// let limits = bufferlist::Limits::default().chunk(1 << 20);
    /// ```
    #[must_use]
    pub fn chunk(mut self, bytes: u64) -> Self {
        self.chunk = Some(bytes);
        self
    }
}

/// Transfer of all bytes from a source to a sink, in steps or in one call.
///
/// Bytes taken from the source and not yet sent to the sink are stored in the transfer. After an
/// error, a deadline or a blocked step, the transfer can be resumed, and
/// [`into_parts`](Self::into_parts) returns those bytes. Dropping the transfer drops them.
///
/// ```
/// use bufferlist::{Limits, Sink, Source, Transfer};
/// use std::io::Write;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(&[7; 50_000])?;
/// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
/// let mut transfer = Transfer::new(Source::file(&file, ..)?, Sink::stream(&near)?).limits(Limits::default().len(30_000));
/// assert_eq!(transfer.run()?.total(), 30_000);
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a transfer does nothing until it is run, and holds bytes in flight"]
#[derive(Debug)]
pub struct Transfer<S, D> {
    pub(crate) from: S,
    pub(crate) to: D,
    pub(crate) job: Job,
}

/// Transfer without its descriptors, so that it is compiled once, and can be used while they are
/// borrowed.
#[derive(Debug)]
pub(crate) struct Job {
    source: SourceState,
    sink: SinkState,
    pub(crate) in_flight: BufferList,
    pipe_cache: PipeCache,
    limits: Limits,
    /// Bytes taken from the source.
    received: Receipt,
    /// Bytes delivered to the sink.
    pub(crate) delivered: Receipt,
}

impl Job {
    /// Takes bytes from the source. Called only if none are in flight.
    pub(crate) fn fill(&mut self, from: BorrowedFd<'_>, blocking: Blocking, caller: Caller) -> Result<Progress> {
        let chunk = self.limits.chunk.unwrap_or(DEFAULT_CHUNK).max(1);
        let want = self
            .limits
            .len
            .map_or(chunk, |len| chunk.min(len - self.received.total()));
        if want == 0 {
            return Ok(Progress::End);
        }
        let mut source = SourceMut {
            fd: from,
            state: &mut self.source,
        };
        let pipe_cache = &mut self.pipe_cache;
        fill::fill(
            &mut self.in_flight,
            &mut source,
            want,
            pipe_cache,
            blocking,
            caller,
            &mut self.received,
        )
    }

    /// Sends bytes in flight to the sink. Records them in `receipt`, or in `delivered` if it is
    /// `None`.
    pub(crate) fn send(
        &mut self,
        to: BorrowedFd<'_>,
        blocking: Blocking,
        caller: Caller,
        receipt: Option<&mut Receipt>,
    ) -> Result<Progress> {
        let mut sink = SinkMut {
            fd: to,
            state: &mut self.sink,
        };
        let receipt = receipt.unwrap_or(&mut self.delivered);
        send::send(
            &mut self.in_flight,
            &mut sink,
            &mut self.pipe_cache,
            blocking,
            caller,
            receipt,
        )
    }

    /// Takes bytes from the source if none are in flight, and sends bytes in flight to the sink.
    fn advance(
        &mut self,
        (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
        blocking: Blocking,
        caller: Caller,
        receipt: Option<&mut Receipt>,
    ) -> Result<Progress> {
        if self.in_flight.is_empty() {
            let progress = self.fill(from, blocking, caller)?;
            if progress != Progress::Moved {
                return Ok(progress);
            }
        }
        self.send(to, blocking, caller, receipt)
    }
}

impl<S: AsFd, D: AsFd> Transfer<S, D> {
    /// Creates a transfer without limits, with pipes from the source's pool.
    ///
    /// ```
    /// # use bufferlist::{Sink, Source, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// let transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new(source: Source<S>, sink: Sink<D>) -> Self {
        let pipe_cache = PipeCache::new(&source.state.pool);
        let job = Job {
            source: source.state,
            sink: sink.state,
            in_flight: BufferList::new(),
            pipe_cache,
            limits: Limits::default(),
            received: Receipt::default(),
            delivered: Receipt::default(),
        };
        Self {
            from: source.fd,
            to: sink.fd,
            job,
        }
    }

    /// Sets the limits.
    ///
    /// ```
    /// # use bufferlist::{Limits, Sink, Source, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// let transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?).limits(Limits::default().len(100));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.job.limits = limits;
        self
    }

    /// Uses `pool` for pipes.
    ///
    /// ```
    /// # use bufferlist::{Pool, Sink, Source, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// let transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?).pool(&Pool::new(2, 1 << 20));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.job.source.pool = pool.clone();
        self.job.sink.pool = pool.clone();
        self.job.pipe_cache = PipeCache::new(pool);
        self
    }

    /// Appends a list to the bytes in flight, which are sent before the next bytes of the source.
    /// The list does not count towards [`Limits::len`].
    ///
    /// ```
    /// # use bufferlist::{BufferList, Sink, Source, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// let mut transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?);
    /// transfer.prefix(BufferList::from("header"));
    /// assert_eq!(transfer.run()?.total(), 6);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn prefix(&mut self, mut list: BufferList) {
        self.job.in_flight.append(&mut list);
    }

    /// Makes one step, which never blocks: takes bytes from the source if none are in flight, and
    /// sends bytes to the sink. For event loops.
    ///
    /// The receipt covers the bytes that reached the sink. [`Step::End`] means that all bytes have
    /// been delivered.
    ///
    /// # Errors
    ///
    /// Fails like [`splice_from`](BufferList::splice_from) and
    /// [`splice_to`](BufferList::splice_to). No byte reached the sink in this step; bytes taken
    /// from the source are [in flight](Self::in_flight).
    ///
    /// ```
    /// # use bufferlist::{Sink, Source, Step, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// # from.set_len(100_000)?;
    /// let mut transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?);
    /// loop {
    ///     match transfer.step()? {
    ///         Step::Moved(receipt) => println!("{} bytes", receipt.total()),
    ///         Step::Blocked(side) => println!("wait for the {side:?}"),
    ///         Step::End => break,
    ///     }
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn step(&mut self) -> Result<Step> {
        let mut receipt = Receipt::default();
        let progress = self.advance(Blocking::Never, Caller::of(ApiCall::Transfer), Some(&mut receipt))?;
        self.job.delivered += receipt;
        Ok(progress.step(receipt))
    }

    fn advance(&mut self, blocking: Blocking, caller: Caller, receipt: Option<&mut Receipt>) -> Result<Progress> {
        self.job
            .advance((self.from.as_fd(), self.to.as_fd()), blocking, caller, receipt)
    }

    /// Makes steps until the end of the source, and waits with poll(2) while a side is not ready.
    ///
    /// Returns the receipt of all bytes delivered since the transfer was created.
    ///
    /// Without a deadline, the descriptors may be blocking. They then block inside the kernel,
    /// which holds the lock of a pipe that no other code can reach. With a deadline, they must be
    /// non-blocking.
    ///
    /// # Errors
    ///
    /// Fails like [`step`](Self::step), and with [`ErrorKind::TimedOut`]. The error carries the
    /// receipt so far. Bytes in flight stay in the transfer, and another call resumes it.
    ///
    /// ```
    /// # use bufferlist::{ErrorKind, Limits, Nonblocking, Sink, Source, Transfer};
    /// # use std::time::{Duration, Instant};
    /// let (read, _write) = std::io::pipe()?;
    /// let file = tempfile::tempfile()?;
    /// let soon = Instant::now() + Duration::from_millis(5);
    /// let mut transfer = Transfer::new(Source::stream(Nonblocking::enter(read)?)?, Sink::file(file, 0)?)
    ///     .limits(Limits::default().deadline(soon));
    /// assert_eq!(transfer.run().unwrap_err().kind(), ErrorKind::TimedOut);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn run(&mut self) -> Result<Receipt> {
        let caller = Caller::of(ApiCall::Transfer);
        let blocking = if self.job.limits.deadline.is_some() {
            Blocking::Never
        } else {
            Blocking::Allowed
        };
        loop {
            let return_count = self.job.pipe_cache.pool().return_count();
            match self
                .advance(blocking, caller, None)
                .map_err(|error| error.with_receipt(self.job.delivered))?
            {
                // Endpoints that are always ready, such as files, are never waited for.
                Progress::Moved if self.is_past_deadline() => {
                    return Err(Error::new(ErrorKind::TimedOut, "transfer").with_receipt(self.job.delivered));
                }
                Progress::Moved => {}
                Progress::End => return Ok(self.job.delivered),
                Progress::Blocked(side) => self
                    .wait(side, return_count)
                    .map_err(|error| error.with_receipt(self.job.delivered))?,
            }
        }
    }

    /// Returns whether the deadline has passed.
    fn is_past_deadline(&self) -> bool {
        self.job
            .limits
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Waits until `side` may be ready. The next step finds out whether it is.
    fn wait(&self, side: Side, return_count: u64) -> Result<()> {
        let left = match self.job.limits.deadline {
            None => None,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::new(ErrorKind::TimedOut, "transfer").at_side(side));
                }
                Some(left)
            }
        };
        let result = match side {
            Side::Source => sys::wait(self.from.as_fd(), sys::Wait::In, left),
            Side::Sink => sys::wait(self.to.as_fd(), sys::Wait::Out, left),
            Side::Pipe => Ok(self
                .job
                .pipe_cache
                .pool()
                .wait_for_return(return_count, self.job.limits.deadline)),
        };
        result
            .map(|_| ())
            .map_err(|errno| Error::from_errno(errno, "wait").at_side(side))
    }

    /// Returns the bytes taken from the source that have not reached the sink.
    ///
    /// ```
    /// # use bufferlist::{Sink, Source, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// let transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?);
    /// assert!(transfer.in_flight().is_empty());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn in_flight(&self) -> &BufferList {
        &self.job.in_flight
    }

    /// Returns the receipt of all bytes delivered to the sink.
    ///
    /// ```
    /// # use bufferlist::{Sink, Source, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// let transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?);
    /// assert_eq!(transfer.receipt().total(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn receipt(&self) -> Receipt {
        self.job.delivered
    }

    /// Returns the copies that the library made.
    ///
    /// ```
    /// # use bufferlist::{Sink, Source, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// let transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?);
    /// transfer.counts().assert_no_copies();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn counts(&self) -> Counts {
        self.job.in_flight.counts()
    }

    /// Returns the endpoints and the bytes in flight between them.
    ///
    /// ```
    /// # use bufferlist::{Sink, Source, Transfer};
    /// # let (from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
    /// let transfer = Transfer::new(Source::file(from, ..)?, Sink::file(to, 0)?);
    /// let (_source, in_flight, _sink) = transfer.into_parts();
    /// assert!(in_flight.is_empty());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_parts(self) -> (Source<S>, BufferList, Sink<D>) {
        let source = Source {
            fd: self.from,
            state: self.job.source,
        };
        let sink = Sink {
            fd: self.to,
            state: self.job.sink,
        };
        (source, self.job.in_flight, sink)
    }
}

/// Moves everything from `source` to `sink`, and blocks while a side is not ready. [`Transfer`]
/// offers limits, and can be resumed after an error.
///
/// # Errors
///
/// Fails like [`Transfer::run`]. Bytes in flight are dropped.
///
/// ```
/// use bufferlist::{Sink, Source, transfer};
/// use std::io::Write;
///
/// let mut from = tempfile::tempfile()?;
/// from.write_all(b"hello")?;
/// let to = tempfile::tempfile()?;
/// let receipt = transfer(Source::file(&from, ..)?, Sink::file(&to, 0)?)?;
/// println!("{} moved, {} copied, {} unknown", receipt.moved(), receipt.copied(), receipt.unknown());
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn transfer<S: AsFd, D: AsFd>(source: Source<S>, sink: Sink<D>) -> Result<Receipt> {
    Transfer::new(source, sink).run()
}

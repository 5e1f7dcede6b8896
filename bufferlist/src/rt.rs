//! Transfers under tokio (feature `tokio`).
//!
//! [`Transfer::drive`] is [`Transfer::run`] as a future. It is cancel safe: the bytes in flight are
//! stored in the transfer, so dropping the future loses nothing, and calling it again resumes the
//! transfer.
//!
//! Endpoints are tokio's own types, which are already registered with its reactor ([`Ready`]).
//! Files are always ready and may still block on the disk, which stops every task of the worker
//! thread. The caller therefore chooses explicitly which thread may block: the current one
//! ([`InlineFile`]), for files that are in the page cache or if nothing else runs on the thread, or
//! a thread for blocking work, by `tokio::task::spawn_blocking(move || transfer.run())`.
//!
//! ```
//! use bufferlist::rt::InlineFile;
//! use bufferlist::{Sink, Source, Transfer};
//! use tokio::net::UnixStream;
//! # use std::io::Write;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
//! # let mut file = tempfile::tempfile()?;
//! # file.write_all(&[7; 50_000])?;
//! let (near, _far) = UnixStream::pair()?;
//! let mut transfer = Transfer::new(Source::file(InlineFile(file), ..)?, Sink::stream(&near)?);
//! let receipt = transfer.drive().await?;
//! assert_eq!(receipt.total(), 50_000);
//! # std::io::Result::Ok(()) })?;
//! # std::io::Result::Ok(())
//! ```

use crate::error::{Error, Result};
use crate::journal::{ApiCall, Caller};
use crate::receipt::Receipt;
use crate::step::Side;
use crate::transfer::{Blocking, Job, Progress, Transfer};
use rustix::fd::{AsFd, BorrowedFd};
use std::fs::File;
use std::future::Future;
use std::io;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream, unix::pipe};

/// Descriptor whose readiness tokio tracks.
///
/// Implemented for tokio's sockets and pipes, for references to them, and for [`InlineFile`].
/// Sealed, because the rules of readiness are tokio's.
pub trait Ready: AsFd + sealed::Sealed {}

impl<T: AsFd + sealed::Sealed> Ready for T {}

/// File whose operations may block on the disk, on the thread that drives the transfer.
///
/// ```
/// # use bufferlist::{Sink, rt::InlineFile};
/// let sink = Sink::file(InlineFile(tempfile::tempfile()?), 0)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct InlineFile(pub File);

impl AsFd for InlineFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

mod sealed {
    use super::{Future, Interest, io};

    /// Methods of tokio's types that tokio offers without a trait.
    pub trait Sealed {
        /// Waits until the descriptor may be ready.
        fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<()>> + Send;

        /// Makes an attempt if the descriptor may be ready.
        ///
        /// If the attempt returns `WouldBlock`, the descriptor is marked as not ready. Readiness
        /// that arrived after the attempt began is kept, so no wakeup is lost.
        fn attempt<T>(&self, interest: Interest, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T>;
    }
}

/// Implements `Sealed` for sockets, all of which have these two methods.
macro_rules! sockets {
    ($($socket:ty),*) => {$(
        impl sealed::Sealed for $socket {
            async fn ready(&self, interest: Interest) -> io::Result<()> {
                self.ready(interest).await.map(|_| ())
            }

            fn attempt<T>(&self, interest: Interest, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
                self.try_io(interest, attempt)
            }
        }
    )*};
}

sockets!(TcpStream, UnixStream);

/// Implements `Sealed` for the ends of a pipe. Each has one interest, so its `try_io` takes none.
macro_rules! pipes {
    ($($pipe:ty),*) => {$(
        impl sealed::Sealed for $pipe {
            async fn ready(&self, interest: Interest) -> io::Result<()> {
                self.ready(interest).await.map(|_| ())
            }

            fn attempt<T>(&self, _: Interest, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
                self.try_io(attempt)
            }
        }
    )*};
}

pipes!(pipe::Receiver, pipe::Sender);

impl sealed::Sealed for InlineFile {
    async fn ready(&self, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn attempt<T>(&self, _: Interest, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        attempt()
    }
}

impl<T: sealed::Sealed + Sync> sealed::Sealed for &T {
    async fn ready(&self, interest: Interest) -> io::Result<()> {
        (**self).ready(interest).await
    }

    fn attempt<R>(&self, interest: Interest, attempt: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        (**self).attempt(interest, attempt)
    }
}

/// Steps without waiting after which the task yields to others: one megabyte in chunks of 64 KiB.
const MAX_STEPS_PER_POLL: u32 = 16;

/// Maps a step that is blocked on `side` to `WouldBlock`, which makes tokio clear the readiness.
fn map_would_block(result: Result<Progress>, side: Side) -> io::Result<Result<Progress>> {
    match result {
        Ok(Progress::Blocked(blocked)) if blocked == side => Err(io::ErrorKind::WouldBlock.into()),
        other => Ok(other),
    }
}

impl<S: Ready + Send + Sync, D: Ready + Send + Sync> Transfer<S, D> {
    /// Moves everything, as [`run`](Self::run) does, but waits through tokio's reactor.
    ///
    /// Returns the receipt of all bytes delivered since the transfer was created. For a deadline,
    /// use `tokio::time::timeout`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Bytes in flight stay in the transfer; calling the method again resumes it.
    ///
    /// # Errors
    ///
    /// Fails like [`run`](Self::run), but never with `TimedOut`. If the pool [waits when it is
    /// empty](crate::Pool::wait_when_empty), the task yields and asks it again until a pipe is
    /// returned.
    ///
    /// ```
    /// # use bufferlist::{Sink, Source, Transfer};
    /// # use tokio::net::UnixStream;
    /// # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
    /// let (client, server) = UnixStream::pair()?;
    /// let (upstream, _) = UnixStream::pair()?;
    /// let mut transfer = Transfer::new(Source::stream(&server)?, Sink::stream(&upstream)?);
    /// tokio::select! {
    ///     done = transfer.drive() => println!("{} bytes", done?.total()),
    ///     () = std::future::ready(()) => {
    ///         let (_, unsent, _) = transfer.into_parts();
    ///         println!("{} bytes were not sent", unsent.len());
    ///     }
    /// }
    /// # drop(client);
    /// # std::io::Result::Ok(()) })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn drive(&mut self) -> impl Future<Output = Result<Receipt>> + Send + '_ {
        let caller = Caller::of(ApiCall::Transfer);
        async move {
            let Self { from, to, job } = self;
            let mut steps: u32 = 0;
            loop {
                let progress = if job.in_flight.is_empty() {
                    let fill = |job: &mut Job| job.fill(from.as_fd(), Blocking::Never, caller);
                    run_when_ready(from, Interest::READABLE, Side::Source, job, fill).await
                } else {
                    let give = |job: &mut Job| job.send(to.as_fd(), Blocking::Never, caller, None);
                    run_when_ready(to, Interest::WRITABLE, Side::Sink, job, give).await
                };
                match progress.map_err(|error| error.with_receipt(job.delivered))? {
                    Progress::End => return Ok(job.delivered),
                    Progress::Blocked(_) => tokio::task::yield_now().await,
                    Progress::Moved => {
                        steps = steps.wrapping_add(1);
                        if steps % MAX_STEPS_PER_POLL == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
        }
    }
}

/// Runs one half of a step as soon as its side is ready.
async fn run_when_ready<F: Ready + Sync>(
    fd: &F,
    interest: Interest,
    side: Side,
    job: &mut Job,
    part: impl Fn(&mut Job) -> Result<Progress>,
) -> Result<Progress> {
    loop {
        // The attempt runs inside tokio's `try_io`: if it finds nothing, only readiness from before
        // the attempt is cleared, so bytes that arrive meanwhile still wake the task.
        let attempt = || map_would_block(part(job), side);
        match fd.attempt(interest, attempt) {
            Ok(progress) => return progress,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Error::from_io(&error, "ask tokio for readiness").at_side(side)),
        }
        let ready = sealed::Sealed::ready(fd, interest).await;
        ready.map_err(|error| Error::from_io(&error, "wait by tokio").at_side(side))?;
    }
}

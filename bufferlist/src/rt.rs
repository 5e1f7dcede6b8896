//! Transfers under tokio (feature `tokio`): the same jobs, waited for without a thread.
//!
//! [`Transfer::drive`] is [`Transfer::run`] as a future. It is cancel safe: the bytes in flight live in the transfer, so
//! dropping the future loses nothing, and calling it again goes on.
//!
//! Ends are tokio's own types, which are registered with its reactor already ([`Ready`]). Files are always ready and may
//! still wait for the disk, which stops every task of the worker thread; who is to wait is therefore said by name: this
//! thread ([`InlineFile`]), for files that are in the page cache or where nothing else runs, or a thread for blocking work, by
//! `tokio::task::spawn_blocking(move || transfer.run())`.
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

/// A descriptor whose readiness tokio knows. Implemented for tokio's sockets and pipes, for references to them, and for
/// [`InlineFile`] files; sealed, since the rules of readiness are tokio's.
pub trait Ready: AsFd + sealed::Sealed {}

impl<T: AsFd + sealed::Sealed> Ready for T {}

/// A file whose operations may wait for the disk on the thread that drives the transfer.
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

    /// What is needed of tokio's types, which have it as methods without a trait.
    pub trait Sealed {
        /// Waits until the descriptor may be ready.
        fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<()>> + Send;

        /// Makes an attempt, if the descriptor may be ready. If the attempt answers `WouldBlock`, it is not: readiness
        /// that came since the attempt began is kept, so no wake-up is lost.
        fn attempt<T>(&self, interest: Interest, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T>;
    }
}

/// The sockets have the same two methods.
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

/// A pipe's end has one interest, so its `try_io` takes none.
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

/// After so many turns without waiting, other tasks of the thread have theirs: a megabyte of 64 KiB chunks.
const MAX_STEPS_PER_POLL: u32 = 16;

/// Tells tokio of a side that is blocked, in its own word.
fn map_would_block(result: Result<Progress>, side: Side) -> io::Result<Result<Progress>> {
    match result {
        Ok(Progress::Blocked(blocked)) if blocked == side => Err(io::ErrorKind::WouldBlock.into()),
        other => Ok(other),
    }
}

impl<S: Ready + Send + Sync, D: Ready + Send + Sync> Transfer<S, D> {
    /// Moves everything, as [`run`](Self::run) does, waiting by tokio's reactor. Returns the receipt of all that has
    /// reached the sink since the transfer was made. For a deadline, use `tokio::time::timeout`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. What is in flight stays in the transfer; calling again goes on.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), except `TimedOut`. A pool that [waits when it is empty](crate::Pool::wait_when_empty) is
    /// asked again and again here, with other tasks in between.
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
                    let take = |job: &mut Job| job.fill(from.as_fd(), Blocking::Never, caller);
                    run_when_ready(from, Interest::READABLE, Side::Source, job, take).await
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

/// Does one part of a turn, as soon as its side is ready.
async fn run_when_ready<F: Ready + Sync>(
    fd: &F,
    interest: Interest,
    side: Side,
    job: &mut Job,
    part: impl Fn(&mut Job) -> Result<Progress>,
) -> Result<Progress> {
    loop {
        // The attempt is made within tokio's: only readiness that was there before it is taken back if it finds nothing,
        // so what arrives meanwhile still wakes us.
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

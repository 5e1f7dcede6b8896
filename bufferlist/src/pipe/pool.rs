//! A bounded stock of pipes.

use super::inventory::{Inventory, Lease, Weighted};
use super::owned_pipe::OwnedPipe;
use crate::fork_generation;
use crate::sys;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// The process's own pool takes at most so many pipes, and at most an eighth of the open files that the process may
/// have (each pipe is two). HAProxy's rule is a quarter for a program that does nothing but move data.
const MAX_PIPES: u64 = 1024;

/// The process's own pool takes at most so many bytes of rings: 16384 pages, which is what an unprivileged user gets
/// before new pipes shrink to two slots (`pipe-user-pages-soft`, pipe(7)).
const MAX_BYTES: u64 = 64 << 20;

/// A new pipe has so many slots (`PIPE_DEF_BUFFERS`, `include/linux/pipe_fs_i.h`), unless the user's quota is used up.
const DEFAULT_SLOTS: u64 = 16;

/// A bounded stock of pipes; a cheap handle, which clones share. `Pool::default()` is the process's own.
///
/// Pipes are made when they are needed, with `O_CLOEXEC | O_NONBLOCK`, and kept for the next who needs one. A pipe is
/// taken back only if it is empty by its own account *and* the kernel agrees; any other is closed. After a fork the child
/// closes the pipes that it inherited and makes its own. Where no pipe is to be had, be it by these bounds, by
/// `RLIMIT_NOFILE`, or by the user's quota of pipe pages (over it a new pipe has two slots, and cannot grow: pipe(7)),
/// bytes are copied through memory instead and the copy is counted ([`Reason::NoPipe`](crate::Reason::NoPipe)): nothing
/// fails, and nothing wait_when_empty unless [told to](Self::wait_when_empty).
///
/// ```
/// use bufferlist::{Pool, Source, Sink, transfer};
///
/// let pool = Pool::new(8, 1 << 20);
/// let file = tempfile::tempfile()?;
/// file.set_len(100_000)?;
/// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
/// transfer(Source::file(&file, ..)?.pool(&pool), Sink::stream(&near)?)?;
/// let stats = pool.stats();
/// assert_eq!((stats.in_use, stats.idle), (0, 1));
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    inventory: Inventory<OwnedPipe>,
    generation: AtomicU32,
    wait_when_empty: AtomicBool,
    /// How often a pipe was given back, for those who wait for one.
    return_count: Mutex<u64>,
    pipe_returned: Condvar,
    created: AtomicU64,
    closed: AtomicU64,
    mismatched: AtomicU64,
    denied: AtomicU64,
}

/// What a pool has and has done.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolStats {
    /// Pipes that wait for use.
    pub idle: usize,
    /// Pipes in use: in lists, or as the spare of a transfer.
    pub in_use: usize,
    /// Bytes that the rings of all of them can hold, in whole pages.
    pub capacity_bytes: u64,
    /// Pipes made since the pool was.
    pub created: u64,
    /// Pipes closed instead of taken back, because something was still in them.
    pub closed: u64,
    /// Pipes closed because the kernel counted other bytes in them than we did. Anything but zero is a defect.
    pub mismatched: u64,
    /// Requests for which there was no pipe.
    pub denied: u64,
}

/// Why there is no pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoPipe {
    /// There is none, and the caller may copy.
    Copy,
    /// There is none, and the pool was told that its users rather wait.
    Wait,
}

impl Weighted for OwnedPipe {
    fn weight(&self) -> u64 {
        self.slots()
    }
}

impl Pool {
    /// A pool of at most `max_pipes` pipes, whose rings hold at most `max_bytes` together.
    ///
    /// ```
    /// let pool = bufferlist::Pool::new(4, 1 << 20);
    /// assert_eq!(pool.stats().created, 0); // created when needed
    /// ```
    pub fn new(max_pipes: usize, max_bytes: u64) -> Self {
        Self(Arc::new(Inner {
            inventory: Inventory::new(max_pipes, max_bytes / sys::page_size() as u64, DEFAULT_SLOTS),
            generation: AtomicU32::new(fork_generation::generation()),
            wait_when_empty: AtomicBool::new(false),
            return_count: Mutex::new(0),
            pipe_returned: Condvar::new(),
            created: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            mismatched: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        }))
    }

    /// Makes its users wait for a pipe rather than copy: [`splice_from`](crate::BufferList::splice_from) then answers
    /// [`Blocked(Side::Pipe)`](crate::Side::Pipe) while all the pipes are in use. For those who would rather be late
    /// than copy. Beware: a list that only takes and never gives wait_when_empty for itself.
    ///
    /// ```
    /// let pool = bufferlist::Pool::new(4, 1 << 20).wait_when_empty();
    /// ```
    #[must_use]
    pub fn wait_when_empty(self) -> Self {
        self.0.wait_when_empty.store(true, Relaxed);
        self
    }

    /// What it has and has done.
    ///
    /// ```
    /// println!("{:?}", bufferlist::Pool::default().stats());
    /// ```
    pub fn stats(&self) -> PoolStats {
        let inner = &*self.0;
        let usage = inner.inventory.usage();
        PoolStats {
            idle: usage.idle,
            in_use: usage.count - usage.idle,
            capacity_bytes: usage.weight * sys::page_size() as u64,
            created: inner.created.load(Relaxed),
            closed: inner.closed.load(Relaxed),
            mismatched: inner.mismatched.load(Relaxed),
            denied: inner.denied.load(Relaxed),
        }
    }

    /// Closes the pipes that wait for use.
    ///
    /// ```
    /// let pool = bufferlist::Pool::new(4, 1 << 20);
    /// pool.clear();
    /// assert_eq!(pool.stats().idle, 0);
    /// ```
    pub fn clear(&self) {
        drop(self.0.inventory.clear());
    }

    /// An empty pipe with `want` slots if they can be had, and `need` at least.
    pub(crate) fn get(&self, want: u64, need: u64) -> Result<PooledPipe, NoPipe> {
        let inner = &*self.0;
        let now = fork_generation::generation();
        if inner.generation.swap(now, Relaxed) != now {
            self.clear();
        }
        let pipe = loop {
            let found = match inner.inventory.lease(want, need) {
                Lease::Idle(pipe) => Some(pipe),
                Lease::Create(reserved) => self.create(want, need, reserved),
                Lease::Exhausted => None,
            };
            // Where the system gives no more, a free one that is smaller than wanted will do.
            match found.or_else(|| inner.inventory.take_idle(need)) {
                // Another thread of a new child has yet to clear the shelf of the parent's pipes.
                Some(parents) if !parents.is_from_this_process() => inner.inventory.removed(parents.slots()),
                found => break found,
            }
        };
        let Some(mut pipe) = pipe else {
            inner.denied.fetch_add(1, Relaxed);
            let usage = inner.inventory.usage();
            // Nobody gives back what nobody has: if not one is out, it is the system that refuses.
            return Err(if inner.wait_when_empty.load(Relaxed) && usage.count > usage.idle {
                NoPipe::Wait
            } else {
                NoPipe::Copy
            });
        };
        self.grow(&mut pipe, want);
        Ok(PooledPipe {
            pipe: Some(pipe),
            pool: self.clone(),
        })
    }

    /// Makes a pipe on a place that the shelf has promised. `None` if the system gives none, or only one that is too small
    /// to work with, since the user's quota is used up: such a one is closed, for to keep it would cost two open files.
    fn create(&self, want: u64, need: u64, reserved: u64) -> Option<OwnedPipe> {
        let Ok(mut pipe) = OwnedPipe::new() else {
            self.0.inventory.creation_failed(reserved);
            return None;
        };
        self.0.inventory.created(reserved, pipe.slots());
        if pipe.slots() < need {
            self.grow(&mut pipe, want);
        }
        if pipe.slots() < need {
            self.0.inventory.creation_failed(pipe.slots());
            return None;
        }
        self.0.created.fetch_add(1, Relaxed);
        Some(pipe)
    }

    /// Gives a pipe that is out `want` slots, if the bounds and the system allow it.
    fn grow(&self, pipe: &mut OwnedPipe, want: u64) {
        let had = pipe.slots();
        let to = want.next_power_of_two();
        if had < want && self.0.inventory.reserve_growth(had, to) {
            pipe.grow(want);
            self.0.inventory.reweigh(to, pipe.slots());
        }
    }

    /// Takes a pipe back, if it is clean.
    fn put(&self, pipe: OwnedPipe) {
        let inner = &*self.0;
        if pipe.is_clean() {
            inner.inventory.put(pipe);
        } else {
            inner.closed.fetch_add(1, Relaxed);
            if pipe.ledger.is_empty()
                && pipe.is_from_this_process()
                && matches!(sys::bytes_readable(pipe.reader()), Ok(1..))
            {
                inner.mismatched.fetch_add(1, Relaxed);
            }
            inner.inventory.removed(pipe.slots());
        }
        if inner.wait_when_empty.load(Relaxed) {
            *inner.return_count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            inner.pipe_returned.notify_all();
        }
    }

    /// How often a pipe was given back: to be asked before a request that may be refused, and handed to
    /// [`wait`](Self::wait) after it. They are counted, and worth a lock, only where users wait.
    pub(crate) fn return_count(&self) -> u64 {
        if !self.0.wait_when_empty.load(Relaxed) {
            return 0;
        }
        *self.0.return_count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a pipe has been given back since `seen` was asked, or the deadline. Says whether one was.
    pub(crate) fn wait_for_return(&self, seen: u64, deadline: Option<Instant>) -> bool {
        let mut returns = self.0.return_count.lock().unwrap_or_else(PoisonError::into_inner);
        while *returns == seen {
            let Some(deadline) = deadline else {
                returns = self
                    .0
                    .pipe_returned
                    .wait(returns)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            returns = self
                .0
                .pipe_returned
                .wait_timeout(returns, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

/// The process's own pool: bounded by the limit on open files at its first use, and by an unprivileged user's quota.
impl Default for Pool {
    fn default() -> Self {
        static OWN: OnceLock<Pool> = OnceLock::new();
        OWN.get_or_init(|| {
            let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            let pipes = (files / 8).clamp(1, MAX_PIPES);
            Self::new(pipes as usize, MAX_BYTES)
        })
        .clone()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.stats()).finish()
    }
}

/// A pipe that goes back to its pool when it is dropped, or is closed there.
#[derive(Debug)]
pub(crate) struct PooledPipe {
    /// `None` only while it is dropped.
    pipe: Option<OwnedPipe>,
    pool: Pool,
}

impl Deref for PooledPipe {
    type Target = OwnedPipe;

    fn deref(&self) -> &OwnedPipe {
        self.pipe.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for PooledPipe {
    fn deref_mut(&mut self) -> &mut OwnedPipe {
        self.pipe.as_mut().expect("there until it is dropped")
    }
}

impl Drop for PooledPipe {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.pool.put(pipe);
        }
    }
}

/// Where an operation gets its pipes from: a pool, or a cache in front of one.
pub(crate) trait PipeProvider {
    /// Returns an empty pipe with `want` slots if they are available, and with `need` slots at least.
    fn provide(&mut self, want: u64, need: u64) -> Result<PooledPipe, NoPipe>;

    /// Returns the pool that the pipes come from.
    fn pool(&self) -> &Pool;
}

impl PipeProvider for &Pool {
    fn provide(&mut self, want: u64, need: u64) -> Result<PooledPipe, NoPipe> {
        self.get(want, need)
    }

    fn pool(&self) -> &Pool {
        self
    }
}

/// What a failed request for a pipe means as an errno, where only an error will do.
impl From<NoPipe> for Errno {
    fn from(_: NoPipe) -> Self {
        Self::MFILE
    }
}

//! A bounded pool of pipes.

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

/// Bound of the process's own pool on pipes. The pool also uses at most an eighth of the process's
/// limit on open files (each pipe is two). HAProxy's rule is a quarter, for a program that does
/// nothing but move data.
const MAX_PIPES: u64 = 1024;

/// Bound of the process's own pool on the bytes of its rings: 16384 pages, which is what an
/// unprivileged user gets before new pipes shrink to two slots (`pipe-user-pages-soft`, pipe(7)).
const MAX_BYTES: u64 = 64 << 20;

/// Slots of a new pipe (`include/linux/pipe_fs_i.h`: `PIPE_DEF_BUFFERS`), unless the user's quota
/// is used up.
const DEFAULT_SLOTS: u64 = 16;

/// Bounded pool of pipes. Clones are cheap and share the pool. `Pool::default()` is the process's
/// own.
///
/// Pipes are created on demand, with `O_CLOEXEC | O_NONBLOCK`, and kept for reuse. A pipe is kept
/// only if it is empty by its own ledger *and* the kernel agrees; any other pipe is closed. After a
/// fork, the child closes the pipes that it inherited and creates its own.
///
/// A pipe may be unavailable because of the pool's bounds, `RLIMIT_NOFILE`, or the user's quota of
/// pipe pages (above it, a new pipe has two slots and cannot grow: pipe(7)). Bytes are then copied
/// through memory and the copy is counted ([`Reason::NoPipe`](crate::Reason::NoPipe)). Nothing
/// fails, and nothing waits unless [configured to](Self::wait_when_empty).
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
    /// Number of times a pipe was returned, for threads that wait for one.
    return_count: Mutex<u64>,
    pipe_returned: Condvar,
    created: AtomicU64,
    closed: AtomicU64,
    mismatched: AtomicU64,
    denied: AtomicU64,
}

/// Statistics of a pool.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolStats {
    /// Pipes ready for use.
    pub idle: usize,
    /// Pipes in use: in lists, or as the spare of a transfer.
    pub in_use: usize,
    /// Bytes that the rings of all pipes can hold, in whole pages.
    pub capacity_bytes: u64,
    /// Pipes created since the pool was.
    pub created: u64,
    /// Pipes closed instead of kept, because they were not empty.
    pub closed: u64,
    /// Pipes closed because the kernel counted other bytes in them than the ledger did. Any value
    /// but zero is a defect.
    pub mismatched: u64,
    /// Requests that no pipe was available for.
    pub denied: u64,
}

/// Reaction to the lack of a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoPipe {
    /// The caller may copy.
    Copy,
    /// The caller must wait, because the pool is configured to.
    Wait,
}

impl Weighted for OwnedPipe {
    fn weight(&self) -> u64 {
        self.slots()
    }
}

impl Pool {
    /// Creates a pool of at most `max_pipes` pipes, whose rings hold at most `max_bytes` together.
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

    /// Makes users wait for a pipe rather than copy.
    ///
    /// While all pipes are in use, [`splice_from`](crate::BufferList::splice_from) returns
    /// [`Blocked(Side::Pipe)`](crate::Side::Pipe). For programs that prefer a delay to a copy. A
    /// list that is only filled and never sent waits for itself forever.
    ///
    /// ```
    /// let pool = bufferlist::Pool::new(4, 1 << 20).wait_when_empty();
    /// ```
    #[must_use]
    pub fn wait_when_empty(self) -> Self {
        self.0.wait_when_empty.store(true, Relaxed);
        self
    }

    /// Returns the statistics.
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

    /// Closes all idle pipes.
    ///
    /// ```
    /// let pool = bufferlist::Pool::new(4, 1 << 20);
    /// pool.clear();
    /// assert_eq!(pool.stats().idle, 0);
    /// ```
    pub fn clear(&self) {
        drop(self.0.inventory.clear());
    }

    /// Returns an empty pipe with `want` slots if available, and with `need` slots at least.
    pub(crate) fn get(&self, want: u64, need: u64) -> Result<PooledPipe, NoPipe> {
        let inner = &*self.0;
        let now = fork_generation::generation();
        if inner.generation.swap(now, Relaxed) != now {
            self.clear();
        }
        let pipe = loop {
            let pipe = match inner.inventory.lease(want, need) {
                Lease::Idle(pipe) => Some(pipe),
                Lease::Create(reserved) => self.create(want, need, reserved),
                Lease::Exhausted => None,
            };
            // If the system creates no more pipes, an idle one smaller than wanted is used.
            match pipe.or_else(|| inner.inventory.take_idle(need)) {
                // In a new child, another thread has not yet cleared the inventory of the parent's
                // pipes.
                Some(parents) if !parents.is_from_this_process() => inner.inventory.removed(parents.slots()),
                pipe => break pipe,
            }
        };
        let Some(mut pipe) = pipe else {
            inner.denied.fetch_add(1, Relaxed);
            let usage = inner.inventory.usage();
            // If no pipe is in use, none can be returned: the system refuses to create one.
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

    /// Creates a pipe whose weight the inventory has reserved.
    ///
    /// Returns `None` if the system creates none, or only one below `need` slots because the user's
    /// quota is used up. Such a pipe is closed, because keeping it would cost two descriptors.
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

    /// Grows a pipe in use to `want` slots, if the bounds and the system allow it.
    fn grow(&self, pipe: &mut OwnedPipe, want: u64) {
        let had = pipe.slots();
        let to = want.next_power_of_two();
        if had < want && self.0.inventory.reserve_growth(had, to) {
            pipe.grow(want);
            self.0.inventory.reweigh(to, pipe.slots());
        }
    }

    /// Takes a pipe back if it is clean, and closes it otherwise.
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

    /// Returns how often a pipe was returned, for [`wait_for_return`](Self::wait_for_return). To be
    /// read before a request that may be refused. Returns are counted, which takes a lock, only if
    /// users wait.
    pub(crate) fn return_count(&self) -> u64 {
        if !self.0.wait_when_empty.load(Relaxed) {
            return 0;
        }
        *self.0.return_count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a pipe has been returned since `seen` was read, or until the deadline. Returns
    /// whether one was.
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

/// The process's own pool, bounded by the limit on open files at its first use and by an
/// unprivileged user's quota.
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

/// Pipe that returns to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct PooledPipe {
    /// `None` only during drop.
    pipe: Option<OwnedPipe>,
    pool: Pool,
}

impl Deref for PooledPipe {
    type Target = OwnedPipe;

    fn deref(&self) -> &OwnedPipe {
        self.pipe.as_ref().expect("present until drop")
    }
}

impl DerefMut for PooledPipe {
    fn deref_mut(&mut self) -> &mut OwnedPipe {
        self.pipe.as_mut().expect("present until drop")
    }
}

impl Drop for PooledPipe {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.pool.put(pipe);
        }
    }
}

/// Provider of pipes: a pool, or a cache in front of one.
pub(crate) trait PipeProvider {
    /// Returns an empty pipe with `want` slots if available, and with `need` slots at least.
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

/// The error number for a missing pipe, where only an error is possible.
impl From<NoPipe> for Errno {
    fn from(_: NoPipe) -> Self {
        Self::MFILE
    }
}

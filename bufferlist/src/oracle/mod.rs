//! The mutation oracle: did the pages make it from A to B, or was it a copy?
//!
//! Put a canary page into a source, move it to a destination, change the source, and look at the destination. If it shows
//! the change, both are one page; if it does not, the bytes were copied on the way, or fetched by a device. No privileges,
//! no probes: the data itself answers. The oracle answers for *kinds* of ends on this kernel and boot, and for files for
//! the filesystem that it was asked in; whether each page of a real transfer went that way, only tracing in the kernel can prove.
//!
//! Two limits of the method, which receipts share. What a peer *wrote* cannot be changed afterwards, so a socket as source
//! is tried with pages that the peer spliced: of UNIX sockets, which copy what was written, receipts therefore say nothing;
//! of TCP sockets they speak as if the payload were in fragments, as current kernels have it. And a device that fetches
//! pages cannot be told from a copy: direct I/O is unknown.
//!
//! [`Receipt`](crate::Receipt)s ask it by themselves. It makes files in the directory for temporary files, sockets on
//! loopback and a few pipes, and leaves nothing behind.
//!
//! ```
//! use bufferlist::EndpointKind;
//! use bufferlist::oracle::{Verdict, probe};
//!
//! // Pages of a file reach the peer of a socket as they are; a buffered file keeps its own copy.
//! assert_eq!(probe(EndpointKind::Tmpfs, EndpointKind::Tcp)?, Verdict::Shared);
//! assert_eq!(probe(EndpointKind::Tmpfs, EndpointKind::Tmpfs)?, Verdict::Private);
//! # std::io::Result::Ok(())
//! ```

mod canary;
mod experiment;
mod matrix;

pub use matrix::{Matrix, SinkColumn};

use crate::endpoint::kind::{Endpoint, EndpointKind, LOCAL_HOST, TMPFS};
use crate::error::{Error, ErrorKind, Result};
use crate::reason::Reason;
use experiment::{Destination, Experiment, Hop};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What the oracle says of a pair of ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Source and destination are one page: whoever changes the one changes the other.
    Shared,
    /// They are not: the bytes were copied, or a device fetched them.
    Private,
}

impl Verdict {
    /// The word for tables.
    ///
    /// ```
    /// assert_eq!(bufferlist::oracle::Verdict::Shared.name(), "shared");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
        }
    }
}

/// What a receipt may say of bytes that were spliced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    Moved,
    Copied(Reason),
    Unknown(Reason),
}

/// An answer, or that there was none when so many directories were known: a further one may bring it.
#[derive(Clone, Copy)]
enum CachedAnswer {
    Known(Verdict),
    UnknownAmong(usize),
}

/// What was found out on this boot, and the directories in which files were tried.
#[derive(Default)]
struct Cache {
    verdicts: HashMap<(Endpoint, Endpoint), CachedAnswer>,
    /// Filesystems, as [`End::place`] names them, and a directory of each.
    directories: HashMap<u64, PathBuf>,
}

fn cache() -> MutexGuard<'static, Cache> {
    static CACHE: OnceLock<Mutex<Cache>> = OnceLock::new();
    CACHE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Asks about a pair of ends, with files in the directory for temporary files.
///
/// # Errors
///
/// As [`probe_in`].
///
/// ```
/// # use bufferlist::{EndpointKind, oracle::{Verdict, probe}};
/// assert_eq!(probe(EndpointKind::Memory, EndpointKind::Unix)?, Verdict::Shared);
/// # std::io::Result::Ok(())
/// ```
pub fn probe(from: EndpointKind, to: EndpointKind) -> Result<Verdict> {
    probe_in(std::env::temp_dir(), from, to)
}

/// Asks about a pair of ends, with files in `dir`: what is found is true of its filesystem.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for a pair that cannot be asked about (nothing can be seen in `/dev/null`), the kernel's
/// error if it refuses a step on the way, [`ErrorKind::Io`] if the answer was mixed.
///
/// ```
/// # use bufferlist::{EndpointKind, oracle::probe_in};
/// let verdict = probe_in(std::env::temp_dir(), EndpointKind::File, EndpointKind::Tcp)?;
/// println!("file to TCP: {}", verdict.name());
/// # std::io::Result::Ok(())
/// ```
pub fn probe_in(dir: impl AsRef<Path>, from: EndpointKind, to: EndpointKind) -> Result<Verdict> {
    probe_path(dir, &[from, to])
}

/// Asks about a whole path, from its first end through sockets and pipes to its last, with files in `dir`.
///
/// # Errors
///
/// As [`probe_in`]; a path has at least two ends, and only pipes and sockets between them.
///
/// ```
/// # use bufferlist::{EndpointKind::{Pipe, Tcp, Tmpfs, Unix}, oracle::{Verdict, probe_path}};
/// let verdict = probe_path(std::env::temp_dir(), &[Tmpfs, Tcp, Pipe, Unix])?;
/// assert_eq!(verdict, Verdict::Shared);
/// # std::io::Result::Ok(())
/// ```
pub fn probe_path(dir: impl AsRef<Path>, path: &[EndpointKind]) -> Result<Verdict> {
    let dir = dir.as_ref();
    let [from, between @ .., to] = path else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "ask the oracle about a path without two ends",
        ));
    };
    let hops = between
        .iter()
        .map(|&end| Hop::through(end))
        .collect::<Result<Vec<_>>>()?;
    let verdict = Experiment {
        from: *from,
        from_dir: dir,
        hops: &hops,
        to: Destination::of(*to)?,
        to_dir: dir,
    }
    .run()?;
    // A path of two ends is a pair, which receipts will want to know.
    if hops.is_empty() {
        if let Some((from, to)) = canary::filesystem_of(dir)
            .ok()
            .map(|place| (local_endpoint(*from, place), local_endpoint(*to, place)))
        {
            let mut cache = cache();
            cache.directories.insert(
                if from.kind == EndpointKind::File {
                    from.domain
                } else {
                    to.domain
                },
                dir.to_path_buf(),
            );
            cache.verdicts.insert((from, to), CachedAnswer::Known(verdict));
        }
    }
    Ok(verdict)
}

/// The end of a kind that the oracle tries: on this host, in a filesystem.
fn local_endpoint(kind: EndpointKind, filesystem: u64) -> Endpoint {
    let place = match kind {
        EndpointKind::File | EndpointKind::DirectFile => filesystem,
        EndpointKind::Tmpfs => TMPFS,
        _ => LOCAL_HOST,
    };
    // In a directory of tmpfs a file is what memfds are.
    let kind = if kind == EndpointKind::File && place == TMPFS {
        EndpointKind::Tmpfs
    } else {
        kind
    };
    Endpoint { kind, domain: place }
}

/// What is known of a pair, or can be found out: `None` if it cannot.
fn verdict_for(from: Endpoint, to: Endpoint) -> Option<Verdict> {
    let mut cache = cache();
    match cache.verdicts.get(&(from, to)) {
        Some(&CachedAnswer::Known(verdict)) => return Some(verdict),
        Some(&CachedAnswer::UnknownAmong(directories)) if directories == cache.directories.len() => return None,
        _ => {}
    }
    let verdict = run_experiment(&mut cache, from, to);
    let answer = verdict.map_or(CachedAnswer::UnknownAmong(cache.directories.len()), CachedAnswer::Known);
    cache.verdicts.insert((from, to), answer);
    verdict
}

/// Tries a pair out, if there is a directory of each filesystem that it names.
fn run_experiment(cache: &mut Cache, from: Endpoint, to: Endpoint) -> Option<Verdict> {
    let temporary = std::env::temp_dir();
    let mut dir = |end: Endpoint| -> Option<PathBuf> {
        if !matches!(end.kind, EndpointKind::File | EndpointKind::DirectFile) {
            return Some(temporary.clone());
        }
        if let Some(dir) = cache.directories.get(&end.domain) {
            return Some(dir.clone());
        }
        let place = canary::filesystem_of(&temporary).ok()?;
        cache.directories.insert(place, temporary.clone());
        (place == end.domain).then(|| temporary.clone())
    };
    let (from_dir, to_dir) = (dir(from)?, dir(to)?);
    let to_sink = Destination::of(to.kind).ok()?;
    Experiment {
        from: from.kind,
        from_dir: &from_dir,
        hops: &[],
        to: to_sink,
        to_dir: &to_dir,
    }
    .run()
    .ok()
}

/// What may be said of bytes that were spliced from one end to another. *moved* needs a shared page, *copied* a private
/// one and no device that could have fetched it; the rest is unknown, with the reason.
pub(crate) fn finding(from: Endpoint, to: Endpoint) -> Finding {
    use EndpointKind::{DirectFile, File, Tmpfs, Unix};
    // A sink that copies what no device touched on the way copies whatever it is given.
    if matches!(to.kind, File | Tmpfs) {
        let memory = Endpoint {
            kind: Tmpfs,
            domain: TMPFS,
        };
        return match verdict_for(memory, to) {
            Some(Verdict::Private) => Finding::Copied(Reason::PageCacheSink),
            _ => Finding::Unknown(Reason::NotShown),
        };
    }
    if from.kind == DirectFile || to.kind == DirectFile {
        return Finding::Unknown(Reason::DirectDevice);
    }
    if from.kind == Unix {
        return Finding::Unknown(Reason::PeerDependent);
    }
    let is_remote = |end: Endpoint| end.kind.is_socket() && end.domain != LOCAL_HOST;
    if is_remote(from) || is_remote(to) {
        return Finding::Unknown(Reason::BeyondThisHost);
    }
    match verdict_for(from, to) {
        Some(Verdict::Shared) => Finding::Moved,
        Some(Verdict::Private) => Finding::Copied(Reason::KernelCopies),
        None => Finding::Unknown(Reason::NotShown),
    }
}

//! The mutation oracle, which determines by experiment whether two endpoints share pages.
//!
//! The experiment puts a canary page into a source, moves it to a destination, modifies the source,
//! and reads the destination. If the destination shows the modification, both are the same page. If
//! it does not, the bytes were copied, or a device fetched them. The oracle needs no privileges and
//! no probes. Its verdicts hold for *kinds* of endpoints on this kernel and boot, and for files
//! also only for the filesystem that the experiment ran in. Only tracing in the kernel can prove
//! that each page of a real transfer was moved.
//!
//! The method has two limits, which receipts share:
//!
//! * Bytes that a peer *wrote* cannot be modified afterwards, so sockets are tested as sources with
//!   pages that the peer spliced. UNIX sockets copy what was written, so receipts report bytes from
//!   them as unknown. For TCP sockets, receipts assume that the payload is in fragments, as in
//!   current kernels.
//! * A device that fetches pages cannot be distinguished from a copy, so direct I/O is unknown.
//!
//! [`Receipt`](crate::Receipt)s run the oracle when they are read. It creates files in the
//! directory for temporary files, sockets on loopback and a few pipes, and leaves nothing behind.
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

/// Verdict for a pair of endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Source and destination are the same page: a change of one changes the other.
    Shared,
    /// Source and destination are different pages: the bytes were copied, or a device fetched them.
    Private,
}

impl Verdict {
    /// Returns the word for tables.
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

/// Conclusion that a receipt may draw about spliced bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    Moved,
    Copied(Reason),
    Unknown(Reason),
}

/// Result of an earlier request for a verdict. A failed one stores the number of directories known
/// then, because another directory may make the experiment possible.
#[derive(Clone, Copy)]
enum CachedAnswer {
    Known(Verdict),
    UnknownAmong(usize),
}

/// Verdicts on this boot, and the directories that experiments ran in.
#[derive(Default)]
struct Cache {
    verdicts: HashMap<(Endpoint, Endpoint), CachedAnswer>,
    /// A directory of each filesystem, by [`Endpoint::domain`].
    directories: HashMap<u64, PathBuf>,
}

fn cache() -> MutexGuard<'static, Cache> {
    static CACHE: OnceLock<Mutex<Cache>> = OnceLock::new();
    CACHE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Runs the experiment for a pair of endpoints, with files in the directory for temporary files.
///
/// # Errors
///
/// Fails like [`probe_in`].
///
/// ```
/// # use bufferlist::{EndpointKind, oracle::{Verdict, probe}};
/// assert_eq!(probe(EndpointKind::Memory, EndpointKind::Unix)?, Verdict::Shared);
/// # std::io::Result::Ok(())
/// ```
pub fn probe(from: EndpointKind, to: EndpointKind) -> Result<Verdict> {
    probe_in(std::env::temp_dir(), from, to)
}

/// Runs the experiment for a pair of endpoints, with files in `dir`. The verdict is valid for the
/// filesystem of `dir`.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for a pair without an experiment (nothing can be read back from
/// `/dev/null`), the kernel's error if a system call fails, [`ErrorKind::Io`] if the page was
/// modified only in part.
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

/// Runs the experiment for a whole path, from its first endpoint through sockets and pipes to its
/// last, with files in `dir`.
///
/// # Errors
///
/// Fails like [`probe_in`], and with `InvalidInput` unless the path has at least two endpoints,
/// with only pipes and sockets between the first and the last.
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
            "run an experiment for a path with fewer than two endpoints",
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
    // A path of two endpoints is a pair, which receipts may ask for.
    if hops.is_empty() {
        if let Some((from, to)) = canary::filesystem_of(dir)
            .ok()
            .map(|domain| (local_endpoint(*from, domain), local_endpoint(*to, domain)))
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

/// Returns the endpoint of a kind that experiments use: on this host, in a filesystem.
fn local_endpoint(kind: EndpointKind, filesystem: u64) -> Endpoint {
    let domain = match kind {
        EndpointKind::File | EndpointKind::DirectFile => filesystem,
        EndpointKind::Tmpfs => TMPFS,
        _ => LOCAL_HOST,
    };
    // In a directory on tmpfs, a file is of the same kind as a memfd.
    let kind = if kind == EndpointKind::File && domain == TMPFS {
        EndpointKind::Tmpfs
    } else {
        kind
    };
    Endpoint { kind, domain }
}

/// Returns the verdict for a pair, running the experiment if needed. `None` if the experiment
/// fails.
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

/// Runs the experiment for a pair, if a directory of each of its filesystems is known.
fn run_experiment(cache: &mut Cache, from: Endpoint, to: Endpoint) -> Option<Verdict> {
    let temporary = std::env::temp_dir();
    let mut dir = |end: Endpoint| -> Option<PathBuf> {
        if !matches!(end.kind, EndpointKind::File | EndpointKind::DirectFile) {
            return Some(temporary.clone());
        }
        if let Some(dir) = cache.directories.get(&end.domain) {
            return Some(dir.clone());
        }
        let domain = canary::filesystem_of(&temporary).ok()?;
        cache.directories.insert(domain, temporary.clone());
        (domain == end.domain).then(|| temporary.clone())
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

/// Returns the conclusion about bytes that were spliced from one endpoint to another.
///
/// *Moved* requires a shared page. *Copied* requires a private page and no device that could have
/// fetched it. Anything else is unknown, with a reason.
pub(crate) fn finding(from: Endpoint, to: Endpoint) -> Finding {
    use EndpointKind::{DirectFile, File, Tmpfs, Unix};
    // A sink that copies pages which no device touched on the way copies all pages.
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

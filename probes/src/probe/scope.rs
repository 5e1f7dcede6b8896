//! Whom to trace.

use std::ffi::CStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zctrace_records::announcement;

/// Whom to trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ScopeFilter {
    /// Processes that are [followed](super::Probes::follow), with what they start.
    #[default]
    Processes,
    /// A cgroup (version 2) and those below it.
    Cgroup {
        /// Its number: that of its folder's inode.
        id: u64,
        /// How deep it is: the root has 0.
        level: u32,
    },
    /// All but this process.
    Machine,
}

/// Where the hierarchy of cgroups is mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

impl ScopeFilter {
    /// The cgroup of a folder below `/sys/fs/cgroup`.
    ///
    /// # Errors
    ///
    /// If there is no such folder, or if it is not of that hierarchy.
    pub fn cgroup(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().canonicalize()?;
        let Ok(below) = path.strip_prefix(CGROUPS) else {
            let why = format!("{} is not below {CGROUPS}", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        Ok(Self::Cgroup {
            id: path.metadata()?.ino(),
            level: below.components().count() as u32,
        })
    }

    /// What the programs call it: mode, cgroup and level.
    pub(super) const fn globals(self) -> (u32, u64, u32) {
        match self {
            Self::Processes => (0, 0, 0),
            Self::Cgroup { id, level } => (1, id, level),
            Self::Machine => (2, 0, 0),
        }
    }
}

/// Makes this process traced by whoever loaded programs with this cookie, in whatever PID namespace either is.
///
/// The calling thread has another name for a moment. It allocates nothing and takes no lock, so it may be called between
/// fork and exec.
pub fn announce(cookie: u64) {
    let own = rustix::thread::name();
    let name = announcement(cookie);
    // A name of 15 characters and a zero cannot be refused.
    if let Ok(name) = CStr::from_bytes_until_nul(&name) {
        let _ = rustix::thread::set_name(name);
    }
    if let Ok(own) = own {
        let _ = rustix::thread::set_name(&own);
    }
}

//! Selection of the traced processes.

use std::ffi::CStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zctrace_records::announcement;

/// Selection of the traced processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ScopeFilter {
    /// Processes that are [followed](super::Probes::follow), with their descendants.
    #[default]
    Processes,
    /// A cgroup (version 2) and its descendants.
    Cgroup {
        /// ID of the cgroup, which is the inode number of its directory.
        id: u64,
        /// Depth in the hierarchy; the root has 0.
        level: u32,
    },
    /// Every process except this one.
    Machine,
}

/// Mount point of the cgroup hierarchy.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

impl ScopeFilter {
    /// Selects the cgroup of a directory below `/sys/fs/cgroup`.
    ///
    /// # Errors
    ///
    /// If the directory does not exist, or is outside that hierarchy.
    pub fn cgroup(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().canonicalize()?;
        let Ok(below) = path.strip_prefix(CGROUP_ROOT) else {
            let why = format!("{} is not below {CGROUP_ROOT}", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        Ok(Self::Cgroup {
            id: path.metadata()?.ino(),
            level: below.components().count() as u32,
        })
    }

    /// Returns the values of the programs' globals: mode, cgroup ID, cgroup level.
    pub(super) const fn globals(self) -> (u32, u64, u32) {
        match self {
            Self::Processes => (0, 0, 0),
            Self::Cgroup { id, level } => (1, id, level),
            Self::Machine => (2, 0, 0),
        }
    }
}

/// Makes the tracer whose cookie this is trace the calling process, whatever PID namespaces both
/// are in.
///
/// The calling thread has another name for a moment. The function neither allocates nor locks, so
/// it may be called between fork and exec.
pub fn announce(cookie: u64) {
    let own = rustix::thread::name();
    let name = announcement(cookie);
    // Setting a name of 15 characters and a NUL cannot fail.
    if let Ok(name) = CStr::from_bytes_until_nul(&name) {
        let _ = rustix::thread::set_name(name);
    }
    if let Ok(own) = own {
        let _ = rustix::thread::set_name(&own);
    }
}

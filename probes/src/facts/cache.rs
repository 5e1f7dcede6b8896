//! Cache of selftest results and of the measured overhead. An entry is valid for one boot, one
//! kernel and one eBPF object.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::results::SelftestResults;
use crate::probe::object_id;

/// Conditions under which cached results are valid.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CacheKey {
    /// Version of the trials.
    pub trials: u32,
    /// ID of the boot.
    pub boot: String,
    /// Release and version of the kernel.
    pub kernel: String,
    /// Identifier of the eBPF object.
    pub object: String,
}

/// Version of the trials. Increment it when they change, because other trials prove other things.
const TRIALS_VERSION: u32 = 2;

impl CacheKey {
    /// Returns the current conditions; `None` if the boot has no ID, so that nothing can be cached.
    pub fn current() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uname = rustix::system::uname();
        Some(Self {
            trials: TRIALS_VERSION,
            boot: boot.trim().to_owned(),
            kernel: format!(
                "{} {}",
                uname.release().to_string_lossy(),
                uname.version().to_string_lossy()
            ),
            object: object_id(),
        })
    }
}

/// Cache directory of root: readable by all users, writable only by root.
const SHARED_DIR: &str = "/var/cache/zctrace";
const RESULTS_FILE: &str = "selftest.json";
/// File with the measured overhead.
const OVERHEAD_FILE: &str = "tax.json";

/// Returns the cache directory of the current user.
fn user_dir(root: bool, cache: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    // Root must not trust results that another user can write.
    if root {
        return Some(PathBuf::from(SHARED_DIR));
    }
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let cache = cache.and_then(absolute);
    Some(
        cache
            .or_else(|| Some(home.and_then(absolute)?.join(".cache")))?
            .join("zctrace"),
    )
}

fn current_user_dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    user_dir(
        rustix::process::geteuid().is_root(),
        variable("XDG_CACHE_HOME"),
        variable("HOME"),
    )
}

/// Results of the last selftest in this process, for users without a writable cache directory.
static IN_PROCESS: Mutex<Option<SelftestResults>> = Mutex::new(None);

fn in_process() -> MutexGuard<'static, Option<SelftestResults>> {
    IN_PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Results of the last selftest with a BTF file, and its path. They are never written to disk,
/// because the file can change.
static IN_PROCESS_WITH_BTF: Mutex<Option<(PathBuf, SelftestResults)>> = Mutex::new(None);

/// Loads the results of the last selftest with this BTF file, if it ran in this process; with
/// `None`, those of [`load`].
pub fn load_for_btf(btf: Option<&Path>) -> Option<SelftestResults> {
    let Some(btf) = btf else { return load() };
    let in_process = IN_PROCESS_WITH_BTF.lock().unwrap_or_else(PoisonError::into_inner);
    in_process
        .as_ref()
        .filter(|(file, _)| file == btf)
        .map(|(_, results)| results.clone())
}

/// Stores the results of a selftest with a BTF file, for this process.
pub(crate) fn store_for_btf(btf: &Path, results: &SelftestResults) {
    *IN_PROCESS_WITH_BTF.lock().unwrap_or_else(PoisonError::into_inner) = Some((btf.to_owned(), results.clone()));
}

/// Loads the results of the last valid selftest: of this process, of this user, or of root.
pub fn load() -> Option<SelftestResults> {
    if let Some(results) = in_process().clone() {
        return Some(results);
    }
    let key = CacheKey::current()?;
    let shared = Path::new(SHARED_DIR);
    current_user_dir()
        .and_then(|dir| read_results(&dir, &key))
        .or_else(|| read_results(shared, &key))
}

/// Loads the overhead that attached probes add to each system call on this machine, in nanoseconds,
/// as this user or root measured it under the current conditions.
pub fn load_syscall_overhead() -> Option<f64> {
    let key = CacheKey::current()?;
    let shared = Path::new(SHARED_DIR);
    let of = |dir: &Path| read_overhead(dir, &key);
    current_user_dir().and_then(|dir| of(&dir)).or_else(|| of(shared))
}

/// Stores the measured overhead for later reports. A negative value is noise and counts as 0.
///
/// # Errors
///
/// If the file cannot be written. Reports then omit the overhead.
pub fn store_syscall_overhead(ns: f64) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let key = CacheKey::current().ok_or_else(missing)?;
    let per_syscall_ns = ns.max(0.0);
    write_json(
        &current_user_dir().ok_or_else(missing)?,
        OVERHEAD_FILE,
        &SyscallOverhead { key, per_syscall_ns },
    )
}

/// Content of the overhead file.
#[derive(Serialize, Deserialize)]
struct SyscallOverhead {
    key: CacheKey,
    per_syscall_ns: f64,
}

fn read_overhead(dir: &Path, key: &CacheKey) -> Option<f64> {
    let text = std::fs::read_to_string(dir.join(OVERHEAD_FILE)).ok()?;
    let overhead: SyscallOverhead = serde_json::from_str(&text).ok()?;
    let is_time = overhead.per_syscall_ns.is_finite() && overhead.per_syscall_ns >= 0.0;
    (overhead.key == *key && is_time).then_some(overhead.per_syscall_ns)
}

/// Stores the results in memory and on disk. An error is harmless, because the next process repeats
/// the selftest.
pub(crate) fn store(results: &SelftestResults) -> io::Result<()> {
    *in_process() = Some(results.clone());
    write_json(
        &current_user_dir().ok_or(io::ErrorKind::NotFound)?,
        RESULTS_FILE,
        results,
    )
}

fn read_results(dir: &Path, key: &CacheKey) -> Option<SelftestResults> {
    let text = std::fs::read_to_string(dir.join(RESULTS_FILE)).ok()?;
    let results: SelftestResults = serde_json::from_str(&text).ok()?;
    (results.key == *key).then_some(results)
}

fn write_json(dir: &Path, name: &str, what: &impl Serialize) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    let text = serde_json::to_string(what)?;
    // Rename a complete file into place, so that a concurrent reader sees either all of the old or
    // all of the new content.
    let new = dir.join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&new, text + "\n")?;
    std::fs::rename(&new, dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(key: &CacheKey) -> SelftestResults {
        SelftestResults {
            key: key.clone(),
            made_unix_ms: 1,
            took_ms: 2,
            dir: "/tmp".to_owned(),
            trials: Vec::new(),
        }
    }

    #[test]
    fn results_of_another_boot_kernel_object_or_version_are_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("of/its/own");
        let key = CacheKey {
            trials: 1,
            boot: "a".to_owned(),
            kernel: "b".to_owned(),
            object: "c".to_owned(),
        };
        assert_eq!(read_results(&dir, &key), None, "nothing yet");
        write_json(&dir, RESULTS_FILE, &results(&key)).unwrap();
        assert_eq!(read_results(&dir, &key), Some(results(&key)));
        let other = || "other".to_owned();
        for key in [
            CacheKey {
                trials: 2,
                ..key.clone()
            },
            CacheKey {
                boot: other(),
                ..key.clone()
            },
            CacheKey {
                kernel: other(),
                ..key.clone()
            },
            CacheKey {
                object: other(),
                ..key.clone()
            },
        ] {
            assert_eq!(read_results(&dir, &key), None, "{key:?}");
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn overhead_is_that_of_this_boot_and_not_negative() {
        let dir = tempfile::tempdir().unwrap();
        let key = CacheKey::default();
        let written = |key: &CacheKey, per_syscall_ns| {
            let key = key.clone();
            write_json(dir.path(), OVERHEAD_FILE, &SyscallOverhead { key, per_syscall_ns }).unwrap();
            read_overhead(dir.path(), &CacheKey::default())
        };
        assert_eq!(read_overhead(dir.path(), &key), None, "nothing yet");
        assert_eq!(written(&key, 27.5), Some(27.5));
        assert_eq!(written(&key, -1.0), None);
        let other = CacheKey {
            boot: "other".to_owned(),
            ..CacheKey::default()
        };
        assert_eq!(written(&other, 27.5), None);
        std::fs::write(dir.path().join(OVERHEAD_FILE), "{}").unwrap();
        assert_eq!(read_overhead(dir.path(), &key), None);
    }

    #[test]
    fn damaged_cache_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"key\": 1}", "[]"] {
            std::fs::write(dir.path().join(RESULTS_FILE), text).unwrap();
            assert_eq!(read_results(dir.path(), &CacheKey::default()), None, "{text}");
        }
    }

    #[test]
    fn each_user_has_a_cache_and_root_trusts_only_its_own() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(user_dir(false, path("/c"), path("/h")), path("/c/zctrace"));
        assert_eq!(user_dir(false, path("c"), path("/h")), path("/h/.cache/zctrace"));
        assert_eq!(user_dir(false, None, None), None);
        assert_eq!(user_dir(true, path("/c"), path("/h")), path(SHARED_DIR));
    }

    #[test]
    fn key_identifies_this_boot_and_object() {
        let key = CacheKey::current().expect("a boot has a name");
        assert!(
            key.boot.len() == 36 && key.object.len() >= 16 && key.kernel.contains(' '),
            "{key:?}"
        );
        assert_eq!(CacheKey::current(), Some(key));
    }
}

//! What a selftest showed is true of one boot, one kernel and one object, and remembered for as long.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::table::Table;
use crate::probe::{OBJECT, object_hash};

/// What the answers are true of.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Key {
    /// The version of these trials.
    pub trials: u32,
    /// The boot.
    pub boot: String,
    /// The kernel: its release and its build.
    pub kernel: String,
    /// The eBPF object.
    pub object: String,
}

/// Trials of another version prove something else.
const TRIALS: u32 = 2;

impl Key {
    /// That of this moment. `None` if the boot has no name: then nothing can be remembered.
    pub fn now() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uname = rustix::system::uname();
        Some(Self {
            trials: TRIALS,
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

/// The eBPF object's name: its committed hash or, while it has none, one that is good enough to tell objects apart.
pub fn object_id() -> String {
    match object_hash() {
        "" => format!("{:016x}", fnv(OBJECT)),
        hash => hash.to_owned(),
    }
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Where root's is: all can read it, and only root can write it.
const SHARED: &str = "/var/cache/zctrace";
const FILE: &str = "selftest.json";
/// What tracing costs, beside it.
const TAX: &str = "tax.json";

/// Where this user's is, as the environment says.
fn own_dir(root: bool, cache: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    // What another user can write must not tell root what is proven.
    if root {
        return Some(PathBuf::from(SHARED));
    }
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let cache = cache.and_then(absolute);
    Some(
        cache
            .or_else(|| Some(home.and_then(absolute)?.join(".cache")))?
            .join("zctrace"),
    )
}

fn own() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    own_dir(
        rustix::process::geteuid().is_root(),
        variable("XDG_CACHE_HOME"),
        variable("HOME"),
    )
}

/// The last one that this process made itself, for where no file can be written.
static LAST: Mutex<Option<Table>> = Mutex::new(None);

fn last() -> MutexGuard<'static, Option<Table>> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same for types out of a file, which is named by it: only for this process, since the file can change.
static LAST_BY: Mutex<Option<(PathBuf, Table)>> = Mutex::new(None);

/// What the last selftest with the types of this file showed, in this process; with those of the kernel, as [`remembered`].
pub fn remembered_by(btf: Option<&Path>) -> Option<Table> {
    let Some(btf) = btf else { return remembered() };
    let last = LAST_BY.lock().unwrap_or_else(PoisonError::into_inner);
    last.as_ref()
        .filter(|(file, _)| file == btf)
        .map(|(_, table)| table.clone())
}

/// Keeps what was shown with the types of a file.
pub(super) fn remember_by(btf: &Path, table: &Table) {
    *LAST_BY.lock().unwrap_or_else(PoisonError::into_inner) = Some((btf.to_owned(), table.clone()));
}

/// What the last selftest showed, if that is still true: this process's own, this user's, or root's.
pub fn remembered() -> Option<Table> {
    if let Some(table) = last().clone() {
        return Some(table);
    }
    let key = Key::now()?;
    let shared = Path::new(SHARED);
    own().and_then(|dir| read(&dir, &key)).or_else(|| read(shared, &key))
}

/// What attached probes add to each system call of each process here, in nanoseconds, as it was measured since this boot, on
/// this kernel, with this object: by this user, or by root.
pub fn remembered_tax() -> Option<f64> {
    let key = Key::now()?;
    let shared = Path::new(SHARED);
    let of = |dir: &Path| tax(dir, &key);
    own().and_then(|dir| of(&dir)).or_else(|| of(shared))
}

/// Remembers that for reports to come. Noise can make it less than nothing, which it is not.
///
/// # Errors
///
/// If it cannot be written: then reports do without.
pub fn remember_tax(ns: f64) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let key = Key::now().ok_or_else(missing)?;
    let per_syscall_ns = ns.max(0.0);
    write(&own().ok_or_else(missing)?, TAX, &Tax { key, per_syscall_ns })
}

/// What is written down of it.
#[derive(Serialize, Deserialize)]
struct Tax {
    key: Key,
    per_syscall_ns: f64,
}

fn tax(dir: &Path, key: &Key) -> Option<f64> {
    let text = std::fs::read_to_string(dir.join(TAX)).ok()?;
    let tax: Tax = serde_json::from_str(&text).ok()?;
    let is_time = tax.per_syscall_ns.is_finite() && tax.per_syscall_ns >= 0.0;
    (tax.key == *key && is_time).then_some(tax.per_syscall_ns)
}

/// Keeps it, and writes it down. That this fails does no harm: it is made again by the next process.
pub(super) fn remember(table: &Table) -> io::Result<()> {
    *last() = Some(table.clone());
    write(&own().ok_or(io::ErrorKind::NotFound)?, FILE, table)
}

fn read(dir: &Path, key: &Key) -> Option<Table> {
    let text = std::fs::read_to_string(dir.join(FILE)).ok()?;
    let table: Table = serde_json::from_str(&text).ok()?;
    (table.key == *key).then_some(table)
}

fn write(dir: &Path, name: &str, what: &impl Serialize) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    let text = serde_json::to_string(what)?;
    // Under another name first: who reads meanwhile reads all of one or all of the other.
    let new = dir.join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&new, text + "\n")?;
    std::fs::rename(&new, dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(key: &Key) -> Table {
        Table {
            key: key.clone(),
            made_unix_ms: 1,
            took_ms: 2,
            dir: "/tmp".to_owned(),
            trials: Vec::new(),
        }
    }

    #[test]
    fn another_boot_kernel_object_or_version_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("of/its/own");
        let key = Key {
            trials: 1,
            boot: "a".to_owned(),
            kernel: "b".to_owned(),
            object: "c".to_owned(),
        };
        assert_eq!(read(&dir, &key), None, "nothing yet");
        write(&dir, FILE, &table(&key)).unwrap();
        assert_eq!(read(&dir, &key), Some(table(&key)));
        let other = || "other".to_owned();
        for key in [
            Key {
                trials: 2,
                ..key.clone()
            },
            Key {
                boot: other(),
                ..key.clone()
            },
            Key {
                kernel: other(),
                ..key.clone()
            },
            Key {
                object: other(),
                ..key.clone()
            },
        ] {
            assert_eq!(read(&dir, &key), None, "{key:?}");
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_tracing_costs_is_that_of_this_boot_and_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::default();
        let written = |key: &Key, per_syscall_ns| {
            let key = key.clone();
            write(dir.path(), TAX, &Tax { key, per_syscall_ns }).unwrap();
            tax(dir.path(), &Key::default())
        };
        assert_eq!(tax(dir.path(), &key), None, "nothing yet");
        assert_eq!(written(&key, 27.5), Some(27.5));
        assert_eq!(written(&key, -1.0), None);
        let other = Key {
            boot: "other".to_owned(),
            ..Key::default()
        };
        assert_eq!(written(&other, 27.5), None);
        std::fs::write(dir.path().join(TAX), "{}").unwrap();
        assert_eq!(tax(dir.path(), &key), None);
    }

    #[test]
    fn a_damaged_memory_is_none() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"key\": 1}", "[]"] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(read(dir.path(), &Key::default()), None, "{text}");
        }
    }

    #[test]
    fn each_has_a_place_of_its_own_and_root_trusts_only_its() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(own_dir(false, path("/c"), path("/h")), path("/c/zctrace"));
        assert_eq!(own_dir(false, path("c"), path("/h")), path("/h/.cache/zctrace"));
        assert_eq!(own_dir(false, None, None), None);
        assert_eq!(own_dir(true, path("/c"), path("/h")), path(SHARED));
    }

    #[test]
    fn the_key_names_this_boot_and_object() {
        let key = Key::now().expect("a boot has a name");
        assert!(
            key.boot.len() == 36 && key.object.len() >= 16 && key.kernel.contains(' '),
            "{key:?}"
        );
        assert_eq!(Key::now(), Some(key));
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c, "the published value");
    }
}

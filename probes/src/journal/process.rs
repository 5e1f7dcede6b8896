//! Properties of a process that decide whether a journal belongs to it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bufferlist::journal::{ENV_VAR, Layout};

use super::file::LINK;
use zctrace_report::format::printable;

/// Limit on descriptors of a process that are searched. The journal is created with the first pipe
/// of the process's lists, and the kernel assigns the lowest free number.
const MAX_DESCRIPTORS: usize = 8192;

/// Link target of the initial PID namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Returns whether PIDs in this /proc are those that the eBPF programs record.
pub(super) fn is_in_initial_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == INITIAL_PID_NAMESPACE)
}

/// Returns the descriptors of a process that are named like a journal. A forked process may also
/// hold its parent's.
pub(super) fn journal_links(pid: u32) -> Vec<PathBuf> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    descriptors
        .take(MAX_DESCRIPTORS)
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|link| fs::read_link(link).is_ok_and(|to| to.as_os_str().as_bytes() == LINK))
        .collect()
}

/// Returns whether a process disabled its journal; `None` if its environment cannot be read.
pub(super) fn has_disabled_journal(pid: u32) -> Option<bool> {
    // Reading /proc would itself be traced if a process traces itself.
    if pid == std::process::id() {
        return Some(std::env::var_os(ENV_VAR).is_some_and(|value| value == "0"));
    }
    let all = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let off = [ENV_VAR.as_bytes(), b"=0"].concat();
    Some(all.split(|&byte| byte == 0).any(|one| one == off))
}

/// Returns the IDs of a process or thread by PID namespace, from the initial one to its own.
fn namespace_ids(status: &str) -> Vec<u32> {
    let line = fs::read_to_string(status).unwrap_or_default();
    line.lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Translation of thread IDs of a process into those of the initial PID namespace.
#[derive(Clone, Debug)]
pub(super) enum ThreadIds {
    /// The IDs are equal.
    Identity,
    /// The process is in another PID namespace, so /proc is searched. `known` maps its thread IDs.
    Mapped { pid: u32, known: HashMap<u32, u32> },
}

impl ThreadIds {
    /// Returns the thread ID in the initial PID namespace; 0 if it is unknown, as after the thread
    /// ended.
    pub(super) fn global_id(&mut self, own: u32) -> u32 {
        let Self::Mapped { pid, known } = self else { return own };
        if let Some(&number) = known.get(&own) {
            return number;
        }
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return 0;
        };
        // Thread IDs are reused, so entries of ended threads must go.
        known.clear();
        for task in tasks.take(MAX_DESCRIPTORS).flatten() {
            let all = namespace_ids(&task.path().join("status").to_string_lossy());
            if let (Some(&first), Some(&last)) = (all.first(), all.last()) {
                known.insert(last, first);
            }
        }
        // Remember that it is missing, so that later entries do not repeat the search.
        *known.entry(own).or_insert(0)
    }
}

/// Returns the name of a thread, sanitized for a terminal.
pub(super) fn thread_name(pid: u32, thread: u32) -> Option<String> {
    // Reading /proc would itself be traced if a process traces itself.
    if pid == std::process::id() {
        return None;
    }
    let name = fs::read(format!("/proc/{pid}/task/{thread}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(printable(name.trim_end_matches('\n')).into_owned())
}

/// Returns how to translate thread IDs if the journal belongs to the process; `None` if it was
/// inherited by fork. The journal must hold the process's own PID and must not be older than the
/// process.
pub(super) fn thread_ids_of_owner(pid: u32, layout: &Layout) -> Option<ThreadIds> {
    if pid == std::process::id() {
        return (layout.pid == pid).then_some(ThreadIds::Identity);
    }
    let all = namespace_ids(&format!("/proc/{pid}/status"));
    let own = *all.last()?;
    if own != layout.pid || layout.created_boottime_ns < start_time_ns(pid)? {
        return None;
    }
    Some(if all.len() == 1 {
        ThreadIds::Identity
    } else {
        ThreadIds::Mapped {
            pid,
            known: HashMap::new(),
        }
    })
}

/// Returns the start time of a process, in nanoseconds since boot, rounded down to a clock tick.
fn start_time_ns(pid: u32) -> Option<u64> {
    /// `USER_HZ` of x86-64, the unit of `starttime` (proc(5)).
    const TICKS: u64 = 100;
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and can contain anything. `starttime` is the 20th field after the
    // last parenthesis.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = OsStr::from_bytes(stat.get(end + 1..)?).to_str()?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_mul(1_000_000_000 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_time_and_an_id() {
        let me = std::process::id();
        assert!(start_time_ns(me).is_some_and(|ns| ns > 0));
        assert!(!namespace_ids("/proc/self/status").is_empty());
        assert_eq!(start_time_ns(0), None);
    }

    #[test]
    fn missing_thread_has_no_global_id() {
        let mut threads = ThreadIds::Mapped {
            pid: std::process::id(),
            known: HashMap::new(),
        };
        assert_eq!(threads.global_id(u32::MAX), 0);
        assert_eq!(ThreadIds::Identity.global_id(7), 7);
    }
}

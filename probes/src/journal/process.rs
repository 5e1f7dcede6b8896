//! What must be known of a process before its journal is believed to be its own.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bufferlist::journal::{ENV_VAR, Layout};

use super::file::LINK;
use zctrace_report::text::printable;

/// Descriptors of a process that are looked at. The journal is made with the first pipe of its lists, and the kernel gives
/// out the lowest number that is free.
const MOST_DESCRIPTORS: usize = 8192;

/// The inode number of the initial PID namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL: &str = "pid:[4026531836]";

/// Whether numbers of processes mean in this /proc what they mean to the kernel's programs.
pub(super) fn numbers_are_the_kernels() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == INITIAL)
}

/// The descriptors of a process that are called like a journal. Those of its parent may be among them, if it was forked.
pub(super) fn links(pid: u32) -> Vec<PathBuf> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    descriptors
        .take(MOST_DESCRIPTORS)
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|link| fs::read_link(link).is_ok_and(|to| to.as_os_str().as_bytes() == LINK))
        .collect()
}

/// Whether a process has turned its journal off. `None` if it cannot be asked.
pub(super) fn has_turned_it_off(pid: u32) -> Option<bool> {
    // A process that traces itself would trace the reading.
    if pid == std::process::id() {
        return Some(std::env::var_os(ENV_VAR).is_some_and(|value| value == "0"));
    }
    let all = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let off = [ENV_VAR.as_bytes(), b"=0"].concat();
    Some(all.split(|&byte| byte == 0).any(|one| one == off))
}

/// The numbers of a process or thread, in the initial PID namespace first, in its own last.
fn numbers(status: &str) -> Vec<u32> {
    let line = fs::read_to_string(status).unwrap_or_default();
    line.lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// How the numbers that a process has for its threads become those of the initial PID namespace.
#[derive(Clone, Debug)]
pub(super) enum Threads {
    /// They are the same.
    Same,
    /// By the process's own number.
    By { pid: u32, known: HashMap<u32, u32> },
}

impl Threads {
    /// The thread's number in the initial PID namespace, 0 if it cannot be told (it may have ended).
    pub(super) fn number(&mut self, own: u32) -> u32 {
        let Self::By { pid, known } = self else { return own };
        if let Some(&number) = known.get(&own) {
            return number;
        }
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return 0;
        };
        // Numbers of threads are used again: what was known of those that have ended goes.
        known.clear();
        for task in tasks.take(MOST_DESCRIPTORS).flatten() {
            let all = numbers(&task.path().join("status").to_string_lossy());
            if let (Some(&first), Some(&last)) = (all.first(), all.last()) {
                known.insert(last, first);
            }
        }
        // Not there: not asked for again with each of its records.
        *known.entry(own).or_insert(0)
    }
}

/// The name of a thread, made fit for a terminal.
pub(super) fn thread_name(pid: u32, thread: u32) -> Option<String> {
    // A process that traces itself would trace the reading.
    if pid == std::process::id() {
        return None;
    }
    let name = fs::read(format!("/proc/{pid}/task/{thread}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(printable(name.trim_end_matches('\n')).into_owned())
}

/// Whether a journal is this process's own, and not that of the one it was forked from: it has the process's own number, and
/// is not older than the process.
pub(super) fn owns(pid: u32, layout: &Layout) -> Option<Threads> {
    if pid == std::process::id() {
        return (layout.pid == pid).then_some(Threads::Same);
    }
    let all = numbers(&format!("/proc/{pid}/status"));
    let own = *all.last()?;
    if own != layout.pid || layout.created_boottime_ns < started_ns(pid)? {
        return None;
    }
    Some(if all.len() == 1 {
        Threads::Same
    } else {
        Threads::By {
            pid,
            known: HashMap::new(),
        }
    })
}

/// When a process started, in nanoseconds since boot, rounded down to the clock's tick.
fn started_ns(pid: u32) -> Option<u64> {
    /// `USER_HZ`, which /proc counts in on x86-64 (proc(5), `starttime`).
    const TICKS: u64 = 100;
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; after the last of them come numbers, of which the start is the
    // twentieth.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = OsStr::from_bytes(stat.get(end + 1..)?).to_str()?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_mul(1_000_000_000 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_started_and_has_one_number() {
        let me = std::process::id();
        assert!(started_ns(me).is_some_and(|ns| ns > 0));
        assert!(!numbers("/proc/self/status").is_empty());
        assert_eq!(started_ns(0), None);
    }

    #[test]
    fn a_thread_that_is_not_there_is_not_known() {
        let mut threads = Threads::By {
            pid: std::process::id(),
            known: HashMap::new(),
        };
        assert_eq!(threads.number(u32::MAX), 0);
        assert_eq!(Threads::Same.number(7), 7);
    }
}

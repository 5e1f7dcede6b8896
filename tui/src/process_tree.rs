//! Process trees and control groups, as /proc and the cgroup filesystem list them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Appends the processes of a control group and of its descendants. Processes that start or exit
/// meanwhile may be missing.
pub(crate) fn append_cgroup_members(directory: &Path, members: &mut Vec<u32>) {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    members.extend(
        text.lines()
            .filter_map(|line| line.parse::<u32>().ok())
            .filter(|pid| *pid != 0),
    );
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            append_cgroup_members(&entry.path(), members);
        }
    }
}

/// Returns whether this process is in the initial PID namespace, whose PIDs the eBPF programs see.
pub(crate) fn is_initial_pid_namespace() -> bool {
    // The inode is a constant of the kernel (include/linux/proc_ns.h: PROC_PID_INIT_INO).
    std::fs::read_link("/proc/self/ns/pid").map_or(true, |name| name.as_os_str() == "pid:[4026531836]")
}

/// Returns the directory of a control group. `path` is absolute, or relative to the root of the
/// hierarchy.
pub(crate) fn cgroup_directory(path: &Path) -> PathBuf {
    const ROOT: &str = "/sys/fs/cgroup";
    if path.starts_with(ROOT) {
        path.to_owned()
    } else {
        Path::new(ROOT).join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Returns the children of the given processes.
pub(crate) fn children_of(parents: &BTreeSet<u32>) -> BTreeSet<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        parse_ppid(&stat).is_some_and(|parent| parents.contains(&parent))
    })
    .collect()
}

/// Parses the PPID from `/proc/PID/stat`. It follows the name, which may hold any character, and
/// the state.
fn parse_ppid(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_ppid_after_any_name() {
        assert_eq!(parse_ppid("812 (nginx) S 1 812 812 0"), Some(1));
        assert_eq!(parse_ppid("813 (a) R 7 (b) S 812 812"), Some(812));
        assert_eq!(parse_ppid(""), None);
    }

    #[test]
    fn finds_children() {
        let mut child = std::process::Command::new("sleep").arg("20").spawn().expect("sleep");
        let found = children_of(&BTreeSet::from([std::process::id()]));
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert!(found.contains(&child.id()), "{found:?}");
    }
}

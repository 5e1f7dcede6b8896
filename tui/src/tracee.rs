//! The traced command or processes, as far as the end of the trace depends on them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::child::RunningCommand;

/// Traced command or processes, with the means to observe their end.
#[derive(Debug)]
pub(crate) enum Tracee {
    /// A command that zctrace started. The trace ends with it, and signals are forwarded to it.
    Command(RunningCommand),
    /// Processes that were already running, as pidfds. The trace ends with the last of them.
    Processes(Vec<OwnedFd>),
    /// A control group, the machine or a recording, which has no end of its own.
    Unbounded,
}

impl Tracee {
    /// Opens running processes by their PIDs.
    ///
    /// # Errors
    ///
    /// Returns the PID of the first process that cannot be opened, and the error.
    pub(crate) fn processes(pids: &[u32]) -> Result<Self, (u32, io::Error)> {
        let open = |&pid: &u32| {
            let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let number = number.ok_or((pid, io::Error::from(rustix::io::Errno::SRCH)))?;
            pidfd_open(number, PidfdFlags::empty()).map_err(|errno| (pid, errno.into()))
        };
        Ok(Self::Processes(pids.iter().map(open).collect::<Result<_, _>>()?))
    }

    /// Returns the identities of the processes. `pids` must be the list they were opened with.
    pub(crate) fn identities(&self, pids: &[u32]) -> Vec<ProcessIdentity> {
        let Self::Processes(processes) = self else {
            return Vec::new();
        };
        let identity = |(process, &pid): (&OwnedFd, &u32)| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let identity = ProcessIdentity {
                pid,
                own_pid: innermost_pid(&status).filter(|own| *own != pid),
                name: name.trim_end_matches('\n').to_owned(),
            };
            // If the process is still alive, the PID was not reused while /proc was read.
            is_alive(process).then_some(identity)
        };
        processes.iter().zip(pids).filter_map(identity).collect()
    }
}

/// Identity of a process that was selected by its PID. The probes learn a process name only from
/// execve(2), so that the name of a process that was already running comes from /proc.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProcessIdentity {
    /// PID by which the process was selected.
    pub(crate) pid: u32,
    /// PID in the process's own PID namespace, if it differs.
    pub(crate) own_pid: Option<u32>,
    /// Name, as in `/proc/PID/comm`.
    pub(crate) name: String,
}

/// Returns whether a process has not exited.
fn is_alive(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

/// Returns the PID in the innermost PID namespace: the last one of `NSpid` in `/proc/PID/status`.
fn innermost_pid(status: &str) -> Option<u32> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().next_back()?.parse().ok()
}

/// Removes the processes that have exited.
pub(crate) fn remove_exited(processes: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = processes
        .iter()
        .map(|process| PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN))
        .collect();
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
        Ok(_) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut alive = fds
        .iter()
        .map(|fd| fd.revents().is_empty())
        .collect::<Vec<_>>()
        .into_iter();
    processes.retain(|_| alive.next().unwrap_or(true));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn innermost_pid_is_the_last_one() {
        assert_eq!(innermost_pid("Name:\tx\nNSpid:\t4711\t12\t1\nTgid:\t4711\n"), Some(1));
        assert_eq!(innermost_pid("NSpid:\t4711\n"), Some(4711));
        assert_eq!(innermost_pid("Name:\tx\n"), None);
    }

    #[test]
    fn identity_is_known_until_the_process_exits() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep");
        let pids = [child.id()];
        let tracee = Tracee::processes(&pids).expect("it runs");
        let name = "sleep".to_owned();
        let own_pid = None;
        // Until execve(2) the child has the name of this test.
        let mut found = tracee.identities(&pids);
        while found.first().is_some_and(|identity| identity.name != name) {
            found = tracee.identities(&pids);
        }
        let pid = child.id();
        assert_eq!(found, [ProcessIdentity { pid, own_pid, name }]);
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert_eq!(tracee.identities(&pids), []);
    }
}

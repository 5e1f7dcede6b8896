//! Watching: polls the tracer and passes signals on, until what is watched has ended or it is enough.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use signal_hook::consts::SIGINT;
use zctrace_report::Report;

use crate::command::{Ended, Running};
use crate::signals::Caught;
use crate::trace::Tracer;

/// How often the tracer is polled: its buffers are made for twice that.
const STEP: Duration = Duration::from_millis(5);

/// A second SIGINT within this time ends watching at once.
const TWICE: Duration = Duration::from_secs(2);

/// A command that was asked to end because time is up gets this long, then it is made to.
const GRACE: Duration = Duration::from_secs(10);

/// What is watched, as far as its end matters.
#[derive(Debug)]
pub(crate) enum Subject {
    /// A command of ours: its end is the end, and signals are passed on to it.
    Command(Running),
    /// Processes of others: the end of the last one is the end.
    Processes(Vec<OwnedFd>),
    /// What has no end.
    Endless,
}

impl Subject {
    /// Processes of others, by their numbers.
    ///
    /// # Errors
    ///
    /// With the number of a process that is not there.
    pub(crate) fn processes(pids: &[u32]) -> Result<Self, (u32, io::Error)> {
        let open = |&pid: &u32| {
            let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let number = number.ok_or((pid, io::Error::from(rustix::io::Errno::SRCH)))?;
            pidfd_open(number, PidfdFlags::empty()).map_err(|errno| (pid, errno.into()))
        };
        Ok(Self::Processes(pids.iter().map(open).collect::<Result<_, _>>()?))
    }

    /// Who these processes are. To be asked of those that were opened by the same numbers, in that order.
    pub(crate) fn identities(&self, pids: &[u32]) -> Vec<Identity> {
        let Self::Processes(processes) = self else {
            return Vec::new();
        };
        let one = |(process, &pid): (&OwnedFd, &u32)| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let identity = Identity {
                pid,
                own_pid: innermost(&status).filter(|own| *own != pid),
                name: name.trim_end_matches('\n').to_owned(),
            };
            // If it has not ended by now, what was read was its own, and not of a later one of that number.
            is_alive(process).then_some(identity)
        };
        processes.iter().zip(pids).filter_map(one).collect()
    }
}

/// Who a process is that was named by its number: the probes see its name only if it starts another program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// That number.
    pub(crate) pid: u32,
    /// Its number in a PID namespace of its own.
    pub(crate) own_pid: Option<u32>,
    /// Its name, as the kernel has it.
    pub(crate) name: String,
}

/// Whether a process has not ended.
fn is_alive(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

/// The number of a process in the innermost of its PID namespaces: the last one of `NSpid` in `/proc/PID/status`.
fn innermost(status: &str) -> Option<u32> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().next_back()?.parse().ok()
}

/// When it is enough, and what is told meanwhile.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Times {
    /// Watch no longer than this.
    pub(crate) duration: Option<Duration>,
    /// Tell what is known so far, this often.
    pub(crate) every: Option<Duration>,
}

/// Why watching ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stopped {
    /// The command ended. `by_us` if it ended by the signal that it was sent because time was up.
    Command {
        /// How.
        ended: Ended,
        /// Whether that was our doing.
        by_us: bool,
    },
    /// The command was left alone, by this signal.
    Left(i32),
    /// What is watched has ended, or time is up, or a signal came: the ordinary end where there is no command.
    Enough,
}

/// What is told while watching.
pub(crate) trait Audience {
    /// It is time to tell what is known so far.
    fn interim(&mut self, report: Report);

    /// Called every step, with something that can tell what is known so far.
    fn step(&mut self, tracer: &mut dyn Tracer);

    /// The command is waited for; what to do to wait no longer is to be said.
    fn waiting(&mut self);

    /// Whether it is enough, as if time were up.
    fn enough(&mut self) -> bool {
        false
    }
}

/// Watches until it is enough. `signals` gives what has come since it was last asked.
pub(crate) fn watch(
    tracer: &mut dyn Tracer,
    subject: &mut Subject,
    times: &Times,
    rows: usize,
    signals: &mut dyn FnMut() -> Vec<Caught>,
    audience: &mut dyn Audience,
) -> io::Result<Stopped> {
    let start = Instant::now();
    let mut next_interim = times.every.map(|every| start + every);
    // When the command was asked to end because time was up.
    let mut asked: Option<Instant> = None;
    let mut last_interrupt: Option<Instant> = None;
    loop {
        tracer.poll();
        for caught in signals() {
            if let Some(stopped) = heed(caught, subject, &mut last_interrupt, audience) {
                return Ok(stopped);
            }
        }
        let up = audience.enough() || times.duration.is_some_and(|duration| start.elapsed() >= duration);
        match subject {
            Subject::Command(running) => {
                if let Some(ended) = running.ended()? {
                    let ours = [
                        Ended::Signal(Signal::TERM.as_raw() as u8),
                        Ended::Signal(Signal::KILL.as_raw() as u8),
                    ];
                    let by_us = asked.is_some() && ours.contains(&ended);
                    return Ok(Stopped::Command { ended, by_us });
                }
                match asked {
                    None if up => {
                        running.send(Signal::TERM);
                        asked = Some(Instant::now());
                    }
                    Some(since) if since.elapsed() >= GRACE => running.send(Signal::KILL),
                    _ => {}
                }
            }
            Subject::Processes(processes) => {
                drop_ended(processes)?;
                if up || processes.is_empty() {
                    return Ok(Stopped::Enough);
                }
            }
            Subject::Endless if up => return Ok(Stopped::Enough),
            Subject::Endless => {}
        }
        if let (Some(next), Some(every)) = (next_interim, times.every)
            && Instant::now() >= next
        {
            audience.interim(tracer.report(rows));
            // A report that took long delays the next one; it does not make two at once.
            next_interim = Some((next + every).max(Instant::now()));
        }
        audience.step(tracer);
        std::thread::sleep(STEP);
    }
}

/// What a signal does. Something if it ends watching.
fn heed(
    caught: Caught,
    subject: &mut Subject,
    last_interrupt: &mut Option<Instant>,
    audience: &mut dyn Audience,
) -> Option<Stopped> {
    let Subject::Command(running) = subject else {
        return Some(Stopped::Enough);
    };
    if caught.signal == SIGINT {
        if last_interrupt.is_some_and(|last| last.elapsed() <= TWICE) {
            return Some(Stopped::Left(caught.signal));
        }
        *last_interrupt = Some(Instant::now());
        audience.waiting();
    }
    // The keys of a terminal reach all of the group by themselves.
    if !caught.by_kernel
        && let Some(signal) = Signal::from_named_raw(caught.signal)
    {
        running.send(signal);
    }
    None
}

/// Drops those that have ended.
fn drop_ended(processes: &mut Vec<OwnedFd>) -> io::Result<()> {
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
    fn the_innermost_number_is_the_last() {
        assert_eq!(innermost("Name:\tx\nNSpid:\t4711\t12\t1\nTgid:\t4711\n"), Some(1));
        assert_eq!(innermost("NSpid:\t4711\n"), Some(4711));
        assert_eq!(innermost("Name:\tx\n"), None);
    }

    #[test]
    fn a_process_is_who_it_is_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep");
        let pids = [child.id()];
        let subject = Subject::processes(&pids).expect("it runs");
        let name = "sleep".to_owned();
        let own_pid = None;
        // Its name is that of this test until it has become sleep.
        let mut found = subject.identities(&pids);
        while found.first().is_some_and(|one| one.name != name) {
            found = subject.identities(&pids);
        }
        let pid = child.id();
        assert_eq!(found, [Identity { pid, own_pid, name }]);
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert_eq!(subject.identities(&pids), []);
    }
}

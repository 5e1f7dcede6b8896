//! One run under the tracer, from attaching to the last report: what `run` and `assert` have in common.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use probes::report::text::printable;
use probes::report::{MadeFor, Report, Scope, ScopeKind};

use crate::command::{NotRunnable, Pending, User, Wanted};
use crate::signals::Signals;
use crate::trace::{self, How, SetupError, Tracer};
use crate::watch::{Audience, Stopped, Subject, Times, watch};
use crate::{exit, screen};

/// Whose bytes are watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A command that is started.
    Command(Vec<OsString>),
    /// Processes that run already.
    Processes(Vec<u32>),
    /// A control group.
    Cgroup(PathBuf),
    /// Every process.
    Machine,
}

/// What is asked of a run.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Whose bytes.
    pub(crate) target: Target,
    /// As whom a command runs.
    pub(crate) user: Option<String>,
    /// Whether descendants are watched too.
    pub(crate) follow: bool,
    /// When it is enough.
    pub(crate) times: Times,
    /// The most rows of the report.
    pub(crate) rows: usize,
    /// Who asks.
    pub(crate) made_for: MadeFor,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The report.
    pub(crate) report: Report,
    /// Why watching ended.
    pub(crate) stopped: Stopped,
}

/// The probes are attached; nothing is started yet.
pub(crate) struct Prepared {
    tracer: Box<dyn Tracer>,
    user: Option<User>,
    waits_for: Subject,
}

/// Attaches the probes. What fails is said here, and the exit code for it is the error.
pub(crate) fn prepare(request: &Request) -> Result<Prepared, u8> {
    let user = match &request.target {
        Target::Command(_) => User::choose(request.user.as_deref()).map_err(|why| failed(&printable(&why)))?,
        _ => None,
    };
    // Before anything is attached: a process that is not there is a mistake of the caller's.
    let waits_for = match &request.target {
        Target::Processes(pids) => Subject::processes(pids).map_err(|(pid, error)| {
            screen::complain(&format!("process {pid}: {error}"));
            exit::USAGE
        })?,
        _ => Subject::Endless,
    };
    let options = options(request, user.as_ref());
    let tracer = trace::start(&options).map_err(|error| not_set_up(&error))?;
    Ok(Prepared {
        tracer,
        user,
        waits_for,
    })
}

impl Prepared {
    /// The user that a command will be, if that is another.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.user.as_ref().map(|user| user.uid)
    }

    /// Starts the command, if there is one, on a terminal of its own or on zctrace's. What fails is said here.
    pub(crate) fn begin(
        self,
        request: &Request,
        terminal: Option<BorrowedFd<'_>>,
    ) -> Result<(Box<dyn Tracer>, Subject), u8> {
        let Target::Command(command) = &request.target else {
            return Ok((self.tracer, self.waits_for));
        };
        let wanted = Wanted {
            command,
            user: self.user.as_ref(),
            cookie: self.tracer.cookie(),
            terminal,
        };
        let child = Pending::new(Path::new("/proc/self/exe"), &wanted).map_err(|error| not_runnable(&error))?;
        if let Some(path) = child.beyond_path() {
            let path = path.display().to_string();
            screen::complain(&format!("{} is taken, which is not in PATH", printable(&path)));
        }
        let running = child.go().map_err(|error| not_runnable(&error))?;
        Ok((self.tracer, Subject::Command(running)))
    }
}

/// Watches. What fails is said here, and the exit code for it is the error.
pub(crate) fn observe(request: &Request, audience: &mut dyn Audience) -> Result<Observed, u8> {
    let prepared = prepare(request)?;
    let mut signals = Signals::catch().map_err(|error| failed(&format!("signals cannot be caught: {error}")))?;
    let (mut tracer, mut subject) = prepared.begin(request, None)?;
    let watched = watch(
        tracer.as_mut(),
        &mut subject,
        &request.times,
        request.rows,
        &mut || signals.take(),
        audience,
    );
    let stopped = watched.map_err(|error| failed(&format!("watching failed: {error}")))?;
    let mut report = tracer.finish(request.rows);
    sign(&mut report, request);
    Ok(Observed { report, stopped })
}

/// Writes into a report who asked for it.
pub(crate) fn sign(report: &mut Report, request: &Request) {
    report.made_by.command = Some(request.made_for.clone());
    env!("CARGO_PKG_VERSION").clone_into(&mut report.made_by.zctrace);
}

fn options(request: &Request, user: Option<&User>) -> trace::Options {
    let scope = |kind| {
        let mut scope = Scope::new(kind);
        scope.follow = request.follow;
        scope
    };
    let (scope, how) = match &request.target {
        Target::Command(command) => {
            let mut scope = scope(ScopeKind::Command);
            scope.command = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            scope.user = user.map(|user| user.name.clone());
            (scope, How::Tree(Vec::new()))
        }
        Target::Processes(pids) => {
            let mut scope = scope(ScopeKind::Processes);
            scope.pids.clone_from(pids);
            (scope, How::Tree(pids.clone()))
        }
        Target::Cgroup(path) => {
            let mut scope = scope(ScopeKind::Cgroup);
            scope.cgroup = Some(path.to_string_lossy().into_owned());
            (scope, How::Cgroup(path.clone()))
        }
        Target::Machine => (scope(ScopeKind::Machine), How::Machine),
    };
    trace::Options {
        scope,
        how,
        follow: request.follow,
    }
}

fn failed(why: &str) -> u8 {
    screen::complain(why);
    exit::FAILED
}

/// Says what stands in the way of tracing, and what mends it.
pub(crate) fn not_set_up(error: &SetupError) -> u8 {
    let (cause, mend) = (printable(&error.cause), printable(&error.mend));
    let mut text = format!("tracing could not be set up: {cause}");
    if !mend.is_empty() {
        let _ = write!(text, "\n         → {mend}");
    }
    failed(&text)
}

fn not_runnable(error: &NotRunnable) -> u8 {
    screen::complain(&error.to_string());
    error.code.unwrap_or(exit::FAILED)
}

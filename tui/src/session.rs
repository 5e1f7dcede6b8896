//! One run under the tracer, from attaching to the last report: what `run` and `assert` have in common.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use zctrace_recording::Summary;
use zctrace_report::text::printable;
use zctrace_report::{Level, MadeFor, Report, Scope, ScopeKind};

use crate::command::{NotRunnable, Pending, User, Wanted};
use crate::record::Recording;
use crate::signals::Signals;
use crate::trace::{self, How, SetupError, Tracer};
use crate::watch::{Audience, Identity, Stopped, Subject, Times, watch};
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
    /// How closely.
    pub(crate) level: Level,
    /// When it is enough.
    pub(crate) times: Times,
    /// The most rows of the report.
    pub(crate) rows: usize,
    /// A file with the kernel's types, instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
    /// Who asks.
    pub(crate) made_for: MadeFor,
    /// Where all that is seen is recorded.
    pub(crate) record: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The report.
    pub(crate) report: Report,
    /// Why watching ended.
    pub(crate) stopped: Stopped,
    /// What became of the recording, if one was asked for. What failed was said.
    pub(crate) recorded: Option<Result<Summary, u8>>,
}

/// The probes are attached; nothing is started yet.
pub(crate) struct Prepared {
    tracer: Box<dyn Tracer>,
    user: Option<User>,
    waits_for: Subject,
    named: Vec<Identity>,
    recording: Option<Recording>,
}

/// What is being watched.
pub(crate) struct Begun {
    /// The probes.
    pub(crate) tracer: Box<dyn Tracer>,
    /// What is watched, as far as its end matters.
    pub(crate) subject: Subject,
    /// Who the processes are that were named by their numbers.
    pub(crate) named: Vec<Identity>,
    /// Where all that is seen is recorded.
    pub(crate) recording: Option<Recording>,
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
    let named = match &request.target {
        Target::Processes(pids) => waits_for.identities(pids),
        _ => Vec::new(),
    };
    let options = options(request, user.as_ref());
    let (tracer, recording) = start(request, &options)?;
    Ok(Prepared {
        tracer,
        user,
        waits_for,
        named,
        recording,
    })
}

impl Prepared {
    /// The user that a command will be, if that is another.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.user.as_ref().map(|user| user.uid)
    }

    /// Starts the command, if there is one, on a terminal of its own or on zctrace's. What fails is said here.
    ///
    /// From here on nothing is opened, loaded or started with more rights than watching needs.
    pub(crate) fn begin(self, request: &Request, terminal: Option<BorrowedFd<'_>>) -> Result<Begun, u8> {
        let give_up = |signals| {
            if let Err(error) = zctrace_probes::probe::give_up(signals) {
                screen::complain(&format!("zctrace keeps rights that it does not need any more: {error}"));
            }
        };
        let subject = if let Target::Command(command) = &request.target {
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
            // The child has its own rights, and waits. Signals are passed on to it, whoever it is.
            give_up(true);
            Subject::Command(child.go().map_err(|error| not_runnable(&error))?)
        } else {
            give_up(false);
            self.waits_for
        };
        Ok(Begun {
            tracer: self.tracer,
            subject,
            named: self.named,
            recording: self.recording,
        })
    }
}

/// Watches. What fails is said here, and the exit code for it is the error.
pub(crate) fn observe(request: &Request, audience: &mut dyn Audience) -> Result<Observed, u8> {
    let prepared = prepare(request)?;
    let mut signals = Signals::catch().map_err(|error| failed(&format!("signals cannot be caught: {error}")))?;
    let Begun {
        mut tracer,
        mut subject,
        named,
        mut recording,
    } = prepared.begin(request, None)?;
    let watched = watch(
        tracer.as_mut(),
        &mut subject,
        &request.times,
        request.rows,
        &mut || signals.take(),
        &mut Recorded {
            audience,
            recording: &mut recording,
        },
    );
    let stopped = watched.map_err(|error| failed(&format!("watching failed: {error}")))?;
    let mut report = tracer.finish(request.rows);
    sign(&mut report, request);
    name(&mut report, &named);
    Ok(Observed {
        report,
        stopped,
        recorded: recording.map(Recording::finish),
    })
}

/// Attaches, and begins the recording that was asked for.
fn start(request: &Request, options: &trace::Options) -> Result<(Box<dyn Tracer>, Option<Recording>), u8> {
    let Some(path) = &request.record else {
        let tracer = trace::start(options).map_err(|error| not_set_up(&error))?;
        return Ok((tracer, None));
    };
    let file = Recording::create(path)?;
    let (tracer, handle) = trace::start_recorded(options, file).map_err(|error| not_set_up(&error))?;
    Ok((tracer, Some(Recording::new(path, handle))))
}

/// Hears what is told while a recording is made, and says when that fails.
struct Recorded<'a> {
    audience: &'a mut dyn Audience,
    recording: &'a mut Option<Recording>,
}

impl Audience for Recorded<'_> {
    fn interim(&mut self, report: Report) {
        self.audience.interim(report);
    }

    fn step(&mut self, tracer: &mut dyn Tracer) {
        if let Some(recording) = self.recording {
            recording.step();
        }
        self.audience.step(tracer);
    }

    fn waiting(&mut self) {
        self.audience.waiting();
    }

    fn enough(&mut self) -> bool {
        self.audience.enough()
    }
}

/// Writes into a report who the processes are that were named by their numbers.
pub(crate) fn name(report: &mut Report, named: &[Identity]) {
    for identity in named {
        let mut processes = report.processes.iter_mut();
        if let Some(process) = processes.find(|process| process.pid == identity.pid) {
            process.own_pid = identity.own_pid;
            // A program that it has started since is what the probes saw.
            if process.name.is_empty() {
                process.name.clone_from(&identity.name);
            }
        }
    }
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
        level: request.level.clone(),
        btf: request.btf.clone(),
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

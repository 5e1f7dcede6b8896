//! One traced run, from attaching the probes to the last report. `run`, `record`, `assert` and the
//! viewer share it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use zctrace_recording::Summary;
use zctrace_report::format::printable;
use zctrace_report::{Level, Report, Scope, ScopeKind, StillRunning, Subcommand};

use crate::child::{CommandSpec, ExecError, User, WaitingChild};
use crate::recorder::Recorder;
use crate::signals::Signals;
use crate::trace_loop::{self, Observer, Schedule, StopReason};
use crate::tracee::{ProcessIdentity, Tracee};
use crate::tracer::{self, SetupError, TargetSelector, Tracer};
use crate::{exit_code, live_tracer, terminal_io};

/// Selection of the traced processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A command that zctrace starts.
    Command(Vec<OsString>),
    /// Running processes, by PID.
    Processes(Vec<u32>),
    /// A control group.
    Cgroup(PathBuf),
    /// Every process.
    Machine,
}

/// Parameters of a traced run.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Selection of the traced processes.
    pub(crate) target: Target,
    /// User to run the command as.
    pub(crate) user: Option<String>,
    /// `true` to trace descendants too.
    pub(crate) follow: bool,
    /// Level of detail.
    pub(crate) level: Level,
    /// How long to trace, and how often to report meanwhile.
    pub(crate) schedule: Schedule,
    /// Maximum number of rows in the report.
    pub(crate) rows: usize,
    /// BTF file to use instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
    /// Subcommand that the report is made for.
    pub(crate) made_for: Subcommand,
    /// File to record to.
    pub(crate) record: Option<PathBuf>,
}

/// Result of a traced run.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The report.
    pub(crate) report: Report,
    /// Why the trace ended.
    pub(crate) stop_reason: StopReason,
    /// Result of the recording, if one was requested. Its error was already printed and is an exit
    /// code.
    pub(crate) recording: Option<Result<Summary, u8>>,
}

/// A run whose probes are attached and whose command is not started.
pub(crate) struct Attached {
    tracer: Box<dyn Tracer>,
    user: Option<User>,
    tracee: Tracee,
    identities: Vec<ProcessIdentity>,
    recorder: Option<Recorder>,
}

/// A run in progress.
pub(crate) struct Session {
    /// The attached tracer.
    pub(crate) tracer: Box<dyn Tracer>,
    /// Traced command or processes, as far as the end of the trace depends on it.
    pub(crate) tracee: Tracee,
    /// Identities of the processes that were selected by PID.
    pub(crate) identities: Vec<ProcessIdentity>,
    /// The recording, if one was requested.
    pub(crate) recorder: Option<Recorder>,
}

/// Attaches the probes.
///
/// # Errors
///
/// Prints the error and returns its exit code.
pub(crate) fn attach(request: &Request) -> Result<Attached, u8> {
    let user = match &request.target {
        Target::Command(_) => User::resolve(request.user.as_deref()).map_err(|why| print_error(&printable(&why)))?,
        _ => None,
    };
    // Before anything is attached, because a process that does not exist is a usage error.
    let tracee = match &request.target {
        Target::Processes(pids) => Tracee::processes(pids).map_err(|(pid, error)| {
            terminal_io::eprint(&format!("process {pid}: {error}"));
            exit_code::USAGE
        })?,
        _ => Tracee::Unbounded,
    };
    let identities = match &request.target {
        Target::Processes(pids) => tracee.identities(pids),
        _ => Vec::new(),
    };
    let (tracer, recorder) = attach_tracer(request, &tracer_options(request, user.as_ref()))?;
    Ok(Attached {
        tracer,
        user,
        tracee,
        identities,
        recorder,
    })
}

/// Attaches the tracer and starts the recording, if one is requested.
fn attach_tracer(request: &Request, options: &tracer::Options) -> Result<(Box<dyn Tracer>, Option<Recorder>), u8> {
    let Some(path) = &request.record else {
        let tracer = live_tracer::start(options).map_err(|error| print_setup_error(&error))?;
        return Ok((tracer, None));
    };
    let file = Recorder::create(path)?;
    let (tracer, handle) = live_tracer::start_recorded(options, file).map_err(|error| print_setup_error(&error))?;
    Ok((tracer, Some(Recorder::new(path, handle))))
}

impl Attached {
    /// Returns the UID of the command, if it differs from that of zctrace.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.user.as_ref().map(|user| user.uid)
    }

    /// Starts the command, if there is one, on `terminal` or else on zctrace's own terminal.
    ///
    /// Drops every capability that tracing itself does not need. From here on nothing is opened,
    /// loaded or started with more rights than that.
    ///
    /// # Errors
    ///
    /// Prints the error and returns its exit code.
    pub(crate) fn start(self, request: &Request, terminal: Option<BorrowedFd<'_>>) -> Result<Session, u8> {
        let drop_capabilities = |keep_kill| {
            if let Err(error) = zctrace_probes::probe::drop_capabilities(keep_kill) {
                terminal_io::eprint(&format!(
                    "zctrace could not drop privileges that it no longer needs: {error}"
                ));
            }
        };
        let tracee = if let Target::Command(command) = &request.target {
            let spec = CommandSpec {
                command,
                user: self.user.as_ref(),
                cookie: self.tracer.cookie(),
                terminal,
            };
            let child =
                WaitingChild::spawn(Path::new("/proc/self/exe"), &spec).map_err(|error| print_exec_error(&error))?;
            if let Some(path) = child.path_outside_path() {
                let path = path.display().to_string();
                terminal_io::eprint(&format!("using {}, which is not in PATH", printable(&path)));
            }
            // The child has its own rights, and waits. zctrace keeps CAP_KILL, because it forwards
            // signals to the child whatever its user.
            drop_capabilities(true);
            Tracee::Command(child.exec().map_err(|error| print_exec_error(&error))?)
        } else {
            drop_capabilities(false);
            self.tracee
        };
        Ok(Session {
            tracer: self.tracer,
            tracee,
            identities: self.identities,
            recorder: self.recorder,
        })
    }
}

/// Attaches, traces to the end, and returns the last report.
///
/// # Errors
///
/// Prints the error and returns its exit code.
pub(crate) fn run_to_end(request: &Request, observer: &mut dyn Observer) -> Result<Finished, u8> {
    let attached = attach(request)?;
    let mut signals = Signals::catch().map_err(|error| print_error(&format!("signals cannot be caught: {error}")))?;
    let Session {
        mut tracer,
        mut tracee,
        identities,
        mut recorder,
    } = attached.start(request, None)?;
    let stopped = trace_loop::run(
        tracer.as_mut(),
        &mut tracee,
        &request.schedule,
        request.rows,
        &mut || signals.take(),
        &mut RecorderObserver {
            observer,
            recorder: &mut recorder,
        },
    );
    let stop_reason = stopped.map_err(|error| print_error(&format!("tracing failed: {error}")))?;
    let still_running = match stop_reason {
        StopReason::CommandEnded { .. } => tracer.running_processes(),
        StopReason::CommandAbandoned(_) | StopReason::Finished => Vec::new(),
    };
    let mut report = tracer.finish(request.rows);
    report.coverage.still_running = still_running;
    stamp(&mut report, request);
    set_process_names(&mut report, &identities);
    Ok(Finished {
        report,
        stop_reason,
        recording: recorder.map(Recorder::finish),
    })
}

/// Observer that also checks the recording after every poll.
struct RecorderObserver<'a> {
    observer: &'a mut dyn Observer,
    recorder: &'a mut Option<Recorder>,
}

impl Observer for RecorderObserver<'_> {
    fn on_interim_report(&mut self, report: Report) {
        self.observer.on_interim_report(report);
    }

    fn on_poll(&mut self, tracer: &mut dyn Tracer) {
        if let Some(recorder) = self.recorder {
            recorder.check();
        }
        self.observer.on_poll(tracer);
    }

    fn on_waiting_for_command(&mut self) {
        self.observer.on_waiting_for_command();
    }

    fn on_waiting_for_processes(&mut self, processes: &[StillRunning]) {
        self.observer.on_waiting_for_processes(processes);
    }

    fn should_stop(&mut self) -> bool {
        self.observer.should_stop()
    }
}

/// Adds the names of the processes that were selected by PID to a report.
pub(crate) fn set_process_names(report: &mut Report, identities: &[ProcessIdentity]) {
    for identity in identities {
        let mut processes = report.processes.iter_mut();
        if let Some(process) = processes.find(|process| process.pid == identity.pid) {
            process.ns_pid = identity.own_pid;
            // A name that the probes recorded is that of a later execve(2).
            if process.name.is_empty() {
                process.name.clone_from(&identity.name);
            }
        }
    }
}

/// Adds the subcommand and the version of zctrace to a report.
pub(crate) fn stamp(report: &mut Report, request: &Request) {
    report.provenance.command = Some(request.made_for.clone());
    env!("CARGO_PKG_VERSION").clone_into(&mut report.provenance.zctrace_version);
}

fn tracer_options(request: &Request, user: Option<&User>) -> tracer::Options {
    let scope = |kind| {
        let mut scope = Scope::new(kind);
        scope.follow = request.follow;
        scope
    };
    let (scope, selector) = match &request.target {
        Target::Command(command) => {
            let mut scope = scope(ScopeKind::Command);
            scope.command = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            scope.user = user.map(|user| user.name.clone());
            (scope, TargetSelector::ProcessTrees(Vec::new()))
        }
        Target::Processes(pids) => {
            let mut scope = scope(ScopeKind::Processes);
            scope.pids.clone_from(pids);
            (scope, TargetSelector::ProcessTrees(pids.clone()))
        }
        Target::Cgroup(path) => {
            let mut scope = scope(ScopeKind::Cgroup);
            scope.cgroup = Some(path.to_string_lossy().into_owned());
            (scope, TargetSelector::Cgroup(path.clone()))
        }
        Target::Machine => (scope(ScopeKind::Machine), TargetSelector::Machine),
    };
    tracer::Options {
        scope,
        selector,
        follow: request.follow,
        level: request.level.clone(),
        btf: request.btf.clone(),
    }
}

fn print_error(why: &str) -> u8 {
    terminal_io::eprint(why);
    exit_code::ERROR
}

/// Prints why tracing could not be set up, with the hint. Returns the exit code.
pub(crate) fn print_setup_error(error: &SetupError) -> u8 {
    let (cause, hint) = (printable(&error.cause), printable(&error.hint));
    let mut text = format!("tracing could not be set up: {cause}");
    if !hint.is_empty() {
        let _ = write!(text, "\n         → {hint}");
    }
    print_error(&text)
}

fn print_exec_error(error: &ExecError) -> u8 {
    terminal_io::eprint(&error.to_string());
    error.code.unwrap_or(exit_code::ERROR)
}

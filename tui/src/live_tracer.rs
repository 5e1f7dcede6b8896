//! The live tracer: attaches the probes to the selected processes.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use zctrace_probes::probe::{DigestMode, Hooks, ScopeFilter, SetupErrorKind};
use zctrace_recording::{Handle, Writer};
use zctrace_report::{Level, Report, StillRunning};

use crate::process_tree::{append_cgroup_members, cgroup_directory, children_of, is_initial_pid_namespace};
use crate::terminal_io;
use crate::tracer::{Options, SetupError, TargetSelector, Tracer};

/// Tracer that reads the probes of this process.
struct LiveTracer(zctrace_probes::trace::Tracer);

impl Tracer for LiveTracer {
    fn cookie(&self) -> u64 {
        self.0.cookie()
    }

    fn poll(&mut self) {
        self.0.poll();
    }

    fn report(&mut self, max_rows: usize) -> Report {
        self.0.report(max_rows)
    }

    fn running_processes(&self) -> Vec<StillRunning> {
        let is_initial = is_initial_pid_namespace();
        let mut pids = self.0.traced_processes();
        pids.sort_unstable();
        let process = |pid| {
            // In another namespace /proc names other processes.
            let name = if is_initial {
                std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?
            } else {
                String::new()
            };
            let name = name.trim_end_matches('\n').to_owned();
            Some(StillRunning { pid, name })
        };
        pids.into_iter().filter_map(process).collect()
    }

    fn finish(self: Box<Self>, max_rows: usize) -> Report {
        self.0.finish(max_rows)
    }
}

/// Runs the selftest with the types of a BTF file.
///
/// # Errors
///
/// If the selftest fails. The file then does not describe this kernel, and nothing that the probes
/// read with its offsets can be trusted.
pub(crate) fn verify_btf(btf: &Path) -> Result<(), SetupError> {
    let file = btf.display();
    let table = zctrace_probes::selftest::run_with_btf(None, Some(btf)).map_err(|error| match error.kind {
        // The probes observed nothing at all.
        SetupErrorKind::Other(what) => SetupError {
            cause: format!("with the types in {file}: {what}"),
            hint: "use a BTF file of this kernel".to_owned(),
        },
        _ => SetupError::from(&error),
    })?;
    if table.passed() && table.counts().passed > 0 {
        return Ok(());
    }
    Err(SetupError {
        cause: format!(
            "with the types in {file} {} of {} trials of the selftest failed, so they do not match this kernel",
            table.counts().failed,
            table.trials.len()
        ),
        hint: format!("use a BTF file of this kernel; `zctrace selftest --btf {file}` shows what failed"),
    })
}

/// Runs the selftest unless it has passed since this boot, because a probe that attaches may still
/// never fire.
fn ensure_selftest() {
    if zctrace_probes::facts::cache::load().is_some_and(|table| table.passed()) {
        return;
    }
    // An error to set up tracing is reported by the attempt that follows.
    if let Ok(table) = zctrace_probes::selftest::run(None)
        && !table.passed()
    {
        terminal_io::eprint(&format!(
            "{} of {} trials of the selftest failed, and the facts that they verify are not used: `zctrace selftest` shows which",
            table.counts().failed,
            table.trials.len()
        ));
    }
}

/// Attaches the probes.
pub(crate) fn start(options: &Options) -> Result<Box<dyn Tracer>, SetupError> {
    let tracer = attach(options, zctrace_probes::trace::Tracer::start)?;
    Ok(Box::new(LiveTracer(tracer)))
}

/// Attaches the probes and records every observation to an empty file. Once the tracer is finished,
/// the handle returns the result of the recording.
pub(crate) fn start_recorded(options: &Options, file: File) -> Result<(Box<dyn Tracer>, Handle), SetupError> {
    let mut handle = None;
    let tracer = attach(options, |options| {
        zctrace_probes::trace::Tracer::start_recorded(options, |preamble| {
            let start_error = |error| SetupErrorKind::Other(format!("the recording could not be started: {error}"));
            let (writer, writer_handle) =
                Writer::start(file, preamble, env!("CARGO_PKG_VERSION")).map_err(start_error)?;
            handle = Some(writer_handle);
            Ok(Box::new(writer))
        })
    })?;
    let handle = handle.ok_or_else(|| SetupError {
        cause: "the recording was not started".to_owned(),
        hint: String::new(),
    })?;
    Ok((Box::new(LiveTracer(tracer)), handle))
}

fn attach(
    options: &Options,
    start: impl FnOnce(
        zctrace_probes::trace::Options,
    ) -> Result<zctrace_probes::trace::Tracer, zctrace_probes::probe::SetupError>,
) -> Result<zctrace_probes::trace::Tracer, SetupError> {
    let filter = match &options.selector {
        TargetSelector::ProcessTrees(_) => ScopeFilter::Processes,
        TargetSelector::Cgroup(path) => cgroup_filter(path)?,
        TargetSelector::Machine => ScopeFilter::Machine,
    };
    match &options.btf {
        Some(btf) => verify_btf(btf)?,
        None => ensure_selftest(),
    }
    let probe_options = zctrace_probes::trace::Options {
        scope: options.scope.clone(),
        filter,
        descendants: options.follow,
        hooks: match options.level {
            Level::Digest => Hooks::digest_only(DigestMode::Pages),
            Level::Counters => Hooks::digest_only(DigestMode::Bytes),
            _ => Hooks::default(),
        },
        btf: options.btf.clone(),
        // A command that is yet to be started has no open files.
        snapshot_open_files: options.level == Level::Full
            && !matches!(&options.selector, TargetSelector::ProcessTrees(pids) if pids.is_empty()),
        ..zctrace_probes::trace::Options::default()
    };
    let mut tracer = start(probe_options).map_err(|error| SetupError::from(&error))?;
    let mut members = Vec::new();
    match &options.selector {
        TargetSelector::ProcessTrees(pids) if pids.is_empty() => {}
        TargetSelector::ProcessTrees(pids) => follow_processes(&mut tracer, pids, options.follow)?,
        // PIDs of a container's PID namespace denote other processes to the eBPF programs.
        TargetSelector::Cgroup(path) if is_initial_pid_namespace() => {
            append_cgroup_members(&cgroup_directory(path), &mut members);
        }
        TargetSelector::Cgroup(_) | TargetSelector::Machine => {}
    }
    tracer
        .snapshot_open_files(&members)
        .map_err(|error| SetupError::from(&error))?;
    Ok(tracer)
}

/// Returns the filter for a control group.
fn cgroup_filter(path: &Path) -> Result<ScopeFilter, SetupError> {
    let directory = cgroup_directory(path);
    ScopeFilter::cgroup(&directory).map_err(|error| SetupError {
        cause: format!("cgroup {}: {error}", directory.display()),
        hint: "`systemd-cgls` lists them".to_owned(),
    })
}

/// Traces running processes and, if requested, their descendants.
fn follow_processes(
    tracer: &mut zctrace_probes::trace::Tracer,
    pids: &[u32],
    descendants: bool,
) -> Result<(), SetupError> {
    if !is_initial_pid_namespace() {
        return Err(SetupError {
            cause: "the PIDs here are those of a container's PID namespace, which the probes cannot resolve".to_owned(),
            hint: "select the processes by --cgroup, or run zctrace outside of the container".to_owned(),
        });
    }
    let mut followed = BTreeSet::new();
    let mut new: BTreeSet<u32> = pids.iter().copied().collect();
    // A process that starts meanwhile is found in the next round, or already followed by the eBPF
    // programs.
    while !new.is_empty() {
        for &pid in &new {
            tracer.follow(pid).map_err(|error| SetupError::from(&error))?;
        }
        followed.append(&mut new);
        if descendants {
            new = children_of(&followed).difference(&followed).copied().collect();
        }
    }
    Ok(())
}

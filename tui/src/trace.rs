//! The tracer as the command line sees it: it is started for some processes, polled, and asked for reports.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zctrace_probes::probe::{Hooks, ScopeFilter, SetupErrorKind, Sums};
use zctrace_recording::{Handle, Writer};
use zctrace_report::{Level, Report, Scope};

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whose bytes, as the report will say.
    pub(crate) scope: Scope,
    /// How they are told from all others.
    pub(crate) how: How,
    /// Whether descendants are watched too, those of now and of later.
    pub(crate) follow: bool,
    /// How closely.
    pub(crate) level: Level,
    /// A file with the kernel's types, instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
}

/// How the watched processes are told from all others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// These processes, and any that announce the tracer's cookie, as a command does that is started.
    Tree(Vec<u32>),
    /// The processes of a control group and of those below it.
    Cgroup(PathBuf),
    /// All.
    Machine,
}

/// Why tracing could not be set up, and what would mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SetupError {
    /// What is wrong, as a sentence without its full stop.
    pub(crate) cause: String,
    /// What to do, as a command where there is one.
    pub(crate) mend: String,
}

/// A tracer that is attached. Dropping it detaches it. It may be made in one thread and polled in another.
pub(crate) trait Tracer: Send {
    /// What a command announces just before it is executed, to be watched: its number may be one of another namespace.
    fn cookie(&self) -> u64;

    /// Takes in what the kernel has recorded. To be called every 5 ms.
    fn poll(&mut self);

    /// What is known so far, in at most `max_rows` rows.
    fn report(&mut self, max_rows: usize) -> Report;

    /// What a recording that is played can be told; nothing for what is live.
    fn controls(&mut self) -> Option<&mut dyn Controls> {
        None
    }

    /// Detaches, waits for data in flight (half a second at most), and tells all that is known.
    fn finish(self: Box<Self>, max_rows: usize) -> Report;
}

/// Has the selftest made with the types of a file: where it does not pass, these are not the kernel's types, and what probes
/// read by them is not to be believed.
pub(crate) fn prove_by(btf: &Path) -> Result<(), SetupError> {
    let file = btf.display();
    let table = zctrace_probes::selftest::run_by(None, Some(btf)).map_err(|error| match error.kind {
        // Nothing at all was seen by them.
        SetupErrorKind::Other(what) => SetupError {
            cause: format!("with the types in {file}: {what}"),
            mend: "give a file of this kernel's own types".to_owned(),
        },
        _ => setup_error(&error),
    })?;
    if table.passed() && table.counts().passed > 0 {
        return Ok(());
    }
    Err(SetupError {
        cause: format!(
            "with the types in {file} {} of {} trials of the selftest failed, so they are not those of this kernel",
            table.counts().failed,
            table.trials.len()
        ),
        mend: format!("give a file of this kernel's own types; `zctrace selftest --btf {file}` shows what failed"),
    })
}

/// Where the replay of a recording is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Playback {
    /// Time in the recording.
    pub(crate) at: Duration,
    /// The length of the recording.
    pub(crate) of: Duration,
    /// How many times faster than it was.
    pub(crate) speed: f64,
    /// Whether it stands.
    pub(crate) paused: bool,
}

/// What a replay can be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Play {
    /// To stand, or to go on.
    Pause,
    /// To go twice as fast.
    Faster,
    /// To go half as fast.
    Slower,
    /// To go back by this.
    Back(Duration),
    /// To go ahead by this.
    Ahead(Duration),
}

/// A recording that is played, as the viewer plays it.
pub(crate) trait Controls {
    /// Does something else from now on.
    fn play(&mut self, play: Play);

    /// Where it is.
    fn playback(&self) -> Playback;

    /// What of it is not used, as a sentence for the user, once that is known.
    fn cut(&self) -> Option<String>;
}

/// Has the selftest made where it was not since this boot, or failed: attachable is not firing.
fn prove() {
    if zctrace_probes::selftest::remembered().is_some_and(|table| table.passed()) {
        return;
    }
    // If tracing cannot be set up at all, that is said when it is tried for good.
    if let Ok(table) = zctrace_probes::selftest::run(None)
        && !table.passed()
    {
        crate::screen::complain(&format!(
            "{} of {} trials of the selftest failed, and what they prove is not used: `zctrace selftest` shows which",
            table.counts().failed,
            table.trials.len()
        ));
    }
}

/// Attaches the probes.
pub(crate) fn start(options: &Options) -> Result<Box<dyn Tracer>, SetupError> {
    let tracer = attach(options, zctrace_probes::trace::Tracer::start)?;
    Ok(Box::new(Live(tracer)))
}

/// The same, and records all that is seen into an empty file. The handle is to be asked when the tracer is finished.
pub(crate) fn start_recorded(options: &Options, file: File) -> Result<(Box<dyn Tracer>, Handle), SetupError> {
    let mut handle = None;
    let tracer = attach(options, |how| {
        zctrace_probes::trace::Tracer::start_recorded(how, |preamble| {
            let failed = |error| SetupErrorKind::Other(format!("the recording cannot be begun: {error}"));
            let (writer, theirs) = Writer::start(file, preamble, env!("CARGO_PKG_VERSION")).map_err(failed)?;
            handle = Some(theirs);
            Ok(Box::new(writer))
        })
    })?;
    let handle = handle.ok_or_else(|| SetupError {
        cause: "the recording was not begun".to_owned(),
        mend: String::new(),
    })?;
    Ok((Box::new(Live(tracer)), handle))
}

fn attach(
    options: &Options,
    start: impl FnOnce(
        zctrace_probes::trace::Options,
    ) -> Result<zctrace_probes::trace::Tracer, zctrace_probes::probe::SetupError>,
) -> Result<zctrace_probes::trace::Tracer, SetupError> {
    let filter = match &options.how {
        How::Tree(_) => ScopeFilter::Processes,
        How::Cgroup(path) => cgroup(path)?,
        How::Machine => ScopeFilter::Machine,
    };
    match &options.btf {
        Some(btf) => prove_by(btf)?,
        None => prove(),
    }
    let how = zctrace_probes::trace::Options {
        scope: options.scope.clone(),
        filter,
        descendants: options.follow,
        hooks: match options.level {
            Level::Digest => Hooks::only(Sums::Pages),
            Level::Counters => Hooks::only(Sums::Bytes),
            _ => Hooks::default(),
        },
        btf: options.btf.clone(),
        // A command that is to be started has nothing open yet.
        look_around: options.level == Level::Full && !matches!(&options.how, How::Tree(pids) if pids.is_empty()),
        ..zctrace_probes::trace::Options::default()
    };
    let mut tracer = start(how).map_err(|error| setup_error(&error))?;
    let mut members = Vec::new();
    match &options.how {
        How::Tree(pids) if pids.is_empty() => {}
        How::Tree(pids) => follow(&mut tracer, pids, options.follow)?,
        // Numbers of a container's processes mean others to the probes.
        How::Cgroup(path) if is_initial_pid_namespace() => members_of(&folder_of(path), &mut members),
        How::Cgroup(_) | How::Machine => {}
    }
    tracer.look_around(&members).map_err(|error| setup_error(&error))?;
    Ok(tracer)
}

/// The processes of a cgroup and of those below it. Those that come and go meanwhile are left out.
fn members_of(folder: &Path, members: &mut Vec<u32>) {
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    members.extend(
        text.lines()
            .filter_map(|line| line.parse::<u32>().ok())
            .filter(|pid| *pid != 0),
    );
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            members_of(&entry.path(), members);
        }
    }
}

/// Whether numbers of processes mean the same here and to the kernel's probes.
fn is_initial_pid_namespace() -> bool {
    // The number of the initial PID namespace is a constant of the kernel.
    std::fs::read_link("/proc/self/ns/pid").map_or(true, |name| name.as_os_str() == "pid:[4026531836]")
}

/// The probes of this process.
struct Live(zctrace_probes::trace::Tracer);

impl Tracer for Live {
    fn cookie(&self) -> u64 {
        self.0.cookie()
    }

    fn poll(&mut self) {
        self.0.poll();
    }

    fn report(&mut self, max_rows: usize) -> Report {
        self.0.report(max_rows)
    }

    fn finish(self: Box<Self>, max_rows: usize) -> Report {
        self.0.finish(max_rows)
    }
}

/// Cause and mend.
pub(crate) fn setup_error(error: &zctrace_probes::probe::SetupError) -> SetupError {
    SetupError {
        cause: error.to_string(),
        mend: error.mend(),
    }
}

/// The folder of a control group, by its path, whole or below the root of the hierarchy.
fn folder_of(path: &Path) -> PathBuf {
    const ROOT: &str = "/sys/fs/cgroup";
    if path.starts_with(ROOT) {
        path.to_owned()
    } else {
        Path::new(ROOT).join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Which control group that is.
fn cgroup(path: &Path) -> Result<ScopeFilter, SetupError> {
    let folder = folder_of(path);
    ScopeFilter::cgroup(&folder).map_err(|error| SetupError {
        cause: format!("cgroup {}: {error}", folder.display()),
        mend: "`systemd-cgls` lists them".to_owned(),
    })
}

/// Watches processes that run already, and what they have started.
fn follow(tracer: &mut zctrace_probes::trace::Tracer, pids: &[u32], descendants: bool) -> Result<(), SetupError> {
    if !is_initial_pid_namespace() {
        return Err(SetupError {
            cause: "the numbers of processes here are those of a container, which the kernel's probes do not know"
                .to_owned(),
            mend: "name the processes by --cgroup, or run zctrace outside of the container".to_owned(),
        });
    }
    let mut followed = BTreeSet::new();
    let mut new: BTreeSet<u32> = pids.iter().copied().collect();
    // What is started while this goes on is found in the next round, or is followed by the probes already.
    while !new.is_empty() {
        for &pid in &new {
            tracer.follow(pid).map_err(|error| setup_error(&error))?;
        }
        followed.append(&mut new);
        if descendants {
            new = children(&followed).difference(&followed).copied().collect();
        }
    }
    Ok(())
}

/// The children of these processes.
fn children(of: &BTreeSet<u32>) -> BTreeSet<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        parent(&stat).is_some_and(|parent| of.contains(&parent))
    })
    .collect()
}

/// The parent, from `/proc/PID/stat`: after the name, which may hold anything, and the state.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_hide_the_parent() {
        assert_eq!(parent("812 (nginx) S 1 812 812 0"), Some(1));
        assert_eq!(parent("813 (a) R 7 (b) S 812 812"), Some(812));
        assert_eq!(parent(""), None);
    }

    #[test]
    fn children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("20").spawn().expect("sleep");
        let found = children(&BTreeSet::from([std::process::id()]));
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert!(found.contains(&child.id()), "{found:?}");
    }
}

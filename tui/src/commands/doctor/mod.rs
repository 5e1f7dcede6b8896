//! `zctrace doctor`: checks whether tracing works here, what it costs, and what it does not cover.

mod cost;
mod host;
mod json;
mod render;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use zctrace_probes::facts::{self, SelftestResults};
use zctrace_probes::probe::{SetupError, SetupErrorKind};
use zctrace_probes::selftest;
use zctrace_probes::trace::expected_coverage;
use zctrace_report::{Coverage, FactStatus};

use self::cost::{Cost, LoadResult};
use self::host::{BtfInfo, Privileges, Setting};
use crate::{exit_code, output};

/// Options of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `true` to show all rows and the verifier log.
    pub(crate) all: bool,
    /// `true` to print JSON.
    pub(crate) json: bool,
    /// BTF file to check instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
}

/// Runs the subcommand and returns the exit code.
pub(crate) fn run(options: &Options) -> u8 {
    let findings = Findings::collect(options.btf.as_deref());
    let code = if findings.problems().is_empty() {
        exit_code::SUCCESS
    } else {
        exit_code::CHECK_FAILED
    };
    if options.json {
        return crate::terminal_io::print(&json::to_json(&findings), code);
    }
    output::print_screen(&render::doctor_text(&findings, options.all), code)
}

/// A problem that prevents tracing, with hints. The first hint is a command or a sentence; the
/// others explain it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Problem {
    /// Area of the problem.
    area: &'static str,
    /// Cause.
    cause: String,
    /// Hints.
    hints: Vec<String>,
}

/// Result of a measurement, or why there is none.
#[derive(Debug)]
enum Attempt<T> {
    /// Not attempted, for this reason.
    Skipped(&'static str),
    /// Failed: cause, hint and verifier log.
    Failed(String, String, String),
    /// Succeeded.
    Done(T),
}

/// All findings of the doctor.
#[derive(Debug)]
struct Findings {
    /// Path of this program.
    program: String,
    privileges: Privileges,
    kernel: String,
    types: Result<BtfInfo, (String, String)>,
    lockdown: Option<String>,
    settings: Vec<Setting>,
    loaded: Attempt<LoadResult>,
    cost: Attempt<Cost>,
    selftest: Option<SelftestResults>,
    coverage: Coverage,
    now_unix_ms: u64,
}

impl Findings {
    fn collect(btf: Option<&Path>) -> Self {
        let privileges = Privileges::own();
        let types = host::types(btf);
        // Another kernel's types are checked but never loaded, because probes with wrong offsets
        // prove nothing.
        let can_load = privileges.missing.is_empty() && types.as_ref().is_ok_and(|types| !types.fatal);
        let (loaded, cost) = if btf.is_some() {
            let why = "nothing is loaded with --btf";
            (Attempt::Skipped(why), Attempt::Skipped(why))
        } else if can_load {
            measure()
        } else {
            let why = "fix the problems first";
            (Attempt::Skipped(why), Attempt::Skipped(why))
        };
        let mut selftest = facts::cache::load();
        if matches!(loaded, Attempt::Done(_)) && selftest.as_ref().is_none_or(|table| !table.passed()) {
            selftest = selftest::run(None).ok().or(selftest);
        }
        let plan = types.as_ref().ok().map(|types| &types.plan);
        let mut coverage = expected_coverage(plan, selftest.as_ref().filter(|_| btf.is_none()));
        if let Attempt::Done(loaded) = &loaded {
            mark_not_loaded(&mut coverage, loaded);
        }
        Self {
            program: std::env::current_exe().map_or_else(|_| "zctrace".to_owned(), |path| path.display().to_string()),
            privileges,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            types,
            lockdown: host::lockdown(),
            settings: host::settings(),
            loaded,
            cost,
            selftest,
            coverage,
            now_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
        }
    }

    /// Returns the problems that must be fixed before tracing works, in the order in which to fix
    /// them.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.privileges.missing.is_empty() {
            problems.push(self.privileges_problem());
        }
        match &self.types {
            Err((cause, mend)) => problems.push(Problem {
                area: "kernel",
                cause: format!("{}: {cause}", self.kernel),
                hints: vec![mend.clone()],
            }),
            Ok(types) if types.fatal => problems.push(Problem {
                area: "kernel",
                cause: format!("{}: {}", self.kernel, types.missing.join("; ")),
                hints: vec!["zctrace does not know this kernel: please report it".to_owned()],
            }),
            Ok(_) => {}
        }
        if self.lockdown.as_deref() == Some("confidentiality") {
            problems.push(Problem {
                area: "lockdown",
                cause: "confidentiality: this kernel does not let BPF programs read its memory".to_owned(),
                hints: vec!["boot it with lockdown=integrity, see kernel_lockdown(7)".to_owned()],
            });
        }
        for tried in [self.loaded.failure(), self.cost.failure()].into_iter().flatten() {
            let (cause, hints) = (tried.0.to_owned(), vec![tried.1.to_owned()]);
            let area = "programs";
            problems.push(Problem { area, cause, hints });
        }
        if let Some(table) = self.selftest.as_ref().filter(|table| !table.passed()) {
            problems.push(Problem {
                area: "selftest",
                cause: format!(
                    "{} of {} trials failed: the facts that they verify are not used",
                    table.counts().failed,
                    table.trials.len()
                ),
                hints: vec!["zctrace selftest shows which; please report it".to_owned()],
            });
        }
        problems
    }

    fn privileges_problem(&self) -> Problem {
        let Privileges { uid, missing, .. } = &self.privileges;
        if *uid == 0 {
            return Problem {
                area: "privileges",
                cause: format!("you are root, but without {}", missing.join(", ")),
                hints: vec![
                    "run it on the host: root in a container has only some capabilities".to_owned(),
                    "or add the capabilities to the container: --cap-add BPF --cap-add PERFMON".to_owned(),
                ],
            };
        }
        let quoted = quote(&self.program);
        Problem {
            area: "privileges",
            cause: format!("you are uid {uid} without {}", missing.join(", ")),
            hints: vec![
                format!("sudo {quoted} …      or, once:"),
                format!("sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep {quoted}"),
            ],
        }
    }

    /// Returns how many facts are observable here once all problems are fixed, and the total number
    /// of facts.
    fn facts(&self) -> (usize, usize) {
        let facts = &self.coverage.facts;
        let can = facts
            .iter()
            .filter(|fact| !matches!(fact.status, FactStatus::Unavailable | FactStatus::Silent));
        (can.count(), facts.len())
    }
}

impl<T> Attempt<T> {
    fn failure(&self) -> Option<(&str, &str)> {
        match self {
            Self::Failed(cause, mend, _) => Some((cause, mend)),
            _ => None,
        }
    }

    fn of(result: Result<T, SetupError>) -> Self {
        match result {
            Ok(done) => Self::Done(done),
            Err(error) => {
                let log = match &error.kind {
                    SetupErrorKind::Refused { log, .. } => log.clone(),
                    _ => String::new(),
                };
                Self::Failed(error.to_string(), error.hint(), log)
            }
        }
    }
}

/// Loads and attaches the programs, and measures their cost.
fn measure() -> (Attempt<LoadResult>, Attempt<Cost>) {
    match cost::measure_load() {
        Ok((loaded, bare, syscall_overhead)) => {
            // Stored for the reports of this boot, which do without it if it cannot be stored.
            let _ = facts::cache::store_syscall_overhead(syscall_overhead.ns);
            (
                Attempt::Done(loaded),
                Attempt::of(cost::measure_tracing(bare, syscall_overhead)),
            )
        }
        Err(error) => (Attempt::of(Err(error)), Attempt::Skipped("nothing is attached")),
    }
}

/// Marks the facts of programs that BTF allows and the kernel rejected.
fn mark_not_loaded(coverage: &mut Coverage, loaded: &LoadResult) {
    for (program, why) in &loaded.left_out {
        for fact in coverage.facts.iter_mut().filter(|fact| fact.observed_by == *program) {
            fact.status = FactStatus::Unavailable;
            fact.verified_unix_ms = None;
            fact.missing_reason.clone_from(why);
        }
    }
}

/// Quotes a path for a shell.
fn quote(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;

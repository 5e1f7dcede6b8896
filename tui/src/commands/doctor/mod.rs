//! `zctrace doctor`: can it run here, what will it cost, what can it not see.

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
use zctrace_report::{Alive, Coverage};

use self::cost::{Cost, LoadResult};
use self::host::{BtfInfo, Privileges, Setting};
use crate::{exit_code, output};

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// All rows, and what the kernel's verifier said.
    pub(crate) all: bool,
    /// As JSON.
    pub(crate) json: bool,
    /// The kernel's types, instead of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
}

/// Looks, measures and answers. Returns the exit code.
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

/// Something that stands in the way, with what mends it: the first line is a command or a sentence, others explain it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Problem {
    /// Which part it is of.
    area: &'static str,
    /// What is wrong.
    cause: String,
    /// What to do about it.
    hints: Vec<String>,
}

/// Why something was not measured, or what was.
#[derive(Debug)]
enum Attempt<T> {
    /// Not tried, for this reason.
    Skipped(&'static str),
    /// It cannot be done here: cause, mend, and what the verifier said.
    Failed(String, String, String),
    /// This came of it.
    Done(T),
}

/// All that is found.
#[derive(Debug)]
struct Findings {
    /// Where this program is.
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
        // Another kernel's types are looked at, and never loaded: probes that read at the wrong places prove nothing.
        let can_load = privileges.missing.is_empty() && types.as_ref().is_ok_and(|types| !types.fatal);
        let (loaded, cost) = if btf.is_some() {
            let why = "with --btf nothing is loaded";
            (Attempt::Skipped(why), Attempt::Skipped(why))
        } else if can_load {
            measure()
        } else {
            let why = "what is to be mended comes first";
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

    /// What must be mended before anything can be traced, in the order in which to do it.
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
                hints: vec!["this kernel differs from those that zctrace knows: please report this".to_owned()],
            }),
            Ok(_) => {}
        }
        if self.lockdown.as_deref() == Some("confidentiality") {
            problems.push(Problem {
                area: "lockdown",
                cause: "confidentiality: this kernel lets no program read its memory".to_owned(),
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
                    "{} of {} trials failed: what they prove is not used",
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
                    "run it on the host itself: a container gives root only a part of what root may".to_owned(),
                    "or give the container these: --cap-add BPF --cap-add PERFMON".to_owned(),
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

    /// How many facts can be seen here, or could be once all is mended; and of how many.
    fn facts(&self) -> (usize, usize) {
        let facts = &self.coverage.facts;
        let can = facts
            .iter()
            .filter(|fact| !matches!(fact.alive, Alive::Absent | Alive::Silent));
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

/// Loads and attaches, and measures what that costs.
fn measure() -> (Attempt<LoadResult>, Attempt<Cost>) {
    match cost::measure_load() {
        Ok((loaded, bare, syscall_overhead)) => {
            // For the reports of this boot. Where it cannot be kept they do without.
            let _ = facts::cache::store_syscall_overhead(syscall_overhead.ns);
            (
                Attempt::Done(loaded),
                Attempt::of(cost::measure_tracing(bare, syscall_overhead)),
            )
        }
        Err(error) => (Attempt::of(Err(error)), Attempt::Skipped("nothing is attached")),
    }
}

/// What the types promised and the kernel did not keep.
fn mark_not_loaded(coverage: &mut Coverage, loaded: &LoadResult) {
    for (program, why) in &loaded.left_out {
        for fact in coverage.facts.iter_mut().filter(|fact| fact.seen_by == *program) {
            fact.alive = Alive::Absent;
            fact.proven_unix_ms = None;
            fact.why_not.clone_from(why);
        }
    }
}

/// A path as a shell takes it.
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

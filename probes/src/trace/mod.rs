//! A live trace: probes on one side, evidence on the other, and a report whenever one is asked for.
//!
//! ```no_run
//! use probes::trace::{Options, Tracer};
//!
//! let mut tracer = Tracer::start(Options::default())?;
//! tracer.follow(std::process::id())?;
//! for _ in 0..200 {
//!     tracer.poll();
//!     std::thread::sleep(std::time::Duration::from_millis(5));
//! }
//! println!("{}", tracer.finish(50).to_json_pretty());
//! # Ok::<_, probes::probe::SetupError>(())
//! ```

mod calibrate;
pub(crate) mod coverage;
mod gaps;
mod mounts;
mod pipe_limits;
mod symbols;

pub use self::coverage::foreseen;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use probes_common::{PlainKey, PlainSum};

use self::gaps::Gaps;
use self::symbols::Symbols;
use crate::evidence::{Config, Evidence};
use crate::probe::{Hooks, Probes, Record, ScopeFilter, Setup, SetupError};
use crate::report::{self, Alive, Loss, Report, Scope, ScopeKind, Tier};
use crate::selftest::{self, Table};

/// Whom to trace, and how closely.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose bytes, as the report will say.
    pub scope: Scope,
    /// How they are told from all others.
    pub filter: ScopeFilter,
    /// Whether descendants are traced too.
    pub descendants: bool,
    /// Bytes of the ring between the kernel and this process: a power of two.
    pub ring_bytes: u32,
    /// What to look at.
    pub hooks: Hooks,
    /// A file with the kernel's types, instead of the kernel's own.
    pub btf: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let setup = Setup::default();
        Self {
            scope: Scope::new(ScopeKind::Processes),
            filter: setup.scope,
            descendants: setup.descendants,
            ring_bytes: setup.ring_bytes,
            hooks: setup.hooks,
            btf: None,
        }
    }
}

/// How long data in flight is waited for at the end.
const DRAIN: Duration = Duration::from_millis(500);
/// How often counters are read: each costs a system call per program.
const COUNTERS: Duration = Duration::from_millis(100);

/// A trace that goes on. Dropping it detaches the probes.
#[derive(Debug)]
pub struct Tracer {
    probes: Probes,
    evidence: Evidence,
    symbols: Symbols,
    gaps: Gaps,
    options: Options,
    cookie: u64,
    started: Instant,
    started_unix_ms: Option<u64>,
    counted: Instant,
    cpu_at_start: Duration,
    records: u64,
    record_bytes: u64,
    damaged: u64,
    calls: u64,
    /// What plain calls had added up to when the present account began.
    plain_before: HashMap<PlainKey, PlainSum>,
    /// What the selftest has shown of this kernel and these programs.
    proven: Option<Table>,
    /// Whether this kernel has slots of their own for holes.
    knows_zeros: bool,
    pipe_limits: Option<report::PipeLimits>,
}

/// Takes off what was there before. Whether anything was added since.
fn plain_since(sum: &mut PlainSum, before: &PlainSum) -> bool {
    sum.bytes -= before.bytes;
    sum.calls -= before.calls;
    sum.failed -= before.failed;
    sum.small_bytes -= before.small_bytes;
    sum.small_calls -= before.small_calls;
    sum.calls + sum.failed > 0
}

impl Tracer {
    /// Loads and attaches the probes.
    ///
    /// # Errors
    ///
    /// [`SetupError`] says what stands in the way, and what mends it. Nothing is left attached then.
    pub fn start(mut options: Options) -> Result<Self, SetupError> {
        // Other types than the kernel's own give other programs, of which nothing was shown.
        let proven = selftest::remembered().filter(|_| options.btf.is_none());
        if let Some(table) = &proven {
            let hooks = &mut options.hooks;
            let silent = |fact| table.alive(fact).0 == Alive::Silent;
            // What was tried and not seen is not used. Without calls there is nothing: that fact is only said to be silent.
            hooks.packets &= !silent(coverage::PACKETS) && !silent(coverage::CLOSES);
            hooks.unix &= !silent(coverage::MESSAGES);
            hooks.bios &= !silent(coverage::DISK);
            hooks.dirty &= !silent(coverage::DIRTY);
        }
        Self::attach(options, proven, mounts::read())
    }

    /// The same for the selftest, which tries everything, and which no rule about filesystems may answer for.
    pub(crate) fn start_for_trials(options: Options) -> Result<Self, SetupError> {
        let mut mounts = mounts::read();
        mounts.buffered.clear();
        Self::attach(options, None, mounts)
    }

    fn attach(options: Options, proven: Option<Table>, mounts: mounts::Mounts) -> Result<Self, SetupError> {
        let names = calibrate::slot_names(options.btf.as_ref())?;
        let knows_zeros = names.zero != 0;
        let cookie = random();
        let setup = Setup {
            scope: options.filter,
            descendants: options.descendants,
            cookie,
            ring_bytes: options.ring_bytes,
            hooks: options.hooks,
            btf: options.btf.clone(),
        };
        let probes = Probes::load(&setup)?;
        let evidence = Evidence::new(Config {
            names,
            mounts: mounts.paths,
            buffered: mounts.buffered,
            hash_key: random(),
        });
        Ok(Self {
            probes,
            evidence,
            symbols: Symbols::default(),
            gaps: Gaps::default(),
            options,
            cookie,
            started: Instant::now(),
            started_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .ok()
                .and_then(|since| u64::try_from(since.as_millis()).ok()),
            counted: Instant::now(),
            cpu_at_start: own_cpu(),
            records: 0,
            record_bytes: 0,
            damaged: 0,
            calls: 0,
            plain_before: HashMap::new(),
            proven,
            knows_zeros,
            pipe_limits: pipe_limits::read(),
        })
    }

    /// What a process must [announce](crate::probe::announce) to be traced: the way for one that cannot be named, for its
    /// number is of another PID namespace.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Traces a process too, from now on, by its number in the initial PID namespace.
    ///
    /// # Errors
    ///
    /// If the kernel has no room for it.
    pub fn follow(&mut self, pid: u32) -> Result<(), SetupError> {
        self.probes.follow(pid)
    }

    /// Takes in what the kernel has recorded. To be called every 5 ms: the ring is made for several times that.
    pub fn poll(&mut self) {
        let Self {
            probes,
            evidence,
            symbols,
            gaps,
            records,
            record_bytes,
            damaged,
            calls,
            ..
        } = self;
        probes.drain(&mut |bytes| {
            *records += 1;
            *record_bytes += bytes.len() as u64;
            let Ok(record) = Record::from_bytes(bytes) else {
                *damaged += 1;
                evidence.lost();
                return;
            };
            if gaps.note(&record) {
                evidence.lost();
            }
            match record {
                Record::Station(station) => evidence.station(*station),
                Record::Call(call) => {
                    *calls += 1;
                    symbols.note(call.header.tgid, call.user_ip);
                    evidence.call(*call);
                }
                Record::Name(name) => {
                    symbols.note(name.header.tgid, 0);
                    evidence.name(&name);
                }
                Record::Process(process) => evidence.process(&process),
                Record::Closed(closed) => evidence.closed(&closed),
                Record::Unknown(_) => {}
            }
        });
        if self.counted.elapsed() >= COUNTERS {
            self.count();
        }
    }

    fn count(&mut self) {
        self.counted = Instant::now();
        let mut plain = self.probes.plain();
        plain.retain_mut(|(key, sum)| match self.plain_before.get(key) {
            Some(before) => plain_since(sum, before),
            None => true,
        });
        for (key, sum) in &plain {
            self.symbols.note(key.tgid, sum.user_ip);
        }
        self.evidence.plain(plain);
        if self.loss().any() {
            self.evidence.lost();
        }
    }

    fn loss(&mut self) -> Loss {
        let mut loss = Loss::default();
        for program in self.probes.loss() {
            let row = report::ProgramLoss {
                program: program.program.to_owned(),
                reserve_failures: program.reserve_failures + program.map_full,
                sequence_gaps: self.gaps.missing_of(program.number),
                recursion_misses: program.recursion_misses,
            };
            loss.reserve_failures += row.reserve_failures;
            loss.recursion_misses += row.recursion_misses;
            loss.sequence_gaps += row.sequence_gaps;
            if row.reserve_failures + row.recursion_misses + row.sequence_gaps > 0 {
                loss.programs.push(row);
            }
        }
        if self.damaged > 0 {
            // Records that made no sense: whose they were cannot be told.
            loss.sequence_gaps += self.damaged;
            loss.programs.push(report::ProgramLoss {
                program: "unreadable records".to_owned(),
                sequence_gaps: self.damaged,
                ..report::ProgramLoss::default()
            });
        }
        loss
    }

    /// What is known so far, in at most `max_rows` rows.
    pub fn report(&mut self, max_rows: usize) -> Report {
        self.poll();
        self.count();
        let mut report = Report::new(Tier::T0, self.options.scope.clone());
        report.made_by.kernel = kernel_release();
        report.made_by.object = Some(crate::probe::object_hash().to_owned());
        report.made_by.started_unix_ms = self.started_unix_ms;
        report.made_by.duration_ns = self.started.elapsed().as_nanos() as u64;
        report.loss = self.loss();
        report.pipe_limits = self.pipe_limits;
        coverage::fill(&mut report, &self.probes, self.proven.as_ref());
        self.evidence
            .fill(&mut report, &|tgid, ip| self.symbols.place(tgid, ip));
        if report.loss.any() {
            let touched = |flow: &&report::Flow| {
                let lost = report::ReasonCode::from(bufferlist::Reason::LostRecords);
                flow.reasons.iter().any(|cause| cause.code == lost)
            };
            report.loss.flows_touched = report.flows.iter().filter(touched).count() as u64;
        }
        report.overhead.own_cpu_ns = own_cpu().saturating_sub(self.cpu_at_start).as_nanos() as u64;
        report.overhead.reader_cpu_ns = report.overhead.own_cpu_ns;
        report.overhead.programs_ns = Some(self.probes.run_time_ns()).filter(|&ns| ns > 0);
        report.overhead.records = self.records;
        report.overhead.record_bytes = self.record_bytes;
        report.finish(max_rows);
        report.bound_lists(max_rows.max(200));
        report
    }

    /// Whether holes can be told from pages on this kernel.
    pub(crate) fn knows_zeros(&self) -> bool {
        self.knows_zeros
    }

    /// Why a fact cannot be seen, if its program is not there.
    pub(crate) fn lacks(&self, fact: &str) -> Option<String> {
        coverage::lacks(&self.probes, fact)
    }

    /// Records that a program has written so far.
    pub(crate) fn written_by(&mut self, program: &str) -> u64 {
        let all = self.probes.loss();
        all.iter()
            .find(|row| row.program == program)
            .map_or(0, |row| row.written)
    }

    /// Calls and records so far: for a line that says that work goes on.
    pub fn progress(&self) -> (u64, u64) {
        (self.calls, self.records)
    }

    /// Waits for data in flight (half a second at most), tells all that is known, and begins a new account.
    pub fn lap(&mut self, max_rows: usize) -> Report {
        self.settle();
        let report = self.report(max_rows);
        self.evidence.begin_anew();
        self.plain_before = self.probes.plain().into_iter().collect();
        self.started = Instant::now();
        report
    }

    /// Waits for data in flight (half a second at most), detaches, and tells all that is known.
    pub fn finish(mut self, max_rows: usize) -> Report {
        self.settle();
        self.evidence.end_of_trace();
        self.report(max_rows)
    }

    fn settle(&mut self) {
        let until = Instant::now() + DRAIN;
        loop {
            self.poll();
            if !self.evidence.has_data_in_flight() || Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A number that nobody can guess: the kernel makes one for each process that is started (`AT_RANDOM`), std makes keys of it.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// CPU time of this process, all threads.
fn own_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

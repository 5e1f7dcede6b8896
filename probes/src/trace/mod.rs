//! A live trace: probes on one side, an account on the other, and a report whenever one is asked for.
//!
//! ```text
//! kernel, /proc, clock ── Tracer ──► Input ──► Engine ──► Report
//!                                      └────► Recorder
//! ```
//!
//! What a report is made of enters the account as an [`Input`], by one way. So a report made of recorded inputs is the live
//! one.
//!
//! ```no_run
//! use zctrace_probes::trace::{Options, Tracer};
//!
//! let mut tracer = Tracer::start(Options::default())?;
//! tracer.follow(std::process::id())?;
//! for _ in 0..200 {
//!     tracer.poll();
//!     std::thread::sleep(std::time::Duration::from_millis(5));
//! }
//! println!("{}", tracer.finish(50).to_json_pretty());
//! # Ok::<_, zctrace_probes::probe::SetupError>(())
//! ```

mod anonymize;
mod attach;
mod calibrate;
mod coverage;
mod engine_driver;
mod functions;
mod mounts;
mod options;
mod pipe_limits;
mod symbols;

pub use self::coverage::expected_coverage;
pub use self::options::Options;
pub use zctrace_evidence::{Costs, Engine, Input, Losses, Recorder, SymbolRequest, TraceHeader};

use std::collections::HashMap;
use std::time::{Duration, Instant};

use zctrace_records::{Call, DigestState, IoCounterKey, IoCounters, ProcessEvent, RecordHeader, process_event_kind};
use zctrace_report::Report;

use self::engine_driver::EngineDriver;
use crate::journal::Journals;
use crate::probe::{Probes, ProgramLoss, Record, SetupError};

/// How long data in flight is waited for at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// How often counters are read: each costs a system call per program.
const COUNTER_INTERVAL: Duration = Duration::from_millis(100);

/// A trace that goes on. Dropping it detaches the probes.
#[derive(Debug)]
pub struct Tracer {
    probes: Probes,
    driver: EngineDriver,
    journals: Journals,
    cookie: u64,
    started: Instant,
    counters_read: Instant,
    cpu_at_start: Duration,
    /// What was told last of sums and losses: only what has changed is told again.
    io_counters: HashMap<IoCounterKey, IoCounters>,
    digests: HashMap<u64, DigestState>,
    losses: Vec<Losses>,
    /// Whether this kernel has slots of their own for holes.
    can_detect_holes: bool,
}

impl Tracer {
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
        self.probes.follow(pid)?;
        self.journals.on_start(pid);
        Ok(())
    }

    /// Looks, once, at what traced processes have open already: then bytes that lie in their pipes can be followed, and what
    /// their connections send is watched before the first call. To be called when all are [followed](Self::follow).
    /// `members` are the processes of the cgroup, if one is traced, by their numbers in the initial PID namespace.
    ///
    /// Without [`Options::snapshot_open_files`], or where the kernel cannot do it, nothing happens: the coverage says so.
    ///
    /// # Errors
    ///
    /// If the kernel ends it early.
    pub fn snapshot_open_files(&mut self, members: &[u32]) -> Result<(), SetupError> {
        self.probes.snapshot_open_files(members)
    }

    /// Takes in what the kernel has recorded. To be called every 5 ms: the ring is made for several times that.
    pub fn poll(&mut self) {
        let Self {
            probes,
            driver,
            journals,
            ..
        } = self;
        driver.feed(Input::Time(self.started.elapsed().as_nanos() as u64));
        // Journals are read before the records are: so the call that an entry tells of is known when the entry comes.
        journals.read();
        let news = journals.take_events();
        let mut events = Vec::new();
        probes.drain(&mut |bytes| {
            notify_journals(bytes, journals, &mut events);
            driver.feed(Input::Record(bytes));
        });
        for news in &news {
            driver.feed(Input::Journal(news));
        }
        for event in events {
            match event {
                ProcessTransition::Started(pid) => journals.on_start(pid),
                ProcessTransition::Exited(pid) => journals.on_exit(pid),
            }
        }
        journals.poll();
        for news in &journals.take_events() {
            driver.feed(Input::Journal(news));
        }
        if self.counters_read.elapsed() >= COUNTER_INTERVAL {
            self.read_counters();
        }
    }

    /// Reads counters, and tells what has changed.
    fn read_counters(&mut self) {
        self.counters_read = Instant::now();
        let mut rows = self.probes.io_counters();
        rows.retain(|(key, sum)| self.io_counters.insert(*key, *sum).as_ref() != Some(sum));
        if !rows.is_empty() {
            // A map has no order, and places are asked for in that of the rows.
            rows.sort_unstable_by_key(|(key, _)| (key.tgid, key.nr, key.dev, key.ino, key.op_flags));
            self.driver.feed(Input::IoCounters(&rows));
        }
        let now: HashMap<u64, DigestState> = self.probes.connection_digests().into_iter().collect();
        let before = std::mem::take(&mut self.digests);
        let changed = now.iter().filter(|(sock, row)| before.get(sock) != Some(row));
        let mut changed: Vec<(u64, DigestState)> = changed.map(|(sock, row)| (*sock, *row)).collect();
        self.digests = now;
        if !changed.is_empty() {
            changed.sort_unstable_by_key(|(sock, _)| *sock);
            self.driver.feed(Input::OpenDigests(&changed));
        }
        let losses: Vec<Losses> = self.probes.loss().iter().map(losses_of).collect();
        let changed: Vec<Losses> = losses
            .iter()
            .filter(|row| !self.losses.contains(row))
            .cloned()
            .collect();
        if !changed.is_empty() {
            self.losses = losses;
            self.driver.feed(Input::Losses(&changed));
        }
    }

    /// What is known so far, in at most `max_rows` rows.
    pub fn report(&mut self, max_rows: usize) -> Report {
        self.poll();
        self.read_counters();
        let costs = Costs {
            own_cpu_ns: own_cpu_time().saturating_sub(self.cpu_at_start).as_nanos() as u64,
            programs_ns: Some(self.probes.run_time_ns()).filter(|&ns| ns > 0),
        };
        self.driver.feed(Input::Costs(costs));
        self.driver.feed(Input::Time(self.started.elapsed().as_nanos() as u64));
        self.driver.engine.report(max_rows)
    }

    /// Whether holes can be told from pages on this kernel.
    pub(crate) fn can_detect_holes(&self) -> bool {
        self.can_detect_holes
    }

    /// Why a fact cannot be seen, if its program is not there.
    pub(crate) fn missing_reason(&self, fact: &str) -> Option<String> {
        coverage::missing_reason(&self.probes, fact)
    }

    /// Records that a program has written so far.
    pub(crate) fn records_written_by(&mut self, program: &str) -> u64 {
        let all = self.probes.loss();
        all.iter()
            .find(|row| row.program == program)
            .map_or(0, |row| row.written)
    }

    /// Calls and records so far: for a line that says that work goes on.
    pub fn progress(&self) -> (u64, u64) {
        self.driver.engine.progress()
    }

    /// Waits for data in flight (half a second at most), tells all that is known, and begins a new account.
    pub fn interval_report(&mut self, max_rows: usize) -> Report {
        self.wait_for_in_flight();
        let report = self.report(max_rows);
        self.driver.feed(Input::Reset);
        report
    }

    /// Waits for data in flight (half a second at most), detaches, and tells all that is known.
    pub fn finish(mut self, max_rows: usize) -> Report {
        self.wait_for_in_flight();
        self.driver.feed(Input::End);
        self.report(max_rows)
    }

    fn wait_for_in_flight(&mut self) {
        let until = Instant::now() + DRAIN_TIMEOUT;
        loop {
            self.poll();
            if !self.driver.engine.has_data_in_flight() || Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What journals must know of a process.
enum ProcessTransition {
    Started(u32),
    Exited(u32),
}

/// Tells the journals who does something. The account reads the record itself.
fn notify_journals(bytes: &[u8], journals: &mut Journals, events: &mut Vec<ProcessTransition>) {
    let Ok(header) = RecordHeader::from_bytes(bytes) else {
        return;
    };
    if header.kind == Call::KIND {
        journals.on_activity(header.tgid);
    } else if header.kind == ProcessEvent::KIND
        && let Ok(Record::Process(process)) = Record::from_bytes(bytes)
    {
        match process.event {
            process_event_kind::ATTACHED => events.push(ProcessTransition::Started(header.tgid)),
            // Another program has neither the journal nor the descriptors that are closed for it.
            process_event_kind::EXEC | process_event_kind::EXIT => events.push(ProcessTransition::Exited(header.tgid)),
            _ => {}
        }
    }
}

/// What enters an account of what a program lost.
fn losses_of(program: &ProgramLoss) -> Losses {
    Losses {
        program: program.program.to_owned(),
        number: program.number,
        failures: program.reserve_failures + program.map_full,
        recursion_misses: program.recursion_misses,
    }
}

/// A number that nobody can guess: the kernel makes one for each process that is started (`AT_RANDOM`), std makes keys of it.
fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// CPU time of this process, all threads.
fn own_cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

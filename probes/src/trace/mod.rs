//! A live trace: feeds what the probes record into the evidence engine, and reports at any time.
//!
//! ```text
//! kernel, /proc, clock ── Tracer ──► Input ──► Engine ──► Report
//!                                      └────► Recorder
//! ```
//!
//! Everything that a report depends on enters the engine as an [`Input`]. A replay of recorded
//! inputs therefore gives the report of the live trace.
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
mod local_addresses;
mod mounts;
mod options;
mod pipe_limits;
mod symbols;
mod syscalls;

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

/// Time to wait for data in flight at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Interval between readings of counters, each of which makes a system call per program.
const COUNTER_INTERVAL: Duration = Duration::from_millis(100);

/// Active trace. Dropping it detaches the probes.
#[derive(Debug)]
pub struct Tracer {
    probes: Probes,
    driver: EngineDriver,
    journals: Journals,
    cookie: u64,
    started: Instant,
    counters_read: Instant,
    cpu_at_start: Duration,
    /// Last values of counters, digests and losses that were fed. Only changed values are fed
    /// again.
    io_counters: HashMap<IoCounterKey, IoCounters>,
    digests: HashMap<u64, DigestState>,
    losses: Vec<Losses>,
    /// True if this kernel has a slot kind for holes.
    can_detect_holes: bool,
}

impl Tracer {
    /// Returns the cookie with which a process [announces](crate::probe::announce) itself for
    /// tracing. This works for a process whose PID is unknown, because it is in another PID
    /// namespace.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Starts tracing a process, given by its PID in the initial PID namespace.
    ///
    /// # Errors
    ///
    /// If the map of traced processes is full.
    pub fn follow(&mut self, pid: u32) -> Result<(), SetupError> {
        self.probes.follow(pid)?;
        self.journals.on_start(pid);
        Ok(())
    }

    /// Returns the traced processes that have not exited, by their PIDs in the initial PID
    /// namespace. Empty if not processes were selected, but a control group or the machine.
    pub fn traced_processes(&self) -> Vec<u32> {
        self.probes.traced_processes()
    }

    /// Records once what traced processes have open, so that bytes in their pipes can be followed
    /// and their connections are tracked before the first call. Call it after all processes are
    /// [followed](Self::follow). `members` are the processes of the traced cgroup, if any, by their
    /// PIDs in the initial PID namespace.
    ///
    /// Does nothing without [`Options::snapshot_open_files`], or where the kernel does not support
    /// it; the coverage then says so.
    ///
    /// # Errors
    ///
    /// If the map of traced processes is full, or the kernel ends the iteration early.
    pub fn snapshot_open_files(&mut self, members: &[u32]) -> Result<(), SetupError> {
        self.probes.snapshot_open_files(members)
    }

    /// Reads what the kernel has recorded. Call it every 5 ms; the ring buffer is sized for several
    /// times that.
    pub fn poll(&mut self) {
        let Self {
            probes,
            driver,
            journals,
            ..
        } = self;
        driver.feed(Input::Time(self.started.elapsed().as_nanos() as u64));
        // Read the journals before the records, so that the call of each entry is known when the
        // entry is fed.
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

    /// Reads the counters and feeds the changed ones.
    fn read_counters(&mut self) {
        self.counters_read = Instant::now();
        let mut rows = self.probes.io_counters();
        rows.retain(|(key, sum)| self.io_counters.insert(*key, *sum).as_ref() != Some(sum));
        if !rows.is_empty() {
            // A map has no order. Call sites are requested in the order of the rows, so sort them.
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

    /// Reports the state of the trace, in at most `max_rows` rows.
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

    /// Returns whether holes can be distinguished from pages on this kernel.
    pub(crate) fn can_detect_holes(&self) -> bool {
        self.can_detect_holes
    }

    /// Returns why a fact cannot be observed, if its program is not loaded.
    pub(crate) fn missing_reason(&self, fact: &str) -> Option<String> {
        coverage::missing_reason(&self.probes, fact)
    }

    /// Returns the number of records that a program has emitted.
    pub(crate) fn records_written_by(&mut self, program: &str) -> u64 {
        let all = self.probes.loss();
        all.iter()
            .find(|row| row.program == program)
            .map_or(0, |row| row.written)
    }

    /// Returns the numbers of calls and records so far, for a progress line.
    pub fn progress(&self) -> (u64, u64) {
        self.driver.engine.progress()
    }

    /// Waits at most half a second for data in flight, reports, and resets the engine.
    pub fn interval_report(&mut self, max_rows: usize) -> Report {
        self.wait_for_in_flight();
        let report = self.report(max_rows);
        self.driver.feed(Input::Reset);
        report
    }

    /// Waits at most half a second for data in flight, reports, and detaches.
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

/// Process events that concern journals, with the PID.
enum ProcessTransition {
    Started(u32),
    Exited(u32),
}

/// Passes activity to the journals and collects process events. The engine reads the record itself.
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
            // After exec, the process has neither the journal nor its descriptors, which are
            // close-on-exec.
            process_event_kind::EXEC | process_event_kind::EXIT => events.push(ProcessTransition::Exited(header.tgid)),
            _ => {}
        }
    }
}

/// Converts the losses of a program into an input.
fn losses_of(program: &ProgramLoss) -> Losses {
    Losses {
        program: program.program.to_owned(),
        number: program.number,
        failures: program.reserve_failures + program.map_full,
        recursion_misses: program.recursion_misses,
    }
}

/// Returns an unpredictable number: std seeds its hash keys from the kernel's random bytes.
fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Returns the CPU time of all threads of this process.
fn own_cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

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
mod calibrate;
mod coverage;
mod functions;
mod mounts;
mod pipe_limits;
mod symbols;

pub use self::coverage::expected_coverage;
pub use zctrace_evidence::{Costs, Engine, Input, Losses, Recorder, SymbolRequest, TraceHeader};

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zctrace_records::{Call, DigestState, IoCounterKey, IoCounters, ProcessEvent, RecordHeader, process_event_kind};

use self::anonymize::Anonymizer;
use self::symbols::Symbols;
use crate::facts::{self, SelftestResults};
use crate::journal::Journals;
use crate::probe::{
    DigestMode, Hooks, LoadOptions, Probes, ProgramLoss, Record, ScopeFilter, SetupError, SetupErrorKind,
};
use zctrace_evidence::{Config, PipeBufOps};
use zctrace_report::{Alive, Level, Report, Scope, ScopeKind};

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
    /// Whether [`snapshot_open_files`](Tracer::snapshot_open_files) will be called: for what runs already.
    pub snapshot_open_files: bool,
}

impl Default for Options {
    fn default() -> Self {
        let load_options = LoadOptions::default();
        Self {
            scope: Scope::new(ScopeKind::Processes),
            filter: load_options.scope,
            descendants: load_options.descendants,
            ring_bytes: load_options.ring_bytes,
            hooks: load_options.hooks,
            btf: None,
            snapshot_open_files: false,
        }
    }
}

/// How long data in flight is waited for at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// How often counters are read: each costs a system call per program.
const COUNTER_INTERVAL: Duration = Duration::from_millis(100);

/// A trace that goes on. Dropping it detaches the probes.
#[derive(Debug)]
pub struct Tracer {
    probes: Probes,
    engine: EngineDriver,
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

/// The account, and who takes down what enters it.
#[derive(Debug)]
struct EngineDriver {
    account: Engine,
    symbols: Symbols,
    recorder: Option<(Anonymizer, Box<dyn Recorder>)>,
}

impl EngineDriver {
    /// The only way into the account. What is recorded enters it as it is recorded.
    fn feed(&mut self, input: Input<'_>) {
        match (&mut self.recorder, input) {
            (Some((anonymizer, recorder)), Input::Record(bytes)) => {
                let input = Input::Record(anonymizer.record(bytes));
                recorder.take(&input);
                self.account.take(input);
            }
            (Some((anonymizer, recorder)), Input::OpenDigests(rows)) => {
                let rows = anonymizer.digests(rows);
                recorder.take(&Input::OpenDigests(&rows));
                self.account.take(Input::OpenDigests(&rows));
            }
            (Some((_, recorder)), input) => {
                recorder.take(&input);
                self.account.take(input);
            }
            (None, input) => self.account.take(input),
        }
        for question in self.account.take_symbol_requests() {
            let place = self.symbols.resolve(question);
            let answer = Input::Symbol(question, place.as_ref());
            if let Some((_, recorder)) = &mut self.recorder {
                recorder.take(&answer);
            }
            self.account.take(answer);
        }
    }
}

/// Makes a recorder, when it is known what comes before all it is to take down.
type MakeRecorder<'a> = Box<dyn FnOnce(&TraceHeader) -> Result<Box<dyn Recorder>, SetupError> + 'a>;

impl Tracer {
    /// Loads and attaches the probes.
    ///
    /// # Errors
    ///
    /// [`SetupError`] says what stands in the way, and what mends it. Nothing is left attached then.
    pub fn start(options: Options) -> Result<Self, SetupError> {
        Self::start_with_selftest(options, None)
    }

    /// The same, with a recorder of all that enters the account. It is made when it is known what comes
    /// before. Addresses of the kernel are made unrecognisable before they enter.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and what `recorder` says.
    pub fn start_recorded(
        options: Options,
        recorder: impl FnOnce(&TraceHeader) -> Result<Box<dyn Recorder>, SetupError>,
    ) -> Result<Self, SetupError> {
        Self::start_with_selftest(options, Some(Box::new(recorder)))
    }

    fn start_with_selftest(mut options: Options, recorder: Option<MakeRecorder<'_>>) -> Result<Self, SetupError> {
        // Other types than the kernel's own give other programs, of which another selftest tells.
        let selftest = facts::cache::load_for_btf(options.btf.as_deref());
        if let Some(table) = &selftest {
            let hooks = &mut options.hooks;
            let silent = |fact| table.alive(fact).0 == Alive::Silent;
            // What was tried and not seen is not used. Without calls there is nothing: that fact is only said to be silent.
            hooks.packets &= !silent(facts::PACKETS) && !silent(facts::CLOSES);
            hooks.unix &= !silent(facts::MESSAGES);
            hooks.bios &= !silent(facts::DISK);
            hooks.dirty &= !silent(facts::DIRTY);
        }
        let sums = options.hooks.digest;
        let tracer = Self::attach(options, selftest.as_ref(), mounts::read(), recorder)?;
        let silent = selftest.filter(|table| table.alive(facts::DIGESTS).0 == Alive::Silent);
        let silent = silent.map(|_| "the selftest has not seen what it should".to_owned());
        match tracer
            .missing_reason(facts::DIGESTS)
            .or(silent)
            .filter(|_| sums.is_some())
        {
            // Nothing else would be watched.
            Some(reason) => Err(SetupErrorKind::NoDigest { reason }.into()),
            None => Ok(tracer),
        }
    }

    /// The same for the selftest, which tries everything, and which no rule about filesystems may answer for.
    pub(crate) fn start_for_selftest(options: Options) -> Result<Self, SetupError> {
        let mut mounts = mounts::read();
        mounts.buffered.clear();
        Self::attach(options, None, mounts, None)
    }

    fn attach(
        options: Options,
        selftest: Option<&SelftestResults>,
        mounts: mounts::Mounts,
        recorder: Option<MakeRecorder<'_>>,
    ) -> Result<Self, SetupError> {
        let names = if options.hooks.calls {
            calibrate::slot_names(options.btf.as_ref())?
        } else {
            PipeBufOps::default()
        };
        let can_detect_holes = names.zero != 0;
        let requested = coverage::Requested {
            hooks: options.hooks,
            snapshot_open_files: options.snapshot_open_files,
        };
        let cookie = random_u64();
        let load_options = LoadOptions {
            scope: options.filter,
            descendants: options.descendants,
            cookie,
            ring_bytes: options.ring_bytes,
            hooks: options.hooks,
            btf: options.btf,
            digest_key: random_u64(),
            snapshot_open_files: options.snapshot_open_files,
        };
        let probes = Probes::load(&load_options)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let mut preamble = TraceHeader {
            kernel: kernel_release(),
            object: crate::probe::object_hash().to_owned(),
            started_unix_ms: since_1970.and_then(|since| u64::try_from(since.as_millis()).ok()),
            scope: options.scope,
            coverage: coverage::coverage_of(&probes, requested, selftest),
            pipe_limits: pipe_limits::read(),
            per_syscall_ns: facts::cache::load_syscall_overhead().filter(|_| options.hooks.calls),
            config: Config {
                pipe_buf_ops: names,
                mounts: mounts.paths,
                buffered: mounts.buffered,
                hash_key: random_u64(),
                level: match options.hooks.digest {
                    None => Level::Full,
                    Some(DigestMode::Pages) => Level::Digest,
                    Some(DigestMode::Bytes) => Level::Counters,
                },
            },
        };
        let recorder = match recorder {
            Some(make) => {
                let anonymizer = Anonymizer::new();
                preamble.config.pipe_buf_ops = anonymizer.slot_names(&preamble.config.pipe_buf_ops);
                Some((anonymizer, make(&preamble)?))
            }
            None => None,
        };
        Ok(Self {
            probes,
            engine: EngineDriver {
                account: Engine::new(preamble),
                symbols: Symbols::default(),
                recorder,
            },
            journals: Journals::default(),
            cookie,
            started: Instant::now(),
            counters_read: Instant::now(),
            cpu_at_start: own_cpu_time(),
            io_counters: HashMap::new(),
            digests: HashMap::new(),
            losses: Vec::new(),
            can_detect_holes,
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
            engine,
            journals,
            ..
        } = self;
        engine.feed(Input::Time(self.started.elapsed().as_nanos() as u64));
        // Journals are read before the records are: so the call that an entry tells of is known when the entry comes.
        journals.read();
        let news = journals.take_events();
        let mut events = Vec::new();
        probes.drain(&mut |bytes| {
            notify_journals(bytes, journals, &mut events);
            engine.feed(Input::Record(bytes));
        });
        for news in &news {
            engine.feed(Input::Journal(news));
        }
        for event in events {
            match event {
                ProcessTransition::Started(pid) => journals.on_start(pid),
                ProcessTransition::Exited(pid) => journals.on_exit(pid),
            }
        }
        journals.poll();
        for news in &journals.take_events() {
            engine.feed(Input::Journal(news));
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
            self.engine.feed(Input::IoCounters(&rows));
        }
        let now: HashMap<u64, DigestState> = self.probes.connection_digests().into_iter().collect();
        let before = std::mem::take(&mut self.digests);
        let changed = now.iter().filter(|(sock, row)| before.get(sock) != Some(row));
        let mut changed: Vec<(u64, DigestState)> = changed.map(|(sock, row)| (*sock, *row)).collect();
        self.digests = now;
        if !changed.is_empty() {
            changed.sort_unstable_by_key(|(sock, _)| *sock);
            self.engine.feed(Input::OpenDigests(&changed));
        }
        let losses: Vec<Losses> = self.probes.loss().iter().map(losses_of).collect();
        let changed: Vec<Losses> = losses
            .iter()
            .filter(|row| !self.losses.contains(row))
            .cloned()
            .collect();
        if !changed.is_empty() {
            self.losses = losses;
            self.engine.feed(Input::Losses(&changed));
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
        self.engine.feed(Input::Costs(costs));
        self.engine.feed(Input::Time(self.started.elapsed().as_nanos() as u64));
        self.engine.account.report(max_rows)
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
        self.engine.account.progress()
    }

    /// Waits for data in flight (half a second at most), tells all that is known, and begins a new account.
    pub fn interval_report(&mut self, max_rows: usize) -> Report {
        self.wait_for_in_flight();
        let report = self.report(max_rows);
        self.engine.feed(Input::Reset);
        report
    }

    /// Waits for data in flight (half a second at most), detaches, and tells all that is known.
    pub fn finish(mut self, max_rows: usize) -> Report {
        self.wait_for_in_flight();
        self.engine.feed(Input::End);
        self.report(max_rows)
    }

    fn wait_for_in_flight(&mut self) {
        let until = Instant::now() + DRAIN_TIMEOUT;
        loop {
            self.poll();
            if !self.engine.account.has_data_in_flight() || Instant::now() >= until {
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

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

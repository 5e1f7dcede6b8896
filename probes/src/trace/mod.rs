//! A live trace: probes on one side, an account on the other, and a report whenever one is asked for.
//!
//! ```text
//! kernel, /proc, clock ── Tracer ──► Input ──► Account ──► Report
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

mod calibrate;
pub(crate) mod coverage;
mod functions;
mod hide;
mod mounts;
mod pipe_limits;
mod symbols;

pub use self::coverage::foreseen;
pub use zctrace_evidence::{Account, Costs, Input, Losses, Preamble, Question, Recorder};

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zctrace_records::{Call, DigestState, IoCounterKey, IoCounters, ProcessEvent, RecordHeader, process_event_kind};

use self::hide::Hide;
use self::symbols::Symbols;
use crate::journal::Journals;
use crate::probe::{Hooks, Probes, ProgramLoss, Record, ScopeFilter, Setup, SetupError, SetupErrorKind, Sums};
use crate::selftest::{self, Table};
use zctrace_evidence::{Config, SlotNames};
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
    /// Whether [`look_around`](Tracer::look_around) will be called: for what runs already.
    pub look_around: bool,
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
            look_around: false,
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
    book: Book,
    journals: Journals,
    cookie: u64,
    started: Instant,
    counted: Instant,
    cpu_at_start: Duration,
    /// What was told last of sums and losses: only what has changed is told again.
    plain: HashMap<IoCounterKey, IoCounters>,
    sums: HashMap<u64, DigestState>,
    losses: Vec<Losses>,
    /// Whether this kernel has slots of their own for holes.
    knows_zeros: bool,
}

/// The account, and who takes down what enters it.
#[derive(Debug)]
struct Book {
    account: Account,
    symbols: Symbols,
    recorder: Option<(Hide, Box<dyn Recorder>)>,
}

impl Book {
    /// The only way into the account. What is recorded enters it as it is recorded.
    fn enter(&mut self, input: Input<'_>) {
        match (&mut self.recorder, input) {
            (Some((hide, recorder)), Input::Record(bytes)) => {
                let input = Input::Record(hide.record(bytes));
                recorder.take(&input);
                self.account.take(input);
            }
            (Some((hide, recorder)), Input::Sums(rows)) => {
                let rows = hide.sums(rows);
                recorder.take(&Input::Sums(&rows));
                self.account.take(Input::Sums(&rows));
            }
            (Some((_, recorder)), input) => {
                recorder.take(&input);
                self.account.take(input);
            }
            (None, input) => self.account.take(input),
        }
        for question in self.account.questions() {
            let place = self.symbols.place(question);
            let answer = Input::Place(question, place.as_ref());
            if let Some((_, recorder)) = &mut self.recorder {
                recorder.take(&answer);
            }
            self.account.take(answer);
        }
    }
}

/// Makes a recorder, when it is known what comes before all it is to take down.
type MakeRecorder<'a> = Box<dyn FnOnce(&Preamble) -> Result<Box<dyn Recorder>, SetupError> + 'a>;

impl Tracer {
    /// Loads and attaches the probes.
    ///
    /// # Errors
    ///
    /// [`SetupError`] says what stands in the way, and what mends it. Nothing is left attached then.
    pub fn start(options: Options) -> Result<Self, SetupError> {
        Self::start_proven(options, None)
    }

    /// The same, with a recorder of all that enters the account. It is made when it is known what comes
    /// before. Addresses of the kernel are made unrecognisable before they enter.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and what `recorder` says.
    pub fn start_recorded(
        options: Options,
        recorder: impl FnOnce(&Preamble) -> Result<Box<dyn Recorder>, SetupError>,
    ) -> Result<Self, SetupError> {
        Self::start_proven(options, Some(Box::new(recorder)))
    }

    fn start_proven(mut options: Options, recorder: Option<MakeRecorder<'_>>) -> Result<Self, SetupError> {
        // Other types than the kernel's own give other programs, of which another selftest tells.
        let proven = selftest::remembered_by(options.btf.as_deref());
        if let Some(table) = &proven {
            let hooks = &mut options.hooks;
            let silent = |fact| table.alive(fact).0 == Alive::Silent;
            // What was tried and not seen is not used. Without calls there is nothing: that fact is only said to be silent.
            hooks.packets &= !silent(coverage::PACKETS) && !silent(coverage::CLOSES);
            hooks.unix &= !silent(coverage::MESSAGES);
            hooks.bios &= !silent(coverage::DISK);
            hooks.dirty &= !silent(coverage::DIRTY);
        }
        let sums = options.hooks.sums;
        let tracer = Self::attach(options, proven.as_ref(), mounts::read(), recorder)?;
        let silent = proven.filter(|table| table.alive(coverage::SUMS).0 == Alive::Silent);
        let silent = silent.map(|_| "the selftest has not seen what it should".to_owned());
        match tracer.lacks(coverage::SUMS).or(silent).filter(|_| sums.is_some()) {
            // Nothing else would be watched.
            Some(why) => Err(SetupErrorKind::NoSums { why }.into()),
            None => Ok(tracer),
        }
    }

    /// The same for the selftest, which tries everything, and which no rule about filesystems may answer for.
    pub(crate) fn start_for_trials(options: Options) -> Result<Self, SetupError> {
        let mut mounts = mounts::read();
        mounts.buffered.clear();
        Self::attach(options, None, mounts, None)
    }

    fn attach(
        options: Options,
        proven: Option<&Table>,
        mounts: mounts::Mounts,
        recorder: Option<MakeRecorder<'_>>,
    ) -> Result<Self, SetupError> {
        let names = if options.hooks.calls {
            calibrate::slot_names(options.btf.as_ref())?
        } else {
            SlotNames::default()
        };
        let knows_zeros = names.zero != 0;
        let asked = coverage::Asked {
            hooks: options.hooks,
            look_around: options.look_around,
        };
        let cookie = random();
        let setup = Setup {
            scope: options.filter,
            descendants: options.descendants,
            cookie,
            ring_bytes: options.ring_bytes,
            hooks: options.hooks,
            btf: options.btf,
            secret: random(),
            look_around: options.look_around,
        };
        let probes = Probes::load(&setup)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let mut preamble = Preamble {
            kernel: kernel_release(),
            object: crate::probe::object_hash().to_owned(),
            started_unix_ms: since_1970.and_then(|since| u64::try_from(since.as_millis()).ok()),
            scope: options.scope,
            coverage: coverage::of(&probes, asked, proven),
            pipe_limits: pipe_limits::read(),
            per_syscall_ns: selftest::remembered_tax().filter(|_| options.hooks.calls),
            config: Config {
                names,
                mounts: mounts.paths,
                buffered: mounts.buffered,
                hash_key: random(),
                level: match options.hooks.sums {
                    None => Level::Full,
                    Some(Sums::Pages) => Level::Digest,
                    Some(Sums::Bytes) => Level::Counters,
                },
            },
        };
        let recorder = match recorder {
            Some(make) => {
                let hide = Hide::new();
                preamble.config.names = hide.names(&preamble.config.names);
                Some((hide, make(&preamble)?))
            }
            None => None,
        };
        Ok(Self {
            probes,
            book: Book {
                account: Account::new(preamble),
                symbols: Symbols::default(),
                recorder,
            },
            journals: Journals::default(),
            cookie,
            started: Instant::now(),
            counted: Instant::now(),
            cpu_at_start: own_cpu(),
            plain: HashMap::new(),
            sums: HashMap::new(),
            losses: Vec::new(),
            knows_zeros,
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
        self.journals.joined(pid);
        Ok(())
    }

    /// Looks, once, at what traced processes have open already: then bytes that lie in their pipes can be followed, and what
    /// their connections send is watched before the first call. To be called when all are [followed](Self::follow).
    /// `members` are the processes of the cgroup, if one is traced, by their numbers in the initial PID namespace.
    ///
    /// Without [`Options::look_around`], or where the kernel cannot do it, nothing happens: the coverage says so.
    ///
    /// # Errors
    ///
    /// If the kernel ends it early.
    pub fn look_around(&mut self, members: &[u32]) -> Result<(), SetupError> {
        self.probes.look_around(members)
    }

    /// Takes in what the kernel has recorded. To be called every 5 ms: the ring is made for several times that.
    pub fn poll(&mut self) {
        let Self {
            probes, book, journals, ..
        } = self;
        book.enter(Input::Time(self.started.elapsed().as_nanos() as u64));
        // Journals are read before the records are: so the call that an entry tells of is known when the entry comes.
        journals.read();
        let news = journals.take_news();
        let mut events = Vec::new();
        probes.drain(&mut |bytes| {
            note_for_journals(bytes, journals, &mut events);
            book.enter(Input::Record(bytes));
        });
        for news in &news {
            book.enter(Input::Journal(news));
        }
        for event in events {
            match event {
                ProcessTransition::Began(pid) => journals.joined(pid),
                ProcessTransition::Ended(pid) => journals.ended(pid),
            }
        }
        journals.look();
        for news in &journals.take_news() {
            book.enter(Input::Journal(news));
        }
        if self.counted.elapsed() >= COUNTERS {
            self.count();
        }
    }

    /// Reads counters, and tells what has changed.
    fn count(&mut self) {
        self.counted = Instant::now();
        let mut plain = self.probes.plain();
        plain.retain(|(key, sum)| self.plain.insert(*key, *sum).as_ref() != Some(sum));
        if !plain.is_empty() {
            // A map has no order, and places are asked for in that of the rows.
            plain.sort_unstable_by_key(|(key, _)| (key.tgid, key.nr, key.dev, key.ino, key.op_flags));
            self.book.enter(Input::Plain(&plain));
        }
        let now: HashMap<u64, DigestState> = self.probes.sums().into_iter().collect();
        let before = std::mem::take(&mut self.sums);
        let changed = now.iter().filter(|(sock, row)| before.get(sock) != Some(row));
        let mut changed: Vec<(u64, DigestState)> = changed.map(|(sock, row)| (*sock, *row)).collect();
        self.sums = now;
        if !changed.is_empty() {
            changed.sort_unstable_by_key(|(sock, _)| *sock);
            self.book.enter(Input::Sums(&changed));
        }
        let losses: Vec<Losses> = self.probes.loss().iter().map(losses).collect();
        let changed: Vec<Losses> = losses
            .iter()
            .filter(|row| !self.losses.contains(row))
            .cloned()
            .collect();
        if !changed.is_empty() {
            self.losses = losses;
            self.book.enter(Input::Losses(&changed));
        }
    }

    /// What is known so far, in at most `max_rows` rows.
    pub fn report(&mut self, max_rows: usize) -> Report {
        self.poll();
        self.count();
        let costs = Costs {
            own_cpu_ns: own_cpu().saturating_sub(self.cpu_at_start).as_nanos() as u64,
            programs_ns: Some(self.probes.run_time_ns()).filter(|&ns| ns > 0),
        };
        self.book.enter(Input::Costs(costs));
        self.book.enter(Input::Time(self.started.elapsed().as_nanos() as u64));
        self.book.account.report(max_rows)
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
        self.book.account.progress()
    }

    /// Waits for data in flight (half a second at most), tells all that is known, and begins a new account.
    pub fn lap(&mut self, max_rows: usize) -> Report {
        self.settle();
        let report = self.report(max_rows);
        self.book.enter(Input::BeginAnew);
        report
    }

    /// Waits for data in flight (half a second at most), detaches, and tells all that is known.
    pub fn finish(mut self, max_rows: usize) -> Report {
        self.settle();
        self.book.enter(Input::End);
        self.report(max_rows)
    }

    fn settle(&mut self) {
        let until = Instant::now() + DRAIN;
        loop {
            self.poll();
            if !self.book.account.has_data_in_flight() || Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What journals must know of a process.
enum ProcessTransition {
    Began(u32),
    Ended(u32),
}

/// Tells the journals who does something. The account reads the record itself.
fn note_for_journals(bytes: &[u8], journals: &mut Journals, events: &mut Vec<ProcessTransition>) {
    let Ok(header) = RecordHeader::from_bytes(bytes) else {
        return;
    };
    if header.kind == Call::KIND {
        journals.stirred(header.tgid);
    } else if header.kind == ProcessEvent::KIND
        && let Ok(Record::Process(process)) = Record::from_bytes(bytes)
    {
        match process.event {
            process_event_kind::ATTACHED => events.push(ProcessTransition::Began(header.tgid)),
            // Another program has neither the journal nor the descriptors that are closed for it.
            process_event_kind::EXEC | process_event_kind::EXIT => events.push(ProcessTransition::Ended(header.tgid)),
            _ => {}
        }
    }
}

/// What enters an account of what a program lost.
fn losses(program: &ProgramLoss) -> Losses {
    Losses {
        program: program.program.to_owned(),
        number: program.number,
        failures: program.reserve_failures + program.map_full,
        recursion_misses: program.recursion_misses,
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

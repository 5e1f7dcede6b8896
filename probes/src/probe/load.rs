//! Loading the programs, attaching them, and what they are asked afterwards.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader};
use zctrace_records::{DigestState, IoCounterKey, IoCounters, announcement, program};

use super::around;
use super::direct;
use super::error::{SetupError, SetupErrorKind};
use super::loss::{self, ProgramLoss, Row};
use super::object::OBJECT;
use super::privileges;
use super::reader::{self, Key, Sum, SumsOf};
use super::scope::ScopeFilter;
use crate::layout::btf::Btf;
use crate::layout::plan::{Part, Plan};

/// What to load, and for whom.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whom to trace.
    pub scope: ScopeFilter,
    /// Whether what traced processes start is traced, too (with [`ScopeFilter::Processes`]).
    pub descendants: bool,
    /// What a process [announces](super::announce) to be traced; 0: nobody can.
    pub cookie: u64,
    /// Bytes of the ring: a power of two, and at least a page.
    pub ring_bytes: u32,
    /// What to look at.
    pub hooks: Hooks,
    /// A file with the kernel's types, instead of the kernel's own.
    pub btf: Option<PathBuf>,
    /// What sums over pages are mixed with: a number that nobody can guess.
    pub secret: u64,
    /// Whether [`look_around`](Probes::look_around) will be called.
    pub look_around: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            scope: ScopeFilter::default(),
            descendants: true,
            cookie: 0,
            ring_bytes: 16 << 20,
            hooks: Hooks::default(),
            btf: None,
            secret: 0,
            look_around: false,
        }
    }
}

/// What to look at. Processes are always followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a switch of its own.
pub struct Hooks {
    /// Entries and exits of system calls. They cost every process of the machine some nanoseconds for each of its
    /// calls.
    pub calls: bool,
    /// Packets of TCP connections.
    pub packets: bool,
    /// Messages of UNIX sockets.
    pub unix: bool,
    /// Requests to disks.
    pub bios: bool,
    /// Pages of files that calls make dirty.
    pub dirty: bool,
    /// Sums over the pages that go to TCP connections, which need no hook of system calls.
    pub sums: Option<Sums>,
}

/// What is summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sums {
    /// Pages, where calls hand them over and where packets carry them: the level `digest`.
    Pages,
    /// Bytes that calls hand over: the level `counters`.
    Bytes,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            calls: true,
            packets: true,
            unix: true,
            bios: true,
            dirty: true,
            sums: None,
        }
    }
}

impl Hooks {
    /// Nothing but sums.
    pub const fn only(sums: Sums) -> Self {
        Self {
            calls: false,
            packets: false,
            unix: false,
            bios: false,
            dirty: false,
            sums: Some(sums),
        }
    }

    /// Whether a program is asked for.
    fn wants(self, spec: &Spec) -> bool {
        let packets = spec.number != program::DIGEST_XMIT || self.sums == Some(Sums::Pages);
        self.has(spec.part) && packets
    }

    const fn has(self, part: Part) -> bool {
        match part {
            Part::Calls => self.calls,
            Part::Told => self.calls && self.packets,
            Part::Packets => self.packets,
            Part::Unix => self.unix,
            Part::Bios => self.bios,
            Part::Dirty => self.dirty,
            Part::Sums => self.sums.is_some(),
            Part::Optional => true,
        }
    }
}

/// A program: its name in the object, what it is for, its number, its tracepoints with the arguments it wants of them.
struct Spec {
    name: &'static str,
    part: Part,
    number: u32,
    tracepoint: &'static str,
    arguments: Arguments,
}

/// What a tracepoint passes.
#[derive(Clone, Copy)]
enum Arguments {
    /// So many; what later kernels add comes behind.
    AtLeast(usize),
    /// One of these numbers; any other means something else.
    OneOf(&'static [usize]),
}

const fn spec(name: &'static str, part: Part, number: u32, arguments: usize) -> Spec {
    Spec {
        name,
        part,
        number,
        tracepoint: name,
        arguments: Arguments::AtLeast(arguments),
    }
}

/// In the order in which they are attached: a call is told of after its entry was seen, a process before it calls.
const PROGRAMS: &[Spec] = &[
    spec("task_rename", Part::Optional, program::TASK_RENAME, 2),
    spec("sched_process_fork", Part::Optional, program::SCHED_PROCESS_FORK, 2),
    spec("sched_process_exec", Part::Optional, program::SCHED_PROCESS_EXEC, 1),
    spec("sched_process_exit", Part::Optional, program::SCHED_PROCESS_EXIT, 1),
    spec("inet_sock_set_state", Part::Packets, program::INET_SOCK_SET_STATE, 3),
    spec("net_dev_start_xmit", Part::Packets, program::NET_DEV_START_XMIT, 2),
    spec("consume_skb", Part::Unix, program::CONSUME_SKB, 1),
    spec("kfree_skb", Part::Unix, program::KFREE_SKB, 1),
    Spec {
        // Before 5.11 the queue came first.
        arguments: Arguments::OneOf(&[1]),
        ..spec("block_bio_queue", Part::Bios, program::BLOCK_BIO_QUEUE, 1)
    },
    spec("writeback_dirty_folio", Part::Dirty, program::WRITEBACK_DIRTY_FOLIO, 2),
    Spec {
        tracepoint: "inet_sock_set_state",
        ..spec("digest_close", Part::Sums, program::DIGEST_CLOSE, 3)
    },
    Spec {
        tracepoint: "net_dev_start_xmit",
        ..spec("digest_xmit", Part::Sums, program::DIGEST_XMIT, 2)
    },
    spec("sock_send_length", Part::Sums, program::SOCK_SEND_LENGTH, 3),
    Spec {
        arguments: Arguments::OneOf(&[COMPLETED_AT, COMPLETED_WITH]),
        ..spec("io_uring_complete", Part::Told, program::IO_URING_COMPLETE, 0)
    },
    spec("sys_enter", Part::Calls, program::SYS_ENTER, 2),
    spec("sys_exit", Part::Calls, program::SYS_EXIT, 2),
];

/// Arguments of `io_uring_complete`: since 6.15 the last one is the address of the result, before that there was all that is in
/// it. (Before 5.19, when there were no notifications, there were fewer.)
const COMPLETED_AT: usize = 3;
/// See [`COMPLETED_AT`].
const COMPLETED_WITH: usize = 7;

/// A program that is loaded and attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name, which is that of its tracepoint if no other program has that.
    pub name: &'static str,
    /// Whether it is attached.
    pub attached: bool,
    /// Instructions that the verifier looked at, if the kernel tells (since 5.16).
    pub verified_instructions: Option<u32>,
}

/// A program that was asked for, and is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLoaded {
    /// Its name.
    pub program: &'static str,
    /// Why.
    pub why: String,
}

/// The programs, loaded and attached. Dropping it takes them away.
pub struct Probes {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    ring_bytes: u32,
    traced: HashMap<MapData, u32, u8>,
    plain: HashMap<MapData, Key, Sum>,
    sums: HashMap<MapData, u64, SumsOf>,
    tallies: PerCpuArray<MapData, Row>,
    loaded: Vec<&'static Spec>,
    not_loaded: Vec<NotLoaded>,
    looks_around: bool,
    around: Option<File>,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes")
            .field("programs", &self.programs())
            .field("not_loaded", &self.not_loaded)
            .finish_non_exhaustive()
    }
}

impl Probes {
    /// Loads and attaches the programs.
    ///
    /// What this kernel cannot do is left out, see [`not_loaded`](Self::not_loaded); an error is what nothing can be
    /// shown without.
    ///
    /// # Errors
    ///
    /// [`SetupError`] says what stands in the way, and what mends it.
    pub fn load(setup: &Setup) -> Result<Self, SetupError> {
        privileges::may_load()?;
        let btf = setup.btf.as_ref().map_or_else(Btf::of_this_kernel, Btf::from_file)?;
        let mut plan = Plan::of(&btf)?;
        if let Some(file) = &setup.btf {
            is_of_this_kernel(file, &plan)?;
        }
        if let Some(at) = plan.missing.iter().position(|missing| missing.part == Part::Calls) {
            return Err(SetupErrorKind::MissingField(plan.missing.swap_remove(at)).into());
        }
        // A file of types says nothing of the numbers of this kernel's functions.
        let function = direct::function(&btf).filter(|_| setup.btf.is_none());
        if function.is_some() {
            // Whether the kernel takes it only loading shows: the function is older than what it is used for.
            let direct = Self::load_as(setup, &btf, &plan, function);
            if direct.is_ok() {
                return direct;
            }
        }
        Self::load_as(setup, &btf, &plan, None)
    }

    /// Loads and attaches, with or without direct reads.
    fn load_as(setup: &Setup, btf: &Btf, plan: &Plan, function: Option<u32>) -> Result<Self, SetupError> {
        let types = setup.look_around.then(around::Types::read);
        let mut ebpf = object(setup, btf, plan, function)?;
        let (mut loaded, mut not_loaded) = (Vec::new(), Vec::new());
        for spec in PROGRAMS.iter().filter(|spec| setup.hooks.wants(spec)) {
            if let Some(why) = cannot(spec, btf, plan) {
                if spec.part == Part::Calls {
                    return Err(SetupErrorKind::NoTracepoint { name: spec.tracepoint }.into());
                }
                not_loaded.push(NotLoaded {
                    program: spec.name,
                    why,
                });
                continue;
            }
            program_of(&mut ebpf, spec.name)?
                .load()
                .map_err(|error| SetupError::refused(spec.name, error))?;
            loaded.push(spec);
        }
        for (index, (part, name)) in (0..).zip(CONTINUED) {
            if loaded.iter().any(|spec| spec.part == part) {
                goes_on(&mut ebpf, index, name)?;
            }
        }
        let around = match types.map(|types| around::load(&mut ebpf, types)) {
            Some(Err(why)) => {
                not_loaded.push(NotLoaded {
                    program: around::NAME,
                    why: why.to_string(),
                });
                None
            }
            Some(Ok(file)) => Some(file),
            None => None,
        };
        let ring = RingBuf::try_from(map(&mut ebpf, "RING")?)?;
        let traced = HashMap::try_from(map(&mut ebpf, "TRACED")?)?;
        let plain_calls = HashMap::try_from(map(&mut ebpf, "IO_COUNTERS")?)?;
        let sums = HashMap::try_from(map(&mut ebpf, "DIGESTS")?)?;
        let tallies = PerCpuArray::try_from(map(&mut ebpf, "PROGRAM_STATS")?)?;
        // Nothing is attached before all is loaded: what is refused has disturbed nobody.
        for spec in &loaded {
            program_of(&mut ebpf, spec.name)?
                .attach(spec.tracepoint)
                .map_err(|error| SetupError::refused(spec.name, error))?;
        }
        Ok(Self {
            ebpf,
            ring,
            ring_bytes: setup.ring_bytes,
            traced,
            plain: plain_calls,
            sums,
            tallies,
            loaded,
            not_loaded,
            looks_around: around.is_some(),
            around,
        })
    }

    /// Traces a process from here on, by its number in the initial PID namespace.
    pub fn follow(&mut self, tgid: u32) -> Result<(), SetupError> {
        Ok(self.traced.insert(tgid, 1, 0)?)
    }

    /// Traces a process no longer. What it started goes on being traced. One that was not traced is no error.
    pub fn unfollow(&mut self, tgid: u32) {
        let _ = self.traced.remove(&tgid);
    }

    /// Looks at what traced processes have open already: connections are watched from here on, and records of what lies in
    /// their pipes are written. `members` are the processes of the cgroup, if one is traced: which they are the kernel does
    /// not tell the iterator.
    ///
    /// Once, and only if [`Setup::look_around`] was asked for: otherwise nothing happens, nor where the kernel cannot
    /// do it, see [`not_loaded`](Self::not_loaded).
    ///
    /// # Errors
    ///
    /// If the kernel has no room for the processes, or ends the iteration early. What it has shown until then was seen.
    pub fn look_around(&mut self, members: &[u32]) -> Result<(), SetupError> {
        let Some(file) = self.around.take() else {
            return Ok(());
        };
        for member in members {
            self.follow(*member)?;
        }
        let read = around::read(&file);
        for member in members {
            self.unfollow(*member);
        }
        read.map_err(|error| SetupErrorKind::Other(format!("what processes have open: {error}")).into())
    }

    /// Gives all records that are in the ring now to `each`, in the order in which room was made for them; tells how
    /// many.
    pub fn drain(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        reader::drain(&mut self.ring, self.ring_bytes, each)
    }

    /// The plain calls so far.
    pub fn plain(&mut self) -> Vec<(IoCounterKey, IoCounters)> {
        reader::plain(&self.plain)
    }

    /// The sums over connections that are open now, by the address of the socket.
    pub fn sums(&mut self) -> Vec<(u64, DigestState)> {
        reader::sums(&self.sums)
    }

    /// What each program wrote and lost so far.
    pub fn loss(&mut self) -> Vec<ProgramLoss> {
        let of = |spec: &&'static Spec| {
            let mut loss = self.tallied(spec.name, spec.number);
            if let Some(program) = there(&self.ebpf, spec.name) {
                loss.recursion_misses = program
                    .fd()
                    .ok()
                    .and_then(|fd| loss::recursion_misses(fd.as_fd()).ok())
                    .unwrap_or(0);
            }
            loss
        };
        self.loaded.iter().map(of).chain(self.loss_around()).collect()
    }

    /// What the iterator wrote and lost; `None` if it wrote nothing.
    fn loss_around(&self) -> Option<ProgramLoss> {
        let loss = self.tallied(around::NAME, program::TASK_FILE);
        (loss.written > 0 || loss.reserve_failures > 0).then_some(loss)
    }

    /// What a program counted, on all CPUs.
    fn tallied(&self, program: &'static str, number: u32) -> ProgramLoss {
        let mut loss = ProgramLoss {
            program,
            number,
            ..ProgramLoss::default()
        };
        if let Ok(cpus) = self.tallies.get(&number, 0) {
            for Row(tally) in cpus.iter() {
                loss.add(tally);
            }
        }
        loss
    }

    /// The programs that are there.
    pub fn programs(&self) -> Vec<Program> {
        let of = |spec: &&'static Spec| Program {
            name: spec.name,
            attached: true,
            verified_instructions: there(&self.ebpf, spec.name)
                .and_then(|program| program.info().ok())
                .and_then(|info| info.verified_instruction_count()),
        };
        let around = self.looks_around.then_some(Program {
            name: around::NAME,
            attached: true,
            verified_instructions: None,
        });
        self.loaded.iter().map(of).chain(around).collect()
    }

    /// What was asked for and cannot be had on this kernel.
    pub fn not_loaded(&self) -> &[NotLoaded] {
        &self.not_loaded
    }

    /// Nanoseconds that the programs ran, on all CPUs. 0 unless the kernel counts (`kernel.bpf_stats_enabled`).
    pub fn run_time_ns(&self) -> u64 {
        let of = |spec: &&'static Spec| Some(there(&self.ebpf, spec.name)?.info().ok()?.run_time().as_nanos() as u64);
        self.loaded.iter().filter_map(of).sum()
    }
}

/// Types of another kernel make programs that read at wrong places. Where this kernel tells its own, they must agree; where
/// it does not only the selftest can tell.
fn is_of_this_kernel(file: &Path, plan: &Plan) -> Result<(), SetupError> {
    let Ok(own) = Btf::of_this_kernel().and_then(|btf| Plan::of(&btf)) else {
        return Ok(());
    };
    match plan.differs_from(&own) {
        None => Ok(()),
        Some((what, there, here)) => Err(SetupErrorKind::OtherTypes {
            file: file.to_owned(),
            what,
            there,
            here,
        }
        .into()),
    }
}

/// The object with its globals and maps, no program loaded yet.
fn object(setup: &Setup, btf: &Btf, plan: &Plan, function: Option<u32>) -> Result<Ebpf, SetupError> {
    let (first, second) = match setup.cookie {
        0 => (0, 0),
        cookie => {
            let name = u128::from_ne_bytes(announcement(cookie));
            (name as u64, (name >> 64) as u64)
        }
    };
    let pages = u32::from(setup.hooks.sums == Some(Sums::Pages));
    let (object, calls) = direct::patched(OBJECT, function);
    let direct = u32::from(function.is_some() && calls > 0);
    let by_address = btf.tracepoint_arguments("io_uring_complete").ok() == Some(COMPLETED_AT);
    let by_address = u32::from(by_address);
    let (mode, cgroup, level) = setup.scope.globals();
    let (self_tgid, follow) = (std::process::id(), u32::from(setup.descendants));
    let mut loader = EbpfLoader::new();
    // The compiler drops globals that no program reads.
    for (name, value) in &plan.values {
        loader.override_global(name, value, false);
    }
    loader
        .override_global("SCOPE_MODE", &mode, true)
        .override_global("SELF_TGID", &self_tgid, true)
        .override_global("CGROUP_ID", &cgroup, true)
        .override_global("CGROUP_LEVEL", &level, true)
        .override_global("FOLLOW", &follow, true)
        .override_global("COOKIE_FIRST", &first, true)
        .override_global("COOKIE_SECOND", &second, true)
        .override_global("SUM_SECRET", &setup.secret, true)
        .override_global("SUM_PAGES", &pages, true)
        .override_global("DIRECT", &direct, true)
        .override_global("CQE_ADDRESS", &by_address, true)
        .map_max_entries("RING", setup.ring_bytes);
    Ok(loader.load(&object)?)
}

/// Why a program cannot be had on this kernel.
fn cannot(spec: &Spec, btf: &Btf, plan: &Plan) -> Option<String> {
    if let Some(missing) = plan.missing_for(spec.part).filter(|_| spec.part != Part::Optional) {
        return Some(missing.to_string());
    }
    match btf.tracepoint_arguments(spec.tracepoint) {
        Ok(found) => {
            let (fits, wanted) = match spec.arguments {
                Arguments::AtLeast(least) => (found >= least, least.to_string()),
                Arguments::OneOf(numbers) => {
                    let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                    (numbers.contains(&found), all.join(" or "))
                }
            };
            let why = || format!("the tracepoint {} has {found} arguments, not {wanted}", spec.tracepoint);
            (!fits).then(why)
        }
        Err(error) => Some(error.to_string()),
    }
}

/// A program of the object.
fn program_of<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut RawTracePoint, SetupError> {
    let program = ebpf.program_mut(name).and_then(|program| program.try_into().ok());
    program.ok_or_else(|| SetupErrorKind::Other(format!("the object has no raw tracepoint program {name}")).into())
}

/// The same, to look at only.
fn there<'a>(ebpf: &'a Ebpf, name: &str) -> Option<&'a RawTracePoint> {
    ebpf.program(name)?.try_into().ok()
}

/// Programs that others go on with: reached by tail calls only. In the order of the map of them
/// (`maps::tail_call`, probes-ebpf/src/maps.rs).
const CONTINUED: [(Part, &str); 3] = [
    (Part::Calls, "tail_pipe_slots"),
    (Part::Packets, "tail_skb_frags"),
    (Part::Bios, "tail_bio_vecs"),
];

/// Loads a program that another goes on with, and tells that one where it is.
fn goes_on(ebpf: &mut Ebpf, index: u32, name: &'static str) -> Result<(), SetupError> {
    let program = program_of(ebpf, name)?;
    program.load().map_err(|error| SetupError::refused(name, error))?;
    let fd = program
        .fd()
        .and_then(|fd| Ok(fd.try_clone()?))
        .map_err(|error| SetupError::refused(name, error))?;
    // The map stays with the object: without a descriptor of it the kernel would empty it.
    let map = ebpf
        .map_mut("TAIL_CALLS")
        .ok_or_else(|| SetupError::from(SetupErrorKind::Other("the object has no map TAIL_CALLS".to_owned())))?;
    Ok(ProgramArray::try_from(map)?.set(index, &fd, 0)?)
}

/// Takes a map of the object.
fn map(ebpf: &mut Ebpf, name: &str) -> Result<Map, SetupError> {
    ebpf.take_map(name)
        .ok_or_else(|| SetupErrorKind::Other(format!("the object has no map {name}")).into())
}

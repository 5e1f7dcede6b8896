//! Loading the programs, attaching them, and what they are asked afterwards.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader};
use zctrace_records::{DigestState, IoCounterKey, IoCounters, announcement, program};

use super::error::{SetupError, SetupErrorKind};
use super::fd_iter;
use super::loss::{self, PodTally, ProgramLoss};
use super::object::OBJECT;
use super::privileges;
use super::rdonly_cast;
use super::reader::{self, PodCounters, PodDigest, PodKey};
use super::scope::ScopeFilter;
use crate::layout::btf::Btf;
use crate::layout::offsets::{KernelOffsets, ProbeGroup};

/// What to load, and for whom.
#[derive(Clone, Debug)]
pub struct LoadOptions {
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
    pub digest_key: u64,
    /// Whether [`snapshot_open_files`](Probes::snapshot_open_files) will be called.
    pub snapshot_open_files: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            scope: ScopeFilter::default(),
            descendants: true,
            cookie: 0,
            ring_bytes: 16 << 20,
            hooks: Hooks::default(),
            btf: None,
            digest_key: 0,
            snapshot_open_files: false,
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
    pub digest: Option<DigestMode>,
}

/// What is summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DigestMode {
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
            digest: None,
        }
    }
}

impl Hooks {
    /// Nothing but sums.
    pub const fn digest_only(mode: DigestMode) -> Self {
        Self {
            calls: false,
            packets: false,
            unix: false,
            bios: false,
            dirty: false,
            digest: Some(mode),
        }
    }

    /// Whether a program is asked for.
    fn includes(self, spec: &ProgramSpec) -> bool {
        let packets = spec.number != program::DIGEST_XMIT || self.digest == Some(DigestMode::Pages);
        self.includes_group(spec.group) && packets
    }

    const fn includes_group(self, group: ProbeGroup) -> bool {
        match group {
            ProbeGroup::Calls => self.calls,
            ProbeGroup::ZeroCopy => self.calls && self.packets,
            ProbeGroup::Packets => self.packets,
            ProbeGroup::Unix => self.unix,
            ProbeGroup::Bios => self.bios,
            ProbeGroup::Dirty => self.dirty,
            ProbeGroup::Digest => self.digest.is_some(),
            ProbeGroup::Always => true,
        }
    }
}

/// A program: its name in the object, what it is for, its number, its tracepoints with the arguments it wants of them.
struct ProgramSpec {
    name: &'static str,
    group: ProbeGroup,
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

const fn spec(name: &'static str, group: ProbeGroup, number: u32, arguments: usize) -> ProgramSpec {
    ProgramSpec {
        name,
        group,
        number,
        tracepoint: name,
        arguments: Arguments::AtLeast(arguments),
    }
}

/// In the order in which they are attached: a call is told of after its entry was seen, a process before it calls.
const PROGRAMS: &[ProgramSpec] = &[
    spec("task_rename", ProbeGroup::Always, program::TASK_RENAME, 2),
    spec("sched_process_fork", ProbeGroup::Always, program::SCHED_PROCESS_FORK, 2),
    spec("sched_process_exec", ProbeGroup::Always, program::SCHED_PROCESS_EXEC, 1),
    spec("sched_process_exit", ProbeGroup::Always, program::SCHED_PROCESS_EXIT, 1),
    spec(
        "inet_sock_set_state",
        ProbeGroup::Packets,
        program::INET_SOCK_SET_STATE,
        3,
    ),
    spec(
        "net_dev_start_xmit",
        ProbeGroup::Packets,
        program::NET_DEV_START_XMIT,
        2,
    ),
    spec("consume_skb", ProbeGroup::Unix, program::CONSUME_SKB, 1),
    spec("kfree_skb", ProbeGroup::Unix, program::KFREE_SKB, 1),
    ProgramSpec {
        // Before 5.11 the queue came first.
        arguments: Arguments::OneOf(&[1]),
        ..spec("block_bio_queue", ProbeGroup::Bios, program::BLOCK_BIO_QUEUE, 1)
    },
    spec(
        "writeback_dirty_folio",
        ProbeGroup::Dirty,
        program::WRITEBACK_DIRTY_FOLIO,
        2,
    ),
    ProgramSpec {
        tracepoint: "inet_sock_set_state",
        ..spec("digest_close", ProbeGroup::Digest, program::DIGEST_CLOSE, 3)
    },
    ProgramSpec {
        tracepoint: "net_dev_start_xmit",
        ..spec("digest_xmit", ProbeGroup::Digest, program::DIGEST_XMIT, 2)
    },
    spec("sock_send_length", ProbeGroup::Digest, program::SOCK_SEND_LENGTH, 3),
    ProgramSpec {
        arguments: Arguments::OneOf(&[CQE_BY_ADDRESS, CQE_BY_VALUE]),
        ..spec("io_uring_complete", ProbeGroup::ZeroCopy, program::IO_URING_COMPLETE, 0)
    },
    spec("sys_enter", ProbeGroup::Calls, program::SYS_ENTER, 2),
    spec("sys_exit", ProbeGroup::Calls, program::SYS_EXIT, 2),
];

/// Arguments of `io_uring_complete`: since 6.15 the last one is the address of the result, before that there was all that is in
/// it. (Before 5.19, when there were no notifications, there were fewer.)
const CQE_BY_ADDRESS: usize = 3;
/// See [`CQE_BY_ADDRESS`].
const CQE_BY_VALUE: usize = 7;

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
    pub reason: String,
}

/// The programs, loaded and attached. Dropping it takes them away.
pub struct Probes {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    ring_bytes: u32,
    traced: HashMap<MapData, u32, u8>,
    io_counters: HashMap<MapData, PodKey, PodCounters>,
    digests: HashMap<MapData, u64, PodDigest>,
    tallies: PerCpuArray<MapData, PodTally>,
    loaded: Vec<&'static ProgramSpec>,
    not_loaded: Vec<NotLoaded>,
    has_fd_iter: bool,
    fd_iter: Option<File>,
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
    pub fn load(options: &LoadOptions) -> Result<Self, SetupError> {
        privileges::ensure_can_load()?;
        let btf = options
            .btf
            .as_ref()
            .map_or_else(Btf::from_running_kernel, Btf::from_file)?;
        let mut offsets = KernelOffsets::from_btf(&btf)?;
        if let Some(file) = &options.btf {
            ensure_same_kernel(file, &offsets)?;
        }
        if let Some(at) = offsets
            .missing
            .iter()
            .position(|missing| missing.group == ProbeGroup::Calls)
        {
            return Err(SetupErrorKind::MissingMember(offsets.missing.swap_remove(at)).into());
        }
        // A file of types says nothing of the numbers of this kernel's functions.
        let function = rdonly_cast::btf_id(&btf).filter(|_| options.btf.is_none());
        if function.is_some() {
            // Whether the kernel takes it only loading shows: the function is older than what it is used for.
            let direct_reads = Self::load_with(options, &btf, &offsets, function);
            if direct_reads.is_ok() {
                return direct_reads;
            }
        }
        Self::load_with(options, &btf, &offsets, None)
    }

    /// Loads and attaches, with or without direct reads.
    fn load_with(
        options: &LoadOptions,
        btf: &Btf,
        offsets: &KernelOffsets,
        function: Option<u32>,
    ) -> Result<Self, SetupError> {
        let iter_btf = options.snapshot_open_files.then(fd_iter::IterBtf::parse_in_background);
        let mut ebpf = load_object(options, btf, offsets, function)?;
        let (mut loaded, mut not_loaded) = (Vec::new(), Vec::new());
        for spec in PROGRAMS.iter().filter(|spec| options.hooks.includes(spec)) {
            if let Some(reason) = unsupported_reason(spec, btf, offsets) {
                if spec.group == ProbeGroup::Calls {
                    return Err(SetupErrorKind::NoTracepoint { name: spec.tracepoint }.into());
                }
                not_loaded.push(NotLoaded {
                    program: spec.name,
                    reason,
                });
                continue;
            }
            program_mut(&mut ebpf, spec.name)?
                .load()
                .map_err(|error| SetupError::refused(spec.name, error))?;
            loaded.push(spec);
        }
        for (index, (group, name)) in (0..).zip(TAIL_CALLS) {
            if loaded.iter().any(|spec| spec.group == group) {
                load_tail_call(&mut ebpf, index, name)?;
            }
        }
        let fd_iter = match iter_btf.map(|iter_btf| fd_iter::open(&mut ebpf, iter_btf)) {
            Some(Err(error)) => {
                not_loaded.push(NotLoaded {
                    program: fd_iter::PROGRAM_NAME,
                    reason: error.to_string(),
                });
                None
            }
            Some(Ok(file)) => Some(file),
            None => None,
        };
        let ring = RingBuf::try_from(take_map(&mut ebpf, "RING")?)?;
        let traced = HashMap::try_from(take_map(&mut ebpf, "TRACED")?)?;
        let io_counters = HashMap::try_from(take_map(&mut ebpf, "IO_COUNTERS")?)?;
        let digests = HashMap::try_from(take_map(&mut ebpf, "DIGESTS")?)?;
        let tallies = PerCpuArray::try_from(take_map(&mut ebpf, "PROGRAM_STATS")?)?;
        // Nothing is attached before all is loaded: what is refused has disturbed nobody.
        for spec in &loaded {
            program_mut(&mut ebpf, spec.name)?
                .attach(spec.tracepoint)
                .map_err(|error| SetupError::refused(spec.name, error))?;
        }
        Ok(Self {
            ebpf,
            ring,
            ring_bytes: options.ring_bytes,
            traced,
            io_counters,
            digests,
            tallies,
            loaded,
            not_loaded,
            has_fd_iter: fd_iter.is_some(),
            fd_iter,
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
    /// Once, and only if [`LoadOptions::snapshot_open_files`] was asked for: otherwise nothing happens, nor where the kernel cannot
    /// do it, see [`not_loaded`](Self::not_loaded).
    ///
    /// # Errors
    ///
    /// If the kernel has no room for the processes, or ends the iteration early. What it has shown until then was seen.
    pub fn snapshot_open_files(&mut self, members: &[u32]) -> Result<(), SetupError> {
        let Some(file) = self.fd_iter.take() else {
            return Ok(());
        };
        for member in members {
            self.follow(*member)?;
        }
        let read = fd_iter::run(&file);
        for member in members {
            self.unfollow(*member);
        }
        read.map_err(|error| SetupErrorKind::Other(format!("what processes have open: {error}")).into())
    }

    /// Gives all records that are in the ring now to `each`, in the order in which room was made for them; tells how
    /// many.
    pub fn drain(&mut self, visit: &mut dyn FnMut(&[u8])) -> usize {
        reader::drain(&mut self.ring, self.ring_bytes, visit)
    }

    /// The plain calls so far.
    pub fn io_counters(&mut self) -> Vec<(IoCounterKey, IoCounters)> {
        reader::read_io_counters(&self.io_counters)
    }

    /// The sums over connections that are open now, by the address of the socket.
    pub fn connection_digests(&mut self) -> Vec<(u64, DigestState)> {
        reader::read_digests(&self.digests)
    }

    /// What each program wrote and lost so far.
    pub fn loss(&mut self) -> Vec<ProgramLoss> {
        let of = |spec: &&'static ProgramSpec| {
            let mut loss = self.tally_of(spec.name, spec.number);
            if let Some(program) = program_ref(&self.ebpf, spec.name) {
                loss.recursion_misses = program
                    .fd()
                    .ok()
                    .and_then(|fd| loss::recursion_misses(fd.as_fd()).ok())
                    .unwrap_or(0);
            }
            loss
        };
        self.loaded.iter().map(of).chain(self.fd_iter_loss()).collect()
    }

    /// What the iterator wrote and lost; `None` if it wrote nothing.
    fn fd_iter_loss(&self) -> Option<ProgramLoss> {
        let loss = self.tally_of(fd_iter::PROGRAM_NAME, program::TASK_FILE);
        (loss.written > 0 || loss.reserve_failures > 0).then_some(loss)
    }

    /// What a program counted, on all CPUs.
    fn tally_of(&self, program: &'static str, number: u32) -> ProgramLoss {
        let mut loss = ProgramLoss {
            program,
            number,
            ..ProgramLoss::default()
        };
        if let Ok(cpus) = self.tallies.get(&number, 0) {
            for PodTally(tally) in cpus.iter() {
                loss.add(tally);
            }
        }
        loss
    }

    /// The programs that are there.
    pub fn programs(&self) -> Vec<Program> {
        let of = |spec: &&'static ProgramSpec| Program {
            name: spec.name,
            attached: true,
            verified_instructions: program_ref(&self.ebpf, spec.name)
                .and_then(|program| program.info().ok())
                .and_then(|info| info.verified_instruction_count()),
        };
        let fd_iter = self.has_fd_iter.then_some(Program {
            name: fd_iter::PROGRAM_NAME,
            attached: true,
            verified_instructions: None,
        });
        self.loaded.iter().map(of).chain(fd_iter).collect()
    }

    /// What was asked for and cannot be had on this kernel.
    pub fn not_loaded(&self) -> &[NotLoaded] {
        &self.not_loaded
    }

    /// Nanoseconds that the programs ran, on all CPUs. 0 unless the kernel counts (`kernel.bpf_stats_enabled`).
    pub fn run_time_ns(&self) -> u64 {
        let of = |spec: &&'static ProgramSpec| {
            Some(program_ref(&self.ebpf, spec.name)?.info().ok()?.run_time().as_nanos() as u64)
        };
        self.loaded.iter().filter_map(of).sum()
    }
}

/// Types of another kernel make programs that read at wrong places. Where this kernel tells its own, they must agree; where
/// it does not only the selftest can tell.
fn ensure_same_kernel(file: &Path, offsets: &KernelOffsets) -> Result<(), SetupError> {
    let Ok(own) = Btf::from_running_kernel().and_then(|btf| KernelOffsets::from_btf(&btf)) else {
        return Ok(());
    };
    match offsets.first_difference(&own) {
        None => Ok(()),
        Some((what, there, here)) => Err(SetupErrorKind::ForeignBtf {
            file: file.to_owned(),
            member: what,
            in_file: there,
            in_kernel: here,
        }
        .into()),
    }
}

/// The object with its globals and maps, no program loaded yet.
fn load_object(
    options: &LoadOptions,
    btf: &Btf,
    offsets: &KernelOffsets,
    function: Option<u32>,
) -> Result<Ebpf, SetupError> {
    let (first, second) = match options.cookie {
        0 => (0, 0),
        cookie => {
            let name = u128::from_ne_bytes(announcement(cookie));
            (name as u64, (name >> 64) as u64)
        }
    };
    let pages = u32::from(options.hooks.digest == Some(DigestMode::Pages));
    let (object, calls) = rdonly_cast::patch_calls(OBJECT, function);
    let direct_reads = u32::from(function.is_some() && calls > 0);
    let cqe_by_address = btf.tracepoint_argument_count("io_uring_complete").ok() == Some(CQE_BY_ADDRESS);
    let cqe_by_address = u32::from(cqe_by_address);
    let (mode, cgroup, level) = options.scope.globals();
    let (self_tgid, follow) = (std::process::id(), u32::from(options.descendants));
    let mut loader = EbpfLoader::new();
    // The compiler drops globals that no program reads.
    for (name, value) in &offsets.values {
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
        .override_global("SUM_SECRET", &options.digest_key, true)
        .override_global("SUM_PAGES", &pages, true)
        .override_global("DIRECT", &direct_reads, true)
        .override_global("CQE_ADDRESS", &cqe_by_address, true)
        .map_max_entries("RING", options.ring_bytes);
    Ok(loader.load(&object)?)
}

/// Why a program cannot be had on this kernel.
fn unsupported_reason(spec: &ProgramSpec, btf: &Btf, offsets: &KernelOffsets) -> Option<String> {
    if let Some(missing) = offsets
        .missing_for(spec.group)
        .filter(|_| spec.group != ProbeGroup::Always)
    {
        return Some(missing.to_string());
    }
    match btf.tracepoint_argument_count(spec.tracepoint) {
        Ok(found) => {
            let (fits, wanted) = match spec.arguments {
                Arguments::AtLeast(least) => (found >= least, least.to_string()),
                Arguments::OneOf(numbers) => {
                    let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                    (numbers.contains(&found), all.join(" or "))
                }
            };
            let mismatch = || format!("the tracepoint {} has {found} arguments, not {wanted}", spec.tracepoint);
            (!fits).then(mismatch)
        }
        Err(error) => Some(error.to_string()),
    }
}

/// A program of the object.
fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut RawTracePoint, SetupError> {
    let program = ebpf.program_mut(name).and_then(|program| program.try_into().ok());
    program.ok_or_else(|| SetupErrorKind::Other(format!("the object has no raw tracepoint program {name}")).into())
}

/// The same, to look at only.
fn program_ref<'a>(ebpf: &'a Ebpf, name: &str) -> Option<&'a RawTracePoint> {
    ebpf.program(name)?.try_into().ok()
}

/// Programs that others go on with: reached by tail calls only. In the order of the map of them
/// (`maps::tail_call`, probes-ebpf/src/maps.rs).
const TAIL_CALLS: [(ProbeGroup, &str); 3] = [
    (ProbeGroup::Calls, "tail_pipe_slots"),
    (ProbeGroup::Packets, "tail_skb_frags"),
    (ProbeGroup::Bios, "tail_bio_vecs"),
];

/// Loads a program that another goes on with, and tells that one where it is.
fn load_tail_call(ebpf: &mut Ebpf, index: u32, name: &'static str) -> Result<(), SetupError> {
    let program = program_mut(ebpf, name)?;
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
fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, SetupError> {
    ebpf.take_map(name)
        .ok_or_else(|| SetupErrorKind::Other(format!("the object has no map {name}")).into())
}

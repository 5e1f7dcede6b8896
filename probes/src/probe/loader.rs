//! Loading and attaching of the eBPF programs.

use std::path::Path;

use aya::maps::{HashMap, Map, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader};
use zctrace_records::{CQE_BY_ADDRESS, PROGRAMS, ProbeGroup, TAIL_CALLS, announcement};

use super::error::{SetupError, SetupErrorKind};
use super::fd_iter;
use super::object::OBJECT;
use super::options::{DigestMode, LoadOptions};
use super::privileges;
use super::probes::{NotLoaded, Probes};
use super::programs::unsupported_reason;
use super::rdonly_cast;
use crate::device;
use crate::layout::btf::Btf;
use crate::layout::offsets::KernelOffsets;

impl Probes {
    /// Loads and attaches the programs.
    ///
    /// Programs that this kernel does not support are skipped and listed in
    /// [`not_loaded`](Self::not_loaded).
    ///
    /// # Errors
    ///
    /// [`SetupError`] if nothing could be shown: its [`hint`](SetupError::hint) says what to do.
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
        // IDs of functions in a BTF file are not those of this kernel.
        let function = rdonly_cast::btf_id(&btf).filter(|_| options.btf.is_none());
        if function.is_some() {
            // Only loading shows whether the kernel accepts the call, because the function is older
            // than its use with type 0.
            let direct_reads = Self::load_with(options, &btf, &offsets, function);
            if direct_reads.is_ok() {
                return direct_reads;
            }
        }
        Self::load_with(options, &btf, &offsets, None)
    }

    /// Loads and attaches the programs; with `function`, they read kernel memory through
    /// `bpf_rdonly_cast`.
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
        for (index, tail_call) in (0..).zip(TAIL_CALLS) {
            if loaded.iter().any(|spec| spec.group == tail_call.group) {
                load_tail_call(&mut ebpf, index, tail_call.name)?;
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
        // Attaching starts only after every program is loaded, so a refused program leaves no probe
        // behind.
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
}

/// Returns an error if offsets from a BTF file differ from this kernel's, because the programs
/// would then read wrong memory. Where the kernel does not show its own types, only the selftest
/// can detect the difference.
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

/// Creates the maps and sets the globals of the object. No program is loaded yet.
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
    let pipefs = device::anonymous_pipes().unwrap_or(0);
    let (self_tgid, follow) = (std::process::id(), u32::from(options.descendants));
    let mut loader = EbpfLoader::new();
    // The compiler drops globals that no program reads, so these need not exist.
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
        .override_global("DIGEST_SECRET", &options.digest_key, true)
        .override_global("DIGEST_PAGES", &pages, true)
        .override_global("RDONLY_CAST", &direct_reads, true)
        .override_global("CQE_BY_ADDRESS", &cqe_by_address, true)
        .override_global("PIPEFS_DEV", &pipefs, true)
        .map_max_entries("RING", options.ring_bytes);
    Ok(loader.load(&object)?)
}

/// Returns a program of the object, for loading or attaching.
fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut RawTracePoint, SetupError> {
    let program = ebpf.program_mut(name).and_then(|program| program.try_into().ok());
    program.ok_or_else(|| SetupErrorKind::Other(format!("the object has no raw tracepoint program {name}")).into())
}

/// Loads a program that is reached by tail calls only, and enters it in the map of tail calls.
fn load_tail_call(ebpf: &mut Ebpf, index: u32, name: &'static str) -> Result<(), SetupError> {
    let program = program_mut(ebpf, name)?;
    program.load().map_err(|error| SetupError::refused(name, error))?;
    let fd = program
        .fd()
        .and_then(|fd| Ok(fd.try_clone()?))
        .map_err(|error| SetupError::refused(name, error))?;
    // The map is borrowed and stays with the object. The kernel empties a program array once no
    // descriptor of it is left.
    let map = ebpf
        .map_mut("TAIL_CALLS")
        .ok_or_else(|| SetupError::from(SetupErrorKind::Other("the object has no map TAIL_CALLS".to_owned())))?;
    Ok(ProgramArray::try_from(map)?.set(index, &fd, 0)?)
}

/// Takes a map out of the object.
fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, SetupError> {
    ebpf.take_map(name)
        .ok_or_else(|| SetupErrorKind::Other(format!("the object has no map {name}")).into())
}

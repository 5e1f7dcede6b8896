//! Attaching of a trace: which probes the selftest allows, and the header of the trace.

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use zctrace_evidence::{Config, PipeBufOps, Recorder, TraceHeader};
use zctrace_report::{FactStatus, Level};

use super::engine_driver::{EngineDriver, MakeRecorder};
use super::options::Options;
use super::{Tracer, calibrate, coverage, local_addresses, mounts, own_cpu_time, pipe_limits, random_u64};
use crate::facts::{self, SelftestResults};
use crate::journal::Journals;
use crate::probe::{DigestMode, Hooks, LoadOptions, Probes, SetupError, SetupErrorKind, object_hash};

impl Tracer {
    /// Loads and attaches the probes.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if tracing cannot be set up: its [`hint`](SetupError::hint) says what to do.
    /// Nothing stays attached then.
    pub fn start(options: Options) -> Result<Self, SetupError> {
        Self::start_with_selftest(options, None)
    }

    /// Loads and attaches the probes, and records every input of the engine. `recorder` is called
    /// once the header of the trace is known. Kernel addresses are anonymized before they reach
    /// recorder and engine.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and the errors of `recorder`.
    pub fn start_recorded(
        options: Options,
        recorder: impl FnOnce(&TraceHeader) -> Result<Box<dyn Recorder>, SetupError>,
    ) -> Result<Self, SetupError> {
        Self::start_with_selftest(options, Some(Box::new(recorder)))
    }

    fn start_with_selftest(mut options: Options, recorder: Option<MakeRecorder<'_>>) -> Result<Self, SetupError> {
        // With the types of a BTF file the programs differ, so only a selftest with that file
        // counts.
        let selftest = facts::cache::load_for_btf(options.btf.as_deref());
        if let Some(results) = &selftest {
            let hooks = &mut options.hooks;
            let silent = |fact| results.alive(fact).0 == FactStatus::Silent;
            // Facts that failed the selftest are not used. Calls are kept, because nothing works
            // without them; the coverage reports them as silent.
            hooks.packets &= !silent(facts::PACKETS) && !silent(facts::CLOSES);
            hooks.unix &= !silent(facts::MESSAGES);
            hooks.bios &= !silent(facts::DISK);
            hooks.dirty &= !silent(facts::DIRTY);
        }
        let uses_digests = options.hooks.digest.is_some();
        let tracer = Self::attach(options, selftest.as_ref(), mounts::read(), recorder)?;
        let silent = selftest.filter(|results| results.alive(facts::DIGESTS).0 == FactStatus::Silent);
        let silent = silent.map(|_| "the selftest has not seen what it should".to_owned());
        match tracer
            .missing_reason(facts::DIGESTS)
            .or(silent)
            .filter(|_| uses_digests)
        {
            // No other probe is attached at this level.
            Some(reason) => Err(SetupErrorKind::NoDigest { reason }.into()),
            None => Ok(tracer),
        }
    }

    /// Attaches every probe for the selftest, whatever earlier results say. No filesystem counts as
    /// buffered, so that writes to files are classified by observation alone.
    pub(crate) fn start_for_selftest(options: Options) -> Result<Self, SetupError> {
        let mut mounts = mounts::read();
        mounts.copied_on_read.extend(mounts.buffered.drain());
        Self::attach(options, None, mounts, None)
    }

    fn attach(
        options: Options,
        selftest: Option<&SelftestResults>,
        mounts: mounts::Mounts,
        recorder: Option<MakeRecorder<'_>>,
    ) -> Result<Self, SetupError> {
        let pipe_buf_ops = if options.hooks.calls {
            calibrate::pipe_buf_ops(options.btf.as_ref())?
        } else {
            PipeBufOps::default()
        };
        let can_detect_holes = pipe_buf_ops.zero != 0;
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
        let header = TraceHeader {
            kernel: kernel_release(),
            object: object_hash().to_owned(),
            started_unix_ms: unix_ms(),
            scope: options.scope,
            coverage: coverage::coverage_of(&probes, requested, selftest),
            pipe_limits: pipe_limits::read(),
            per_syscall_ns: facts::cache::load_syscall_overhead().filter(|_| options.hooks.calls),
            config: Config {
                pipe_buf_ops,
                mounts: mounts.paths,
                buffered: mounts.buffered,
                copied_on_read: mounts.copied_on_read,
                own_pages: mounts.own_pages,
                no_direct_io: mounts.no_direct_io,
                local_addresses: local_addresses::read(),
                hash_key: random_u64(),
                level: level_of(options.hooks),
            },
        };
        Ok(Self {
            probes,
            driver: EngineDriver::new(header, recorder)?,
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
}

const fn level_of(hooks: Hooks) -> Level {
    match hooks.digest {
        None => Level::Full,
        Some(DigestMode::Pages) => Level::Digest,
        Some(DigestMode::Bytes) => Level::Counters,
    }
}

/// Returns the time in milliseconds since 1970-01-01 00:00 UTC.
fn unix_ms() -> Option<u64> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    since_1970.and_then(|since| u64::try_from(since.as_millis()).ok())
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

//! Calibration: learns how this kernel marks the slots of a pipe, by creating one of each kind and
//! observing it.
//!
//! The addresses of the `pipe_buf_operations` are data symbols, which `/proc/kallsyms` lists on few
//! kernels (`CONFIG_KALLSYMS_ALL`). Therefore pipes of this process are filled by write(2), by
//! splice(2) from a file and from a hole, and by vmsplice(2), under a trace of this process alone.
//! If nothing is observed the programs do not work here. That is an error, because an attached
//! probe that never fires is worse than none.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use zctrace_records::{PageRange, endpoint_kind, process_event_kind, station_kind};

use super::random_u64;
use crate::probe::{Hooks, LoadOptions, Probes, Record, ScopeFilter, SetupError, SetupErrorKind, announce};
use zctrace_evidence::PipeBufOps;

/// Returns the identities of the slot kinds.
pub(super) fn pipe_buf_ops(btf: Option<&PathBuf>) -> Result<PipeBufOps, SetupError> {
    let cookie = random_u64();
    let options = LoadOptions {
        scope: ScopeFilter::Processes,
        descendants: false,
        cookie,
        ring_bytes: 1 << 20,
        hooks: Hooks {
            calls: true,
            packets: false,
            unix: false,
            bios: false,
            dirty: false,
            digest: None,
        },
        btf: btf.cloned(),
        digest_key: 0,
        snapshot_open_files: false,
    };
    let mut probes = Probes::load(&options)?;
    announce(cookie);
    let mut calibration = Calibration {
        tgid: own_tgid(&mut probes),
        probes,
    };
    let ops = calibration.pipe_buf_ops();
    if let Some(tgid) = calibration.tgid {
        calibration.probes.unfollow(tgid);
    }
    ops
}

/// Returns the PID of this process as the programs record it.
fn own_tgid(probes: &mut Probes) -> Option<u32> {
    let mut own = None;
    probes.drain(&mut |bytes| {
        if let Ok(Record::Process(process)) = Record::from_bytes(bytes)
            && process.event == process_event_kind::ATTACHED
        {
            own = Some(process.header.tgid);
        }
    });
    own
}

struct Calibration {
    probes: Probes,
    tgid: Option<u32>,
}

impl Calibration {
    fn pipe_buf_ops(&mut self) -> Result<PipeBufOps, SetupError> {
        let memory = [7_u8; 4096];
        let file = memfd(&memory)?;
        let hole = memfd(&[])?;
        ftruncate(&hole, 4096).map_err(failed)?;
        let anonymous = self.observe_slot(|pipe| rustix::io::write(pipe, &memory).map(drop))?;
        let page_cache = self.observe_slot(|pipe| splice_into(file.as_fd(), pipe))?;
        let user = self.observe_slot(|pipe| vmsplice_into(pipe, &memory))?;
        let zeros = self.observe_slot(|pipe| splice_into(hole.as_fd(), pipe))?;
        Ok(PipeBufOps {
            page_cache: page_cache.ops,
            anonymous: anonymous.ops,
            user: user.ops,
            // Before 6.5 a hole was spliced as a page-cache slot (fs/splice.c).
            zero: if zeros.ops == page_cache.ops { 0 } else { zeros.ops },
            zero_page: zeros.page,
        })
    }

    /// Returns the slot that `fill` creates in a new pipe.
    fn observe_slot(
        &mut self,
        fill: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> Result<PageRange, SetupError> {
        let (read, write): (OwnedFd, OwnedFd) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let ino = fstat(&read).map_err(failed)?.st_ino;
        fill(write.as_fd()).map_err(failed)?;
        let mut stations = Vec::new();
        let mut serial = None;
        self.probes.drain(&mut |bytes| match Record::from_bytes(bytes) {
            Ok(Record::Pages(station)) if station.station == station_kind::PIPE_SINK => stations.push(station),
            Ok(Record::Call(call)) if call.sink.kind == endpoint_kind::PIPE && call.sink.ino == ino => {
                serial = Some(call.call_id);
            }
            _ => {}
        });
        stations
            .iter()
            .find(|station| Some(station.call_id) == serial && station.count > 0)
            .map(|station| station.ranges[0])
            .filter(|piece| piece.ops != 0 && piece.page != 0)
            .ok_or_else(|| {
                SetupErrorKind::Other(
                    "the probes are attached, and did not see a splice that zctrace made itself to try them".to_owned(),
                )
                .into()
            })
    }
}

fn memfd(bytes: &[u8]) -> Result<File, SetupError> {
    let mut file = File::from(memfd_create("zctrace-calibration", MemfdFlags::CLOEXEC).map_err(failed)?);
    file.write_all(bytes)
        .map_err(|error| SetupErrorKind::Other(format!("calibration: {error}")))?;
    Ok(file)
}

fn splice_into(file: BorrowedFd<'_>, pipe: BorrowedFd<'_>) -> rustix::io::Result<()> {
    splice(file, Some(&mut 0), pipe, None, 4096, SpliceFlags::empty()).map(drop)
}

#[allow(unsafe_code)]
fn vmsplice_into(pipe: BorrowedFd<'_>, memory: &[u8]) -> rustix::io::Result<()> {
    // SAFETY: vmsplice requires that the memory stays mapped and unchanged while the pipe refers to
    // its pages. `observe_slot` closes the pipe before `memory` goes out of scope, nothing reads
    // from the pipe, and `memory` is not written to meanwhile.
    unsafe {
        rustix::pipe::vmsplice(
            pipe,
            &[rustix::pipe::IoSliceRaw::from_slice(memory)],
            SpliceFlags::empty(),
        )
    }
    .map(drop)
}

fn failed(errno: rustix::io::Errno) -> SetupError {
    SetupErrorKind::Other(format!("calibration: {}", std::io::Error::from(errno))).into()
}

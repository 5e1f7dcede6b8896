//! How this kernel marks the slots of a pipe: asked by doing each kind of thing once, and looking.
//!
//! The addresses of `pipe_buf_operations` are data symbols, which `/proc/kallsyms` lists on few kernels
//! (`CONFIG_KALLSYMS_ALL`). So a pipe of our own is filled by write(2), by splice(2) from a file, by vmsplice(2) and from a
//! hole, under a trace of this process alone. That nothing was seen means that the programs do not work here: an error, for
//! a probe that is attached and silent is worse than none.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use zctrace_records::{PageRange, endpoint_kind, process_event_kind, station_kind};

use super::random;
use crate::probe::{Hooks, Probes, Record, ScopeFilter, Setup, SetupError, SetupErrorKind, announce};
use zctrace_evidence::SlotNames;

/// What the kernel calls slots.
pub(super) fn slot_names(btf: Option<&PathBuf>) -> Result<SlotNames, SetupError> {
    let cookie = random();
    let setup = Setup {
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
            sums: None,
        },
        btf: btf.cloned(),
        secret: 0,
        look_around: false,
    };
    let mut probes = Probes::load(&setup)?;
    announce(cookie);
    let mut trial = Trial {
        joined: joined(&mut probes),
        probes,
    };
    let names = trial.names();
    if let Some(tgid) = trial.joined {
        trial.probes.unfollow(tgid);
    }
    names
}

/// Our own number, as the programs see it.
fn joined(probes: &mut Probes) -> Option<u32> {
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

struct Trial {
    probes: Probes,
    joined: Option<u32>,
}

impl Trial {
    fn names(&mut self) -> Result<SlotNames, SetupError> {
        let memory = [7_u8; 4096];
        let file = memfd(&memory)?;
        let hole = memfd(&[])?;
        ftruncate(&hole, 4096).map_err(failed)?;
        let anonymous = self.slot(|pipe| rustix::io::write(pipe, &memory).map(drop))?;
        let page_cache = self.slot(|pipe| into_pipe(file.as_fd(), pipe))?;
        let user = self.slot(|pipe| lend(pipe, &memory))?;
        let zeros = self.slot(|pipe| into_pipe(hole.as_fd(), pipe))?;
        Ok(SlotNames {
            page_cache: page_cache.ops,
            anonymous: anonymous.ops,
            user: user.ops,
            // Before 6.5 holes were slots of the page cache (fs/splice.c).
            zero: if zeros.ops == page_cache.ops { 0 } else { zeros.ops },
            zero_page: zeros.page,
        })
    }

    /// The slot that `fill` makes in a pipe of its own.
    fn slot(&mut self, fill: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>) -> Result<PageRange, SetupError> {
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

fn into_pipe(file: BorrowedFd<'_>, pipe: BorrowedFd<'_>) -> rustix::io::Result<()> {
    splice(file, Some(&mut 0), pipe, None, 4096, SpliceFlags::empty()).map(drop)
}

#[allow(unsafe_code)]
fn lend(pipe: BorrowedFd<'_>, memory: &[u8]) -> rustix::io::Result<()> {
    // SAFETY: the pipe is closed before the memory is used again, and nobody reads from it.
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

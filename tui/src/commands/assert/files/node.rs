//! One file as the file system shows it now.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, SeekFrom, StatxFlags, Timespec, seek, statx};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::mounts::Mounts;

/// Time of the file system's clock, in seconds and nanoseconds.
pub(super) type Time = (i64, u32);

/// A file's identity and length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    /// Identity as in a report: `major:minor:inode`, with the kernel's device.
    pub(super) object: String,
    /// `true` if another file can have the same identity.
    pub(super) is_ambiguous: bool,
    /// `true` for a regular file.
    pub(super) is_regular: bool,
    /// Number of names.
    pub(super) links: u32,
    /// Length, in bytes.
    pub(super) size: u64,
    /// Size of the blocks in which the file is allocated, in bytes.
    pub(super) block_bytes: u64,
    /// Time at which the file was made, where the file system keeps it.
    pub(super) born: Option<Time>,
    /// Time of the last change, also of names if this is a directory.
    pub(super) changed: Time,
}

impl Node {
    /// Examines a path. Returns `None` if there is no such file.
    pub(super) fn of(path: &Path, follow: bool, mounts: &Mounts) -> io::Result<Option<Self>> {
        let flags = if follow {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let data = match statx(CWD, path, flags, wanted) {
            Ok(data) => data,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mount = mounts.by_id(data.stx_mnt_id);
        let device = mount.map_or_else(
            || format!("{}:{}", data.stx_dev_major, data.stx_dev_minor),
            |mount| mount.device.clone(),
        );
        let has_birth = data.stx_mask & StatxFlags::BTIME.bits() != 0;
        Ok(Some(Self {
            object: format!("{device}:{}", data.stx_ino),
            is_ambiguous: mount.is_none_or(|mount| mount.is_ambiguous),
            is_regular: FileType::from_raw_mode(data.stx_mode.into()) == FileType::RegularFile,
            links: data.stx_nlink,
            size: data.stx_size,
            block_bytes: u64::from(data.stx_blksize).max(4096),
            born: has_birth.then_some((data.stx_btime.tv_sec, data.stx_btime.tv_nsec)),
            changed: (data.stx_ctime.tv_sec, data.stx_ctime.tv_nsec),
        }))
    }
}

/// Returns the time that a file made now would have, or an earlier one.
pub(super) fn now() -> Time {
    time(ClockId::RealtimeCoarse)
}

/// Returns a time that is not earlier than that of a file made now.
pub(super) fn precise_now() -> Time {
    time(ClockId::Realtime)
}

fn time(clock: ClockId) -> Time {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    (tv_sec, u32::try_from(tv_nsec).unwrap_or(0))
}

/// Returns how many bytes from `start` on are data and not holes, in whole blocks.
pub(super) fn data_bytes(path: &Path, start: u64) -> io::Result<u64> {
    let file = std::fs::File::open(path)?;
    let (mut at, mut sum) = (start, 0);
    loop {
        let data = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(sum),
            Err(error) => return Err(error.into()),
        };
        at = seek(&file, SeekFrom::Hole(data))?;
        sum += at.saturating_sub(data);
    }
}

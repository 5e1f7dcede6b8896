//! Mount points of filesystems, and which filesystems copy what is written to them.

use std::collections::{HashMap, HashSet};

use rustix::fs::{MemfdFlags, fstat, major, memfd_create, minor};

/// Filesystems that copy written bytes into their own page cache unless the file is open with
/// `O_DIRECT` (fs/*/file.c: `generic_perform_write`, `iomap_file_buffered_write`,
/// `btrfs_buffered_write`). FUSE and overlayfs are excluded, because they can pass writes to a file
/// of another filesystem.
const BUFFERED_FILESYSTEMS: [&str; 10] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "vfat", "exfat", "ramfs",
];

/// Content of `/proc/self/mountinfo`.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) paths: HashMap<u32, String>,
    pub(super) buffered: HashSet<u32>,
}

/// Reads the mounts. Unreadable parts are omitted.
pub(super) fn read() -> Mounts {
    let mut mounts = parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    mounts.buffered.extend(memfd_device());
    mounts
}

/// Returns the device of memfds: a tmpfs that the kernel mounts internally and lists nowhere.
fn memfd_device() -> Option<u32> {
    let file = memfd_create("zctrace-device", MemfdFlags::CLOEXEC).ok()?;
    let device = fstat(&file).ok()?.st_dev;
    Some((major(device) << 20) | minor(device))
}

/// Parses proc(5): `ID PARENT MAJOR:MINOR ROOT MOUNT-POINT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS`.
fn parse(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in text.lines() {
        let Some((head, tail)) = line.split_once(" - ") else {
            continue;
        };
        let words: Vec<&str> = head.split(' ').collect();
        let (Some(device), Some(root), Some(point)) = (words.get(2), words.get(3), words.get(4)) else {
            continue;
        };
        let Some((major, minor)) = device.split_once(':') else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else {
            continue;
        };
        let device = (major << 20) | minor;
        // Paths of files are relative to the filesystem's root, which a bind mount of a
        // subdirectory does not show.
        if *root == "/" {
            mounts.paths.entry(device).or_insert_with(|| unescape(point));
        }
        if tail
            .split(' ')
            .next()
            .is_some_and(|kind| BUFFERED_FILESYSTEMS.contains(&kind))
        {
            mounts.buffered.insert(device);
        }
    }
    mounts
}

/// Decodes three octal digits, the escape for spaces and the like.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        if *first == b'\\'
            && let [a, b, c, after @ ..] = rest
            && let Ok(digits) = std::str::from_utf8(&[*a, *b, *c])
            && let Ok(byte) = u8::from_str_radix(digits, 8)
        {
            plain.push(byte);
            bytes = after;
        } else {
            plain.push(*first);
            bytes = rest;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_device() {
        let mounts = parse(
            "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
             37 35 98:0 / /srv/my\\040files rw - ext3 /dev/root rw\n\
             38 35 0:44 / /mnt/fuse rw - fuse.sshfs host: rw\n\
             damaged line\n",
        );
        assert_eq!(mounts.paths[&(98 << 20)], "/srv/my files");
        assert!(mounts.buffered.contains(&(98 << 20)));
        assert!(!mounts.buffered.contains(&44));
    }
}

//! Mount points of filesystems, and which filesystems copy what is written to them.

use std::collections::{HashMap, HashSet};

use crate::device::{self, kernel_device};

/// Filesystems that copy written bytes into their own page cache unless the file is open with
/// `O_DIRECT` (fs/*/file.c: `generic_perform_write`, `iomap_file_buffered_write`,
/// `btrfs_buffered_write`). FUSE is excluded, because it can pass writes to a file of another
/// filesystem. overlayfs does so too, and is one of these if its upper directory is on one.
const BUFFERED_FILESYSTEMS: [&str; 10] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "vfat", "exfat", "ramfs",
];

/// Filesystems whose files have no page cache: the kernel copies what it splices from them into
/// fresh pages (fs/splice.c: `copy_splice_read()`; up to 6.4 `lib/iov_iter.c`:
/// `copy_to_iter()` into a pipe). tracefs and debugfs are excluded, because ring buffers and relay
/// files pass pages of their own.
const COPIED_ON_READ: [&str; 4] = ["proc", "sysfs", "cgroup", "cgroup2"];

/// Filesystems in memory. tmpfs accepts `O_DIRECT` since 6.6 and copies (mm/shmem.c:
/// `shmem_file_open()` sets `FMODE_CAN_ODIRECT`). Their file operations have neither
/// `remap_file_range` nor `copy_file_range`, so the kernel cannot clone their files.
const NO_DIRECT_IO: [&str; 2] = ["tmpfs", "ramfs"];

/// Content of `/proc/thread-self/mountinfo`.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) paths: HashMap<u32, String>,
    pub(super) buffered: HashSet<u32>,
    pub(super) copied_on_read: HashSet<u32>,
    /// Filesystems of [`BUFFERED_FILESYSTEMS`]: each file has its own page cache. Overlays are not
    /// among them, because their files have the pages of the layer below.
    pub(super) own_pages: HashSet<u32>,
    pub(super) no_direct_io: HashSet<u32>,
}

/// Reads the mounts that the calling thread sees. A thread can have a mount namespace of its own.
/// Unreadable parts are omitted.
pub(super) fn read() -> Mounts {
    let mut mounts = parse(&std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default());
    let memfds = device::memfds().ok();
    mounts.buffered.extend(memfds);
    mounts.own_pages.extend(memfds);
    mounts.no_direct_io.extend(memfds);
    mounts
}

/// Parses proc(5): `ID PARENT MAJOR:MINOR ROOT MOUNT-POINT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS`.
fn parse(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    let (mut buffered_points, mut other_points, mut overlays) = (Vec::new(), Vec::new(), Vec::new());
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
        let device = kernel_device(major, minor);
        // Paths of files are relative to the filesystem's root, which a bind mount of a
        // subdirectory does not show.
        if *root == "/" {
            mounts.paths.entry(device).or_insert_with(|| unescape(point));
        }
        let words: Vec<&str> = tail.split(' ').collect();
        match words.first() {
            Some(kind) if BUFFERED_FILESYSTEMS.contains(kind) => {
                mounts.buffered.insert(device);
                mounts.own_pages.insert(device);
                if NO_DIRECT_IO.contains(kind) {
                    mounts.no_direct_io.insert(device);
                }
                buffered_points.push(unescape(point));
            }
            Some(kind) if COPIED_ON_READ.contains(kind) => {
                mounts.copied_on_read.insert(device);
                other_points.push(unescape(point));
            }
            Some(&"overlay") => {
                overlays.extend(
                    words
                        .get(2)
                        .and_then(|options| upper_dir(options))
                        .map(|upper| (device, upper)),
                );
                other_points.push(unescape(point));
            }
            _ => other_points.push(unescape(point)),
        }
    }
    let longest = |points: &[String], path: &str| {
        let above = points.iter().filter(|point| is_below(path, point));
        above.map(String::len).max()
    };
    for (device, upper) in overlays {
        if longest(&buffered_points, &upper) > longest(&other_points, &upper) {
            mounts.buffered.insert(device);
        }
    }
    mounts
}

/// Returns the network namespaces that are mounted as files, and where.
///
/// `net:[INODE]`, the target of the links in `/proc/PID/ns`, is the root of such a mount
/// (fs/nsfs.c: `nsfs_show_path()`).
pub(super) fn network_namespaces(mountinfo: &str) -> impl Iterator<Item = (&str, String)> {
    mountinfo.lines().filter_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let mut words = head.split(' ').skip(3);
        let (root, point) = (words.next()?, words.next()?);
        (tail.starts_with("nsfs ") && root.starts_with("net:")).then(|| (root, unescape(point)))
    })
}

/// Returns the directory to which an overlay filesystem writes.
///
/// A write to a file of the overlay is a write to its copy there, in the same thread
/// (fs/overlayfs/file.c: `ovl_write_iter()`).
fn upper_dir(options: &str) -> Option<String> {
    let upper = options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
    Some(unescape(upper))
}

/// Returns whether a path is a mount point or below it.
fn is_below(path: &str, point: &str) -> bool {
    let point = point.trim_end_matches('/');
    path.strip_prefix(point)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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

    #[test]
    fn network_namespaces_are_found_where_they_are_mounted() {
        let text = "40 30 0:4 net:[4026532321] /run/netns/my\\040net rw shared:7 - nsfs nsfs rw\n\
                    41 30 0:4 mnt:[4026532322] /run/mnt/other rw - nsfs nsfs rw\n\
                    42 30 8:1 / /srv rw - ext4 /dev/sda1 rw\n";
        let found: Vec<_> = network_namespaces(text).collect();
        assert_eq!(found, [("net:[4026532321]", "/run/netns/my net".to_owned())]);
    }

    #[test]
    fn overlay_is_buffered_if_its_upper_directory_is() {
        let mounts = parse(
            "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             21 20 0:30 / /mnt/remote rw - nfs4 host:/ rw\n\
             22 20 0:31 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/var/up\\040per,workdir=/w\n\
             23 20 0:32 / /other rw - overlay overlay rw,lowerdir=/l,upperdir=/mnt/remote/up,workdir=/w\n\
             24 20 0:33 / /readonly ro - overlay overlay ro,lowerdir=/l\n\
             25 20 0:34 / /proc rw - proc proc rw\n",
        );
        let is_buffered = |minor: u32| mounts.buffered.contains(&minor);
        assert_eq!([31, 32, 33, 34].map(is_buffered), [true, false, false, false]);
        assert_eq!(mounts.own_pages, HashSet::from([8 << 20 | 1]), "not the overlay's");
        assert!(mounts.copied_on_read.contains(&34));
    }
}

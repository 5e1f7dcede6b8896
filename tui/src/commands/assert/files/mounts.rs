//! Mounts of this process, by which a path is translated to the identity that the probes record.
//!
//! stat(2) shows another device number than the kernel's own for btrfs and overlayfs, so the device
//! is taken from `/proc/self/mountinfo`.

use std::path::{Path, PathBuf};

/// Filesystems on which an inode number does not identify a file: subvolumes of btrfs have equal
/// numbers, and an overlay shows those of its layers.
const AMBIGUOUS: [&str; 3] = ["btrfs", "bcachefs", "overlay"];

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug)]
pub(super) struct Mount {
    /// Number of the mount, as `statx(2)` shows it.
    pub(super) id: u64,
    /// Device, as `major:minor`.
    pub(super) device: String,
    /// Mount point.
    pub(super) point: PathBuf,
    /// `true` if equal inode numbers can be different files.
    pub(super) is_ambiguous: bool,
}

/// All mounts.
#[derive(Clone, Default, Debug)]
pub(super) struct Mounts(pub(super) Vec<Mount>);

impl Mounts {
    /// Reads the mounts. Unreadable lines are omitted.
    pub(super) fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Parses proc(5): `ID PARENT MAJOR:MINOR ROOT MOUNT-POINT OPTIONS [FIELDS] - TYPE SOURCE
    /// OPTIONS`.
    fn parse(text: &str) -> Self {
        let mount = |line: &str| {
            let (head, tail) = line.split_once(" - ")?;
            let words: Vec<&str> = head.split(' ').collect();
            Some(Mount {
                id: words.first()?.parse().ok()?,
                device: (*words.get(2)?).to_owned(),
                point: unescape(words.get(4)?).into(),
                is_ambiguous: AMBIGUOUS.contains(&tail.split(' ').next()?),
            })
        };
        Self(text.lines().filter_map(mount).collect())
    }

    /// Returns the mount with a number.
    pub(super) fn by_id(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    /// Returns the mount that shows a path without links. Of several on one point, the last is
    /// visible.
    pub(super) fn of(&self, path: &Path) -> Option<&Mount> {
        let above = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        above.max_by_key(|mount| mount.point.as_os_str().len())
    }
}

/// Decodes three octal digits, the escape for spaces and the like.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_belongs_to_the_last_of_the_nearest_mounts() {
        let mounts = Mounts::parse(
            "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             22 21 0:40 / /mnt/a\\040b rw shared:1 - btrfs /dev/sdb rw\n\
             23 21 0:41 / /mnt/a\\040b rw - tmpfs none rw\n\
             broken\n",
        );
        let device = |path: &str| mounts.of(Path::new(path)).map(|mount| mount.device.as_str());
        assert_eq!(device("/mnt/a b/c"), Some("0:41"));
        assert_eq!(device("/mnt/a"), Some("8:1"));
        assert!(mounts.by_id(22).expect("a mount").is_ambiguous);
        assert!(!mounts.by_id(21).expect("a mount").is_ambiguous && mounts.by_id(9).is_none());
    }
}

//! Shared by all cases: a file of known bytes, and files to write to.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use tempfile::NamedTempFile;

/// Enough for every scenario, and little enough to be read a hundred thousand times.
const LEN: usize = 256 * 1024;

/// Open for the life of the test.
pub(crate) struct Fixtures {
    pub(crate) data: Vec<u8>,
    pub(crate) file: File,
    source: NamedTempFile,
    takes_direct: bool,
}

impl Fixtures {
    pub(crate) fn new() -> Self {
        // No period that a page, slot or chunk boundary could hide.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let data: Vec<u8> = (0..LEN)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        let mut source = NamedTempFile::new().expect("temporary file");
        source.write_all(&data).expect("write");
        source.as_file().sync_all().expect("sync");
        let takes_direct = direct(OpenOptions::new().read(true), &source).is_some_and(|file| {
            // Some filesystems accept O_DIRECT at open and fail at the first transfer.
            let mut block = vec![0_u8; 2 * 4096];
            let start = block.as_ptr().align_offset(4096);
            file.read_at(&mut block[start..start + 4096], 0).is_ok()
        });
        if !takes_direct {
            println!("skipped: the scenarios of direct files, because this filesystem has no O_DIRECT");
        }
        Self {
            data,
            file: source.reopen().expect("open"),
            source,
            takes_direct,
        }
    }

    /// Opens the file with `O_DIRECT`, where that is supported.
    pub(crate) fn direct_source(&self) -> Option<File> {
        direct(OpenOptions::new().read(true), &self.source).filter(|_| self.takes_direct)
    }

    /// Returns an empty file to write to, for the library and for the test.
    ///
    /// A new file for each case: ext4 flushes a file that is truncated and closed
    /// (`auto_da_alloc`), and the test would spend its time waiting for that.
    pub(crate) fn sink() -> (File, File) {
        let near = tempfile::tempfile().expect("temporary file");
        let far = near.try_clone().expect("descriptor");
        (near, far)
    }

    /// Like [`sink`](Self::sink), with `O_APPEND`.
    pub(crate) fn appending_sink() -> (File, File) {
        let (near, far) = Self::sink();
        let flags = rustix::fs::fcntl_getfl(&near).expect("flags");
        rustix::fs::fcntl_setfl(&near, flags | OFlags::APPEND).expect("append");
        (near, far)
    }

    /// Like [`sink`](Self::sink), opened with `O_DIRECT` for the library.
    pub(crate) fn direct_sink(&self) -> Option<(File, File)> {
        let file = NamedTempFile::new().expect("temporary file");
        let near = direct(OpenOptions::new().write(true), &file).filter(|_| self.takes_direct)?;
        Some((near, file.into_file()))
    }
}

fn direct(options: &mut OpenOptions, file: &NamedTempFile) -> Option<File> {
    options
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(file.path())
        .ok()
}

//! Files, connections and calls of these tests.

use std::fs::File;
use std::io::PipeWriter;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::pipe::{SpliceFlags, splice};

use crate::TEST;
use crate::observer::Run;

/// A directory of this run's own, on a disk.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{TEST}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates a file of this length without holes.
    pub(crate) fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, vec![0x5a; bytes]).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns a connection over loopback.
pub(crate) fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Makes one splice from an offset in a file.
pub(crate) fn splice_at(file: &File, at: u64, to: &PipeWriter, len: usize) -> usize {
    let mut at = at;
    splice(file, Some(&mut at), to, None, len, SpliceFlags::empty()).unwrap()
}

/// Splices until all bytes have been moved.
pub(crate) fn splice_all(from: impl AsFd, to: impl AsFd, len: usize) {
    let mut left = len;
    while left > 0 {
        let moved = splice(&from, None, &to, None, left, SpliceFlags::empty()).unwrap();
        assert!(moved > 0);
        left -= moved;
    }
}

/// Joins adjacent ranges.
pub(crate) fn merged(runs: Vec<Run>) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::new();
    for (at, len) in runs {
        match merged.last_mut() {
            Some((start, have)) if *start + u64::from(*have) == at => *have += len,
            _ => merged.push((at, len)),
        }
    }
    merged
}

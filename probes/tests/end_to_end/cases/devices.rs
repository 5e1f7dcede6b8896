//! Block devices, terminals, and files that pass pages of their own.

use std::fs::{self, File as StdFile, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::pipe::{SpliceFlags, splice};
use zctrace_report::EndpointKind::{BlockDevice, File, Tcp, Terminal};

use crate::fixtures::{
    file_with, open_direct, pattern, pipe_with_slots, receive, sendfile_all, splice_all, splice_through, tcp_connection,
};
use crate::harness::{copied, exclusive, moved, reasons, reasons_of, totals, traced};
use crate::mounts::{command, has_own_mounts};
use test_support::skip;

const LEN: usize = 16 * 4096;

/// A block device over a file; detached in the end.
struct Loop {
    path: PathBuf,
}

impl Loop {
    fn or_skip(test: &str, dir: &Path) -> Option<Self> {
        let image = dir.join("image");
        StdFile::create(&image)
            .and_then(|file| file.set_len(8 << 20))
            .expect("an image");
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&image).output();
        match output {
            Ok(output) if output.status.success() => Some(Self {
                path: PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()),
            }),
            Ok(output) => {
                skip!(test, "losetup: {}", String::from_utf8_lossy(&output.stderr).trim_end());
                None
            }
            Err(error) => {
                skip!(test, "losetup: {error}");
                None
            }
        }
    }

    fn open(&self) -> StdFile {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .expect("open")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("-d").arg(&self.path).status();
        assert!(detached.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn sendfile_from_a_block_device_is_moved() {
    const TEST: &str = "cases::devices::sendfile_from_a_block_device_is_moved";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(device) = Loop::or_skip(TEST, dir.path()) else {
        return;
    };
    let mut disk = device.open();
    disk.write_all(&pattern(LEN)).expect("write");
    disk.sync_all().expect("sync");
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        sendfile_all(&disk, 0, &near, LEN);
        assert!(far.join().expect("received") == pattern(LEN));
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &BlockDevice, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &BlockDevice, &Tcp)
    );
}

#[test]
fn block_device_copies_what_is_spliced_into_its_page_cache() {
    const TEST: &str = "cases::devices::block_device_copies_what_is_spliced_into_its_page_cache";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(device) = Loop::or_skip(TEST, dir.path()) else {
        return;
    };
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let disk = device.open();
    let Some(report) = traced(TEST, || {
        splice_through(&source, Some(0), &pipe_with_slots(16), &disk, Some(1 << 20), LEN);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &BlockDevice),
        copied(LEN),
        "{:?}",
        reasons(&report, &File, &BlockDevice)
    );
    assert_eq!(reasons(&report, &File, &BlockDevice), reasons_of([("ZC03", LEN)]));
}

#[test]
fn direct_block_device_gets_the_pages_themselves() {
    const TEST: &str = "cases::devices::direct_block_device_gets_the_pages_themselves";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(device) = Loop::or_skip(TEST, dir.path()) else {
        return;
    };
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let disk = open_direct(&device.path);
    let Some(report) = traced(TEST, || {
        splice_through(&source, Some(0), &pipe_with_slots(16), &disk, Some(2 << 20), LEN);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &BlockDevice),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &BlockDevice)
    );
}

/// An instance of the kernel's ring buffer; removed in the end.
struct Instance(PathBuf);

impl Instance {
    /// Mounts tracefs for this process and creates an instance, which exists for all processes.
    fn or_skip(test: &str, dir: &Path) -> Option<Self> {
        let mount = command("mount", &["-t", "tracefs", "none", dir.to_str().expect("a path")]);
        let path = dir
            .join("instances")
            .join(format!("zctrace-test-{}", std::process::id()));
        let made = mount.and_then(|()| fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display())));
        made.map_err(|reason| skip!(test, "{reason}")).ok()?;
        Some(Self(path))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

/// A full page of the ring buffer goes to the pipe itself, although it belongs to no file
/// (`kernel/trace/ring_buffer.c: ring_buffer_read_page()`).
#[test]
fn pages_of_the_kernels_ring_buffer_are_not_copied() {
    const TEST: &str = "cases::devices::pages_of_the_kernels_ring_buffer_are_not_copied";
    const MARKS: usize = 200;
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let tracefs = tempfile::tempdir().expect("tempdir");
    let Some(instance) = Instance::or_skip(TEST, tracefs.path()) else {
        return;
    };
    let mut spliced = 0;
    let report = traced(TEST, || {
        let mut cpu = rustix::thread::CpuSet::new();
        cpu.set(0);
        rustix::thread::sched_setaffinity(None, &cpu).expect("sched_setaffinity");
        let mut marker = OpenOptions::new()
            .write(true)
            .open(instance.0.join("trace_marker"))
            .expect("open");
        for _ in 0..MARKS {
            marker.write_all(&[b'x'; 1000]).expect("write");
        }
        let pages = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(instance.0.join("per_cpu/cpu0/trace_pipe_raw"))
            .expect("open");
        let (near, mut far) = tcp_connection();
        let pipe = pipe_with_slots(16);
        while let Ok(n @ 1..) = splice(&pages, None, &pipe.write, None, LEN, SpliceFlags::NONBLOCK) {
            splice_all(&pipe.read, None, &near, None, n);
            far.read_exact(&mut vec![0; n]).expect("received");
            spliced += n;
        }
    });
    let Some(report) = report else { return };
    assert!(spliced > MARKS * 1000 / 2, "{spliced}");
    let result = totals(&report, &File, &Tcp);
    assert_eq!((result.total(), result.copied), (spliced as u64, 0), "{result:?}");
    assert_eq!(reasons(&report, &File, &Tcp), reasons_of([("ZC96", spliced)]));
}

/// Returns both sides of a terminal, whose output is not changed.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut side) = (-1, -1);
    // SAFETY: openpty writes two descriptors; the name and the settings may be null.
    let made = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut side,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both descriptors are new, and nothing else owns them.
    let (master, side) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(side)) };
    // SAFETY: `termios` is plain data, which tcgetattr fills and tcsetattr reads.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(side.as_raw_fd(), &raw mut settings), 0);
        libc::cfmakeraw(&raw mut settings);
        assert_eq!(libc::tcsetattr(side.as_raw_fd(), libc::TCSANOW, &raw const settings), 0);
    }
    (master, side)
}

#[test]
fn file_spliced_to_a_terminal_is_copied() {
    const TEST: &str = "cases::devices::file_spliced_to_a_terminal_is_copied";
    const LEN: usize = 2000;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let Some(report) = traced(TEST, || {
        let (master, side) = terminal();
        let reader = receive(StdFile::from(master), LEN);
        splice_through(&source, Some(0), &pipe_with_slots(16), &side, None, LEN);
        assert!(reader.join().expect("received") == pattern(LEN));
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Terminal), copied(LEN), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &File, &Terminal), reasons_of([("ZC20", LEN)]));
}

//! Sinks that are open with `O_DIRECT` and whose filesystems copy into their page caches all the
//! same.
//!
//! The filesystem writes the pages of the sink's page cache back inside the call. They are at the
//! same indexes as the source's pages if both offsets are equal, and they are not the source's.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zctrace_report::EndpointKind::{DirectFile, File as BufferedFile, Memory};

use crate::child::{self, is_child};
use crate::fixtures::{file_with, open_direct, pattern, sendfile_all, static_pages};
use crate::harness::{copied, exclusive, reasons, reasons_of, totals, traced_child};
use crate::mounts::{command, has_run, mounted, set_up};

const LEN: usize = 1 << 20;

/// Sends a file to another one, which is open with `O_DIRECT`, from `from` to `to`.
fn send(folder: &Path, mut sink: &File, from: u64, to: u64) {
    let source = file_with(&folder.join("a"), &pattern(2 * LEN));
    sink.seek(SeekFrom::Start(to)).expect("lseek");
    child::attach();
    sendfile_all(&source, from, sink, LEN);
}

/// Runs `body` in a traced child with a mount that `make` and `options` describe, and expects that
/// all bytes from files to direct files were copied into the page cache.
fn expect_copied(test: &str, make: &[&str], size: u64, options: &str, body: impl Fn(&Path)) {
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        if let Some(folder) = set_up(test, mounted(dir.path(), make, size, options)) {
            body(&folder);
        }
        return;
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(test, |cookie| child::run(test, cookie)) else {
        return;
    };
    if has_run(&report) {
        assert_eq!(
            totals(&report, &BufferedFile, &DirectFile),
            copied(LEN),
            "{:?}",
            reasons(&report, &BufferedFile, &DirectFile)
        );
        assert_eq!(
            reasons(&report, &BufferedFile, &DirectFile),
            reasons_of([("ZC03", LEN)])
        );
    }
}

/// Opens a file with a hole, which ext2 cannot fill by direct I/O.
fn hole(folder: &Path) -> File {
    let sink = open_direct(&folder.join("b"));
    sink.set_len(4 * LEN as u64).expect("truncate");
    sink
}

const EXT2: [&str; 6] = ["mkfs.ext4", "-q", "-t", "ext2", "-b", "4096"];

#[test]
fn hole_of_ext2_is_filled_by_a_copy() {
    const TEST: &str = "direct_fallback::hole_of_ext2_is_filled_by_a_copy";
    expect_copied(TEST, &EXT2, 64 << 20, "loop", |folder| {
        send(folder, &hole(folder), 0, 0);
    });
}

#[test]
fn hole_of_ext2_at_another_offset_is_filled_by_a_copy() {
    const TEST: &str = "direct_fallback::hole_of_ext2_at_another_offset_is_filled_by_a_copy";
    expect_copied(TEST, &EXT2, 64 << 20, "loop", |folder| {
        send(folder, &hole(folder), 4096, 65536);
    });
}

#[test]
fn btrfs_with_checksums_copies() {
    const TEST: &str = "direct_fallback::btrfs_with_checksums_copies";
    let make = ["mkfs.btrfs", "-q"];
    expect_copied(TEST, &make, 256 << 20, "loop", |folder| {
        send(folder, &hole(folder), 0, 0);
    });
}

/// Mounts an overlay whose layers are directories of a filesystem, and returns its directory.
fn overlay_on(folder: &Path) -> PathBuf {
    let path = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(folder.join(name)).expect("a folder");
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        path("lower"),
        path("upper"),
        path("work")
    );
    command("mount", &["-t", "overlay", "-o", &options, "overlay", &path("merged")]).expect("mounted");
    folder.join("merged")
}

#[test]
fn hole_of_a_file_under_an_overlay_is_filled_by_a_copy() {
    const TEST: &str = "direct_fallback::hole_of_a_file_under_an_overlay_is_filled_by_a_copy";
    expect_copied(TEST, &EXT2, 64 << 20, "loop", |folder| {
        let merged = overlay_on(folder);
        send(folder, &hole(&merged), 0, 0);
    });
}

#[test]
fn hole_of_an_overlay_is_filled_by_a_copy_from_the_overlay() {
    const TEST: &str = "direct_fallback::hole_of_an_overlay_is_filled_by_a_copy_from_the_overlay";
    expect_copied(TEST, &EXT2, 64 << 20, "loop", |folder| {
        let merged = overlay_on(folder);
        send(&merged, &hole(&merged), 0, 0);
    });
}

#[test]
fn memory_written_into_a_hole_of_an_overlay_is_copied() {
    const TEST: &str = "direct_fallback::memory_written_into_a_hole_of_an_overlay_is_copied";
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        if let Some(folder) = set_up(TEST, mounted(dir.path(), &EXT2, 64 << 20, "loop")) {
            let sink = hole(&overlay_on(&folder));
            let memory = static_pages(LEN);
            child::attach();
            sink.write_all_at(memory, 0).expect("pwrite");
        }
        return;
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(TEST, |cookie| child::run(TEST, cookie)) else {
        return;
    };
    if has_run(&report) {
        assert_eq!(
            totals(&report, &Memory, &DirectFile),
            copied(LEN),
            "{:?}",
            reasons(&report, &Memory, &DirectFile)
        );
    }
}

#[test]
fn synchronous_sink_on_ext4_with_journaled_data_is_copied() {
    const TEST: &str = "direct_fallback::synchronous_sink_on_ext4_with_journaled_data_is_copied";
    let make = ["mkfs.ext4", "-q"];
    expect_copied(TEST, &make, 64 << 20, "loop,data=journal", |folder| {
        let sink = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags(libc::O_DIRECT | libc::O_SYNC)
            .open(folder.join("b"))
            .expect("open");
        send(folder, &sink, 0, 0);
    });
}

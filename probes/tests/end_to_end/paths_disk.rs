//! Paths to and from disks, and over filesystems that have to be mounted first.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::copy_file_range;
use zctrace_report::EndpointKind::{DirectFile, File, Memory, Tcp};

use crate::child::{self, is_child};
use crate::fixtures::{
    file_with, open_direct, pattern, pipe_with_slots, receive, sendfile_all, splice_all, splice_once, splice_through,
    static_pages, tcp_connection, vmsplice_all,
};
use crate::harness::{copied, exclusive, flow, moved, reasons, reasons_of, totals, traced, traced_child, unknown};
use crate::mounts::{command, has_run, mounted, own_mounts, set_up};

const LEN: usize = 1 << 20;

#[test]
fn sendfile_to_a_direct_file() {
    const TEST: &str = "paths_disk::sendfile_to_a_direct_file";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    let source = file_with(&dir.path().join("a"), &bytes);
    let sink = open_direct(&dir.path().join("b"));
    let Some(report) = traced(TEST, || {
        sendfile_all(&source, 0, &sink, LEN);
        assert!(std::fs::read(dir.path().join("b")).expect("read") == bytes);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &DirectFile),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &DirectFile)
    );
    let certificate = flow(&report, &File, &DirectFile)
        .certificate
        .as_ref()
        .expect("a certificate");
    assert_eq!(certificate.moved_weakness(), None);
    assert_eq!(certificate.horizon, "the block layer");
}

#[test]
fn dirty_pages_do_not_hide_the_device() {
    const TEST: &str = "paths_disk::dirty_pages_do_not_hide_the_device";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(16 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let old = file_with(&dir.path().join("b"), &vec![1; 16 * 4096]);
    let sink = open_direct(&dir.path().join("b"));
    let Some(report) = traced(TEST, || {
        // Dirty pages in the sink's page cache are written back by the same call, before direct I/O
        // starts.
        old.write_all_at(&vec![2; 16 * 4096], 0).expect("write");
        splice_through(&source, Some(0), &pipe_with_slots(16), &sink, Some(0), 16 * 4096);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &DirectFile),
        moved(16 * 4096),
        "{:?}",
        reasons(&report, &File, &DirectFile)
    );
}

#[test]
fn a_direct_file_to_tcp() {
    const TEST: &str = "paths_disk::a_direct_file_to_tcp";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(LEN);
    drop(file_with(&dir.path().join("a"), &bytes));
    let source = open_direct(&dir.path().join("a"));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        splice_through(&source, Some(0), &pipe_with_slots(16), &near, None, LEN);
        assert!(far.join().expect("received") == bytes);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &DirectFile, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &DirectFile, &Tcp)
    );
    let certificate = flow(&report, &DirectFile, &Tcp)
        .certificate
        .as_ref()
        .expect("a certificate");
    assert_eq!(certificate.moved_weakness(), None);
}

#[test]
fn memory_to_a_direct_file_and_back() {
    const TEST: &str = "paths_disk::memory_to_a_direct_file_and_back";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let file = open_direct(&dir.path().join("a"));
    let memory = static_pages(LEN);
    let back = static_pages(LEN);
    back.fill(0);
    let Some(report) = traced(TEST, || {
        for at in (0..LEN).step_by(LEN / 4) {
            file.write_all_at(&memory[at..at + LEN / 4], at as u64).expect("pwrite");
            file.read_exact_at(&mut back[at..at + LEN / 4], at as u64)
                .expect("pread");
        }
    }) else {
        return;
    };
    assert!(memory == back);
    assert_eq!(
        totals(&report, &Memory, &DirectFile),
        moved(LEN),
        "{:?}",
        reasons(&report, &Memory, &DirectFile)
    );
    assert_eq!(
        totals(&report, &DirectFile, &Memory),
        moved(LEN),
        "{:?}",
        reasons(&report, &DirectFile, &Memory)
    );
}

#[test]
fn vmspliced_memory_reaches_a_direct_file() {
    const TEST: &str = "paths_disk::vmspliced_memory_reaches_a_direct_file";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let sink = open_direct(&dir.path().join("b"));
    let memory = &*static_pages(16 * 4096);
    let Some(report) = traced(TEST, || {
        let pipe = pipe_with_slots(16);
        assert_eq!(vmsplice_all(memory, &pipe), 16 * 4096);
        splice_all(&pipe.read, None, &sink, Some(0), 16 * 4096);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &DirectFile),
        moved(16 * 4096),
        "{:?}",
        reasons(&report, &Memory, &DirectFile)
    );
}

#[test]
fn a_reflink_is_not_a_copy() {
    const TEST: &str = "paths_disk::a_reflink_is_not_a_copy";
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        let make = ["mkfs.xfs", "-q", "-m", "reflink=1"];
        let Some(folder) = set_up(TEST, mounted(dir.path(), &make, 320 << 20, "loop")) else {
            return;
        };
        let source = file_with(&folder.join("a"), &pattern(LEN));
        let sink = std::fs::File::create(folder.join("b")).expect("create");
        child::attach();
        let n = copy_file_range(&source, Some(&mut 0), &sink, Some(&mut 0), LEN).expect("copy_file_range");
        assert_eq!(n, LEN);
        return;
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(TEST, |cookie| child::run(TEST, cookie)) else {
        return;
    };
    if has_run(&report) {
        // No page became dirty, so no copy is shown; and nothing at this tier shows that it was
        // cloned.
        assert_eq!(totals(&report, &File, &File), unknown(LEN));
        assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC96", LEN)]));
    }
}

/// Splices a dirty file to a file opened with `O_DIRECT`, and waits until the source is written
/// back.
fn dirty_source(folder: &Path) {
    let source = std::fs::File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(folder.join("a"))
        .expect("create");
    let sink = open_direct(&folder.join("b"));
    child::attach();
    source.write_all_at(&pattern(LEN), 0).expect("write");
    let pipe = pipe_with_slots(16);
    let mut at = 0;
    while at < LEN as u64 {
        let n = splice_once(&source, Some(&mut { at }), &pipe.write, None, 16 * 4096);
        // The pages in the pipe are written to a disk, but to the source's blocks.
        source.sync_data().expect("sync");
        splice_all(&pipe.read, None, &sink, Some(at), n);
        at += n as u64;
    }
}

#[test]
fn direct_file_that_falls_back_to_buffering_copies() {
    const TEST: &str = "paths_disk::direct_file_that_falls_back_to_buffering_copies";
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        let made = mounted(dir.path(), &["mkfs.ext4", "-q"], 64 << 20, "loop,data=journal");
        if let Some(folder) = set_up(TEST, made) {
            dirty_source(&folder);
        }
        return;
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(TEST, |cookie| child::run(TEST, cookie)) else {
        return;
    };
    if has_run(&report) {
        assert_eq!(
            totals(&report, &File, &DirectFile),
            copied(LEN),
            "{:?}",
            reasons(&report, &File, &DirectFile)
        );
        assert_eq!(reasons(&report, &File, &DirectFile), reasons_of([("ZC03", LEN)]));
    }
}

/// An overlay whose upper layer is a directory of the same filesystem.
fn overlay(dir: &Path) -> Result<PathBuf, String> {
    own_mounts()?;
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(dir.join(name)).expect("a folder");
    }
    drop(file_with(&dir.join("lower/a"), &pattern(LEN)));
    let path = |name: &str| dir.join(name).to_str().expect("a path").to_owned();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        path("lower"),
        path("upper"),
        path("work")
    );
    command("mount", &["-t", "overlay", "-o", &options, "overlay", &path("merged")])?;
    Ok(dir.join("merged"))
}

#[test]
fn files_of_an_overlay() {
    const TEST: &str = "paths_disk::files_of_an_overlay";
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        let Some(folder) = set_up(TEST, overlay(dir.path())) else {
            return;
        };
        let source = std::fs::File::open(folder.join("a")).expect("open");
        let sink = std::fs::File::create(folder.join("b")).expect("create");
        child::attach();
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        sendfile_all(&source, 0, &near, LEN);
        assert!(far.join().expect("received") == pattern(LEN));
        splice_through(&source, Some(0), &pipe_with_slots(16), &sink, Some(0), LEN);
        return;
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(TEST, |cookie| child::run(TEST, cookie)) else {
        return;
    };
    if has_run(&report) {
        assert_eq!(
            totals(&report, &File, &Tcp),
            moved(LEN),
            "{:?}",
            reasons(&report, &File, &Tcp)
        );
        // The pages that become dirty belong to the file of the upper directory.
        assert_eq!(totals(&report, &File, &File), copied(LEN));
        assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", LEN)]));
    }
}

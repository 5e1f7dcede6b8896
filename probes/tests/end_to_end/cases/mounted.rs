//! Filesystems that the tracer knows by their names: reflinks, overlays, and direct I/O on XFS.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::copy_file_range;
use zctrace_report::EndpointKind::{DirectFile, File, Memory, Tcp};

use crate::fixtures::{
    file_with, open_direct, pattern, pipe_with_slots, receive, sendfile_all, splice_through, static_pages,
    tcp_connection,
};
use crate::harness::{cloned, copied, exclusive, moved, reasons, reasons_of, totals, traced, unknown};
use crate::mounts::{has_own_mounts, mount_image, mount_overlay, set_up};

const LEN: usize = 1 << 20;

/// Mounts an XFS that can share extents.
fn xfs(test: &str, dir: &Path) -> Option<PathBuf> {
    set_up(
        test,
        mount_image(dir, &["mkfs.xfs", "-q", "-m", "reflink=1"], 320 << 20, "loop"),
    )
}

/// The call also fills the rest of the sink's last block with zeros, which makes a page dirty that
/// is none of its bytes.
#[test]
fn range_cloned_behind_the_end_of_a_file_is_not_copied() {
    const TEST: &str = "cases::mounted::range_cloned_behind_the_end_of_a_file_is_not_copied";
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(folder) = xfs(TEST, dir.path()) else { return };
    let source = file_with(&folder.join("a"), &pattern(LEN));
    let sink = file_with(&folder.join("b"), b"0123456789");
    let Some(report) = traced(TEST, || {
        let n = copy_file_range(&source, Some(&mut 0), &sink, Some(&mut 65_536), LEN);
        assert_eq!(n.expect("copy_file_range"), LEN);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &File),
        cloned(LEN),
        "{:?}",
        reasons(&report, &File, &File)
    );
}

#[test]
fn file_cloned_to_an_empty_file_is_not_copied() {
    const TEST: &str = "cases::mounted::file_cloned_to_an_empty_file_is_not_copied";
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(folder) = xfs(TEST, dir.path()) else { return };
    let source = file_with(&folder.join("a"), &pattern(LEN));
    let sink = std::fs::File::create(folder.join("b")).expect("create");
    let Some(report) = traced(TEST, || {
        let n = copy_file_range(&source, Some(&mut 0), &sink, Some(&mut 0), LEN);
        assert_eq!(n.expect("copy_file_range"), LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &File), cloned(LEN), "{:#?}", report.flows);
}

/// A thread that has sent a file keeps a pipe for such calls. So nothing shows whether it was used.
#[test]
fn clone_by_a_thread_with_an_internal_pipe_is_not_copied() {
    const TEST: &str = "cases::mounted::clone_by_a_thread_with_an_internal_pipe_is_not_copied";
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(folder) = xfs(TEST, dir.path()) else { return };
    let source = file_with(&folder.join("a"), &pattern(LEN));
    let sink = std::fs::File::create(folder.join("b")).expect("create");
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, 4096);
        sendfile_all(&source, 0, &near, 4096);
        far.join().expect("received");
        let n = copy_file_range(&source, Some(&mut 0), &sink, Some(&mut 0), LEN);
        assert_eq!(n.expect("copy_file_range"), LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &Tcp), moved(4096));
    assert_eq!(totals(&report, &File, &File), unknown(LEN), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC96", LEN)]));
}

#[test]
fn ioctl_that_clones_a_file_copies_nothing() {
    const TEST: &str = "cases::mounted::ioctl_that_clones_a_file_copies_nothing";
    // include/uapi/linux/fs.h
    const FICLONE: libc::Ioctl = 0x4004_9409;
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(folder) = xfs(TEST, dir.path()) else { return };
    let source = file_with(&folder.join("a"), &pattern(LEN));
    let sink = std::fs::File::create(folder.join("b")).expect("create");
    let Some(report) = traced(TEST, || {
        // SAFETY: the ioctl takes a descriptor by value.
        let done = unsafe { libc::ioctl(sink.as_raw_fd(), FICLONE, source.as_raw_fd()) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }) else {
        return;
    };
    let all = report.totals().account.clone();
    assert_eq!((all.moved, all.copied, all.unknown), (0, 0, 0), "{:#?}", report.flows);
    assert_eq!(all.excluded.cloned, LEN as u64, "{:#?}", report.flows);
}

#[test]
fn copy_file_range_on_an_overlay_copies() {
    const TEST: &str = "cases::mounted::copy_file_range_on_an_overlay_copies";
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(folder) = set_up(TEST, mount_overlay(dir.path())) else {
        return;
    };
    let source = std::fs::File::open(folder.join("a")).expect("open");
    let sink = std::fs::File::create(folder.join("b")).expect("create");
    let Some(report) = traced(TEST, || {
        let (mut from, mut to) = (0, 0);
        while from < LEN as u64 {
            let left = LEN - from as usize;
            let n = copy_file_range(&source, Some(&mut from), &sink, Some(&mut to), left);
            assert!(n.expect("copy_file_range") > 0);
        }
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &File),
        copied(LEN),
        "{:?}",
        reasons(&report, &File, &File)
    );
}

#[test]
fn overlay_moves_to_tcp_and_copies_into_its_files() {
    const TEST: &str = "cases::mounted::overlay_moves_to_tcp_and_copies_into_its_files";
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(folder) = set_up(TEST, mount_overlay(dir.path())) else {
        return;
    };
    let source = std::fs::File::open(folder.join("a")).expect("open");
    let sink = std::fs::File::create(folder.join("c")).expect("create");
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        sendfile_all(&source, 0, &near, LEN);
        assert!(far.join().expect("received") == pattern(LEN));
        // Twice: the second time all pages are dirty already.
        for _ in 0..2 {
            splice_through(&source, Some(0), &pipe_with_slots(16), &sink, Some(0), LEN);
        }
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(
        totals(&report, &File, &File),
        copied(2 * LEN),
        "{:?}",
        reasons(&report, &File, &File)
    );
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", 2 * LEN)]));
}

#[test]
fn direct_file_on_xfs_moves_in_all_directions() {
    const TEST: &str = "cases::mounted::direct_file_on_xfs_moves_in_all_directions";
    const LEN: usize = 16 * 4096;
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(folder) = xfs(TEST, dir.path()) else { return };
    let source = file_with(&folder.join("a"), &pattern(LEN));
    let direct = open_direct(&folder.join("b"));
    let (memory, back) = (&*static_pages(LEN), static_pages(LEN));
    let Some(report) = traced(TEST, || {
        splice_through(&source, Some(0), &pipe_with_slots(16), &direct, Some(0), LEN);
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        splice_through(&direct, Some(0), &pipe_with_slots(16), &near, None, LEN);
        assert!(far.join().expect("received") == pattern(LEN));
        direct.write_all_at(memory, 0).expect("pwrite");
        direct.read_exact_at(back, 0).expect("pread");
    }) else {
        return;
    };
    for (from, to) in [
        (&File, &DirectFile),
        (&DirectFile, &Tcp),
        (&Memory, &DirectFile),
        (&DirectFile, &Memory),
    ] {
        assert_eq!(
            totals(&report, from, to),
            moved(LEN),
            "{from} → {to}: {:?}",
            reasons(&report, from, to)
        );
    }
}

#[test]
fn buffered_file_on_xfs_copies() {
    const TEST: &str = "cases::mounted::buffered_file_on_xfs_copies";
    const LEN: usize = 16 * 4096;
    if !has_own_mounts(TEST) {
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let Some(folder) = xfs(TEST, dir.path()) else { return };
    let source = file_with(&folder.join("a"), &pattern(LEN));
    let sink = std::fs::File::create(folder.join("b")).expect("create");
    let Some(report) = traced(TEST, || {
        splice_through(&source, Some(0), &pipe_with_slots(16), &sink, None, LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &File), copied(LEN), "{:#?}", report.flows);
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", LEN)]));
}

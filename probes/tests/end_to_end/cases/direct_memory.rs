//! Direct I/O of a process's own memory: anonymous, shared, of another file, moved to another
//! address, and in several buffers.

use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::ptr::null_mut;

use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap, mmap_anonymous, mremap_fixed};
use zctrace_report::EndpointKind::{DirectFile, File, Memory, Pipe as InPipe, Tcp};

use crate::fixtures::{
    file_with, open_direct, pattern, pipe_with_slots, receive, splice_all, splice_once, splice_through, tcp_connection,
    vmsplice_all,
};
use crate::harness::{Totals, copied, exclusive, moved, reasons, totals, traced};

const LEN: usize = 16 * 4096;
const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// Returns mapped memory as a slice. The mapping is never removed.
fn slice(start: *mut std::ffi::c_void, len: usize) -> &'static mut [u8] {
    // SAFETY: the caller has just mapped the range, readable and writable, and nothing else refers
    // to it.
    unsafe { std::slice::from_raw_parts_mut(start.cast(), len) }
}

fn anonymous(flags: MapFlags) -> &'static mut [u8] {
    // SAFETY: a mapping at an address that the kernel chooses overlaps no other memory.
    slice(
        unsafe { mmap_anonymous(null_mut(), LEN, READ_WRITE, flags) }.expect("mmap"),
        LEN,
    )
}

/// Writes memory to a direct file and reads it back, and checks that both ways it moved.
fn there_and_back(test: &str, memory: &'static mut [u8]) {
    memory.copy_from_slice(&pattern(LEN));
    there_and_back_as_it_is(test, memory);
}

fn there_and_back_as_it_is(test: &str, memory: &mut [u8]) {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut file = open_direct(&dir.path().join("direct"));
    let Some(report) = traced(test, || {
        assert_eq!(file.write(memory).expect("write"), LEN);
        file.seek(SeekFrom::Start(0)).expect("seek");
        assert_eq!(file.read(memory).expect("read"), LEN);
    }) else {
        return;
    };
    for (from, to) in [(&Memory, &DirectFile), (&DirectFile, &Memory)] {
        assert_eq!(
            totals(&report, from, to),
            moved(LEN),
            "{:?}",
            reasons(&report, from, to)
        );
    }
}

#[test]
fn private_memory_to_a_direct_file_and_back() {
    let _exclusive = exclusive();
    there_and_back(
        "cases::direct_memory::private_memory_to_a_direct_file_and_back",
        anonymous(MapFlags::PRIVATE),
    );
}

#[test]
fn shared_memory_to_a_direct_file_and_back() {
    let _exclusive = exclusive();
    there_and_back(
        "cases::direct_memory::shared_memory_to_a_direct_file_and_back",
        anonymous(MapFlags::SHARED),
    );
}

/// A page keeps the address that it was first mapped at as its index.
#[test]
fn memory_moved_to_another_address_to_a_direct_file_and_back() {
    let _exclusive = exclusive();
    let memory = anonymous(MapFlags::PRIVATE);
    memory.copy_from_slice(&pattern(LEN));
    let to = anonymous(MapFlags::PRIVATE).as_mut_ptr().cast();
    // SAFETY: the target is a mapping of the same length, which nothing refers to any more, and
    // `memory` is not used again.
    let moved = unsafe { mremap_fixed(memory.as_mut_ptr().cast(), LEN, LEN, MremapFlags::MAYMOVE, to) };
    there_and_back_as_it_is(
        "cases::direct_memory::memory_moved_to_another_address_to_a_direct_file_and_back",
        slice(moved.expect("mremap"), LEN),
    );
}

/// Maps a file as shared memory.
fn mapped_file(dir: &tempfile::TempDir) -> &'static mut [u8] {
    let file = file_with(&dir.path().join("mapped"), &pattern(LEN));
    // SAFETY: a mapping at an address that the kernel chooses overlaps no other memory, and nothing
    // else writes to the file.
    let start = unsafe { mmap(null_mut(), LEN, READ_WRITE, MapFlags::SHARED, &file, 0) };
    slice(start.expect("mmap"), LEN)
}

#[test]
fn mapped_file_to_a_direct_file_and_back() {
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    there_and_back_as_it_is(
        "cases::direct_memory::mapped_file_to_a_direct_file_and_back",
        mapped_file(&dir),
    );
}

#[test]
fn huge_page_to_a_direct_file_and_back() {
    const HUGE: usize = 2 << 20;
    let _exclusive = exclusive();
    // SAFETY: a mapping at an address that the kernel chooses overlaps no other memory.
    let start = unsafe { mmap_anonymous(null_mut(), 2 * HUGE, READ_WRITE, MapFlags::PRIVATE) }.expect("mmap");
    let aligned = start.map_addr(|address| address.next_multiple_of(HUGE));
    // SAFETY: the range lies in the mapping, which has twice its size.
    unsafe { madvise(aligned, HUGE, Advice::LinuxHugepage) }.expect("madvise");
    there_and_back(
        "cases::direct_memory::huge_page_to_a_direct_file_and_back",
        slice(aligned, LEN),
    );
}

#[test]
fn vector_of_two_buffers_to_a_direct_file_and_back() {
    const TEST: &str = "cases::direct_memory::vector_of_two_buffers_to_a_direct_file_and_back";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let mut file = open_direct(&dir.path().join("direct"));
    let memory = anonymous(MapFlags::PRIVATE);
    memory.copy_from_slice(&pattern(LEN));
    let (first, second) = memory.split_at_mut(LEN / 2);
    let Some(report) = traced(TEST, || {
        let n = file.write_vectored(&[IoSlice::new(second), IoSlice::new(first)]);
        assert_eq!(n.expect("writev"), LEN);
        file.seek(SeekFrom::Start(0)).expect("seek");
        let n = file.read_vectored(&mut [IoSliceMut::new(second), IoSliceMut::new(first)]);
        assert_eq!(n.expect("readv"), LEN);
    }) else {
        return;
    };
    for (from, to) in [(&Memory, &DirectFile), (&DirectFile, &Memory)] {
        assert_eq!(
            totals(&report, from, to),
            moved(LEN),
            "{:?}",
            reasons(&report, from, to)
        );
    }
}

#[test]
fn shared_memory_passed_by_vmsplice_reaches_tcp() {
    const TEST: &str = "cases::direct_memory::shared_memory_passed_by_vmsplice_reaches_tcp";
    let _exclusive = exclusive();
    let memory = anonymous(MapFlags::SHARED);
    memory.copy_from_slice(&pattern(LEN));
    passed_to_tcp(TEST, memory);
}

#[test]
fn mapped_file_passed_by_vmsplice_reaches_tcp() {
    const TEST: &str = "cases::direct_memory::mapped_file_passed_by_vmsplice_reaches_tcp";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    passed_to_tcp(TEST, mapped_file(&dir));
}

fn passed_to_tcp(test: &str, memory: &'static [u8]) {
    let Some(report) = traced(test, || {
        let (near, far) = tcp_connection();
        let far = receive(far, LEN);
        let pipe = pipe_with_slots(16);
        assert_eq!(vmsplice_all(memory, &pipe), LEN);
        splice_all(&pipe.read, None, &near, None, LEN);
        assert!(far.join().expect("received") == memory);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &Memory, &Tcp)
    );
}

/// No call names an offset: both files are at their own positions.
#[test]
fn file_to_a_direct_file_at_its_own_position() {
    const TEST: &str = "cases::direct_memory::file_to_a_direct_file_at_its_own_position";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let sink = open_direct(&dir.path().join("b"));
    let Some(report) = traced(TEST, || {
        splice_through(&source, Some(0), &pipe_with_slots(16), &sink, None, LEN);
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &DirectFile),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &DirectFile)
    );
}

#[test]
fn file_to_a_buffered_file_at_its_own_position() {
    const TEST: &str = "cases::direct_memory::file_to_a_buffered_file_at_its_own_position";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let sink = std::fs::File::create(dir.path().join("b")).expect("create");
    let Some(report) = traced(TEST, || {
        splice_through(&source, Some(0), &pipe_with_slots(16), &sink, None, LEN);
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

/// The pages of a file are written over the file itself. The call drops them from the page cache
/// before it writes them, and they are the same pages all the same.
#[test]
fn file_to_itself_by_direct_io_moves() {
    const TEST: &str = "cases::direct_memory::file_to_itself_by_direct_io_moves";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(LEN));
    let sink = open_direct(&dir.path().join("a"));
    let Some(report) = traced(TEST, || {
        // Dirty pages, which the call writes back before it writes the same pages itself.
        source.write_all_at(&pattern(LEN), 0).expect("write");
        let pipe = pipe_with_slots(16);
        assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
        splice_all(&pipe.read, None, &sink, Some(0), LEN);
    }) else {
        return;
    };
    assert_eq!(totals(&report, &File, &DirectFile), moved(LEN), "{:#?}", report.flows);
    assert_eq!(totals(&report, &InPipe, &DirectFile), Totals::default());
}

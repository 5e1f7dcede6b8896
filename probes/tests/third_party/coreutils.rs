//! dd, cp and cat: reads and writes, through the page cache and around it, `copy_file_range` and
//! pipes.

use std::path::{Path, PathBuf};

use zctrace_contract::Reason;
use zctrace_report::Report;

use crate::harness::Trace;
use crate::totals::{
    MEMORY, PIPE, assert_both, bytes_with_reasons, copied, direct_file, edges, file, flows, moved, overview,
};

const MIB: usize = 1 << 20;

fn run(test: &str, programs: &[&str], script: &str, len: usize) -> Option<(Report, PathBuf, PathBuf)> {
    let mut trace = Trace::start(test, programs).filter(|trace| trace.is_on_ext4(test))?;
    let source = trace.file("a.bin", len);
    trace.run(script);
    let sink = trace.path("b.bin");
    assert_eq!(
        std::fs::read(&source).expect("read"),
        std::fs::read(&sink).expect("read")
    );
    Some((trace.finish(), source, sink))
}

#[test]
fn dd_copies_through_its_memory() {
    let script = "exec dd if=a.bin of=b.bin bs=1M count=4 status=none";
    let Some((report, source, sink)) = run("dd_copies_through_its_memory", &["dd"], script, 4 * MIB) else {
        return;
    };
    assert_both(&report, file(&source), MEMORY, &copied(4 << 20));
    assert_both(&report, MEMORY, file(&sink), &copied(4 << 20));
}

#[test]
fn dd_with_oflag_direct_lets_the_disk_take_its_memory() {
    const TEST: &str = "dd_with_oflag_direct_lets_the_disk_take_its_memory";
    let script = "exec dd if=a.bin of=b.bin bs=1M count=4 oflag=direct status=none";
    let Some((report, source, sink)) = run(TEST, &["dd"], script, 4 * MIB) else {
        return;
    };
    assert_both(&report, file(&source), MEMORY, &copied(4 << 20));
    assert_both(&report, MEMORY, direct_file(&sink), &moved(4 << 20));
}

#[test]
fn dd_with_iflag_direct_lets_the_disk_fill_its_memory() {
    const TEST: &str = "dd_with_iflag_direct_lets_the_disk_fill_its_memory";
    let script = "exec dd if=a.bin of=b.bin bs=1M count=4 iflag=direct status=none";
    let Some((report, source, sink)) = run(TEST, &["dd"], script, 4 * MIB) else {
        return;
    };
    assert_both(&report, direct_file(&source), MEMORY, &moved(4 << 20));
    assert_both(&report, MEMORY, file(&sink), &copied(4 << 20));
}

/// coreutils use `copy_file_range(2)` since 9.0; before, and where the kernel refuses, they read
/// and write.
fn assert_copied(report: &Report, source: &Path, sink: &Path, len: u64) {
    let inside = edges(report, file(source), file(sink)).total();
    assert_both(report, file(source), file(sink), &copied(inside));
    let witnessed = bytes_with_reasons(report, file(source), file(sink), &[Reason::PageCacheSink]);
    assert_eq!(witnessed, inside, "{}", overview(report));
    assert_both(report, file(source), MEMORY, &copied(len - inside));
    assert_both(report, MEMORY, file(sink), &copied(len - inside));
}

#[test]
fn cp_copies_in_the_kernel() {
    const LEN: usize = 2 * MIB + 1234;
    let Some((report, source, sink)) = run("cp_copies_in_the_kernel", &["cp"], "exec cp a.bin b.bin", LEN) else {
        return;
    };
    assert_copied(&report, &source, &sink, LEN as u64);
}

#[test]
fn cp_without_reflinks_copies_through_its_memory() {
    const LEN: usize = 2 * MIB + 1234;
    const TEST: &str = "cp_without_reflinks_copies_through_its_memory";
    let script = "exec cp --reflink=never a.bin b.bin";
    let Some((report, source, sink)) = run(TEST, &["cp"], script, LEN) else {
        return;
    };
    assert_copied(&report, &source, &sink, LEN as u64);
}

#[test]
fn cat_copies_from_file_to_file() {
    const LEN: usize = 2 * MIB + 99;
    const TEST: &str = "cat_copies_from_file_to_file";
    let Some((report, source, sink)) = run(TEST, &["cat"], "exec cat a.bin >b.bin", LEN) else {
        return;
    };
    assert_copied(&report, &source, &sink, LEN as u64);
}

#[test]
fn appending_cat_copies_through_its_memory() {
    const LEN: usize = 2 * MIB + 99;
    const TEST: &str = "appending_cat_copies_through_its_memory";
    // copy_file_range(2) refuses O_APPEND.
    let Some((report, source, sink)) = run(TEST, &["cat"], "exec cat a.bin >>b.bin", LEN) else {
        return;
    };
    assert_both(&report, file(&source), MEMORY, &copied(LEN as u64));
    assert_both(&report, MEMORY, file(&sink), &copied(LEN as u64));
}

#[test]
fn tar_writes_headers_and_the_file() {
    const LEN: usize = MIB;
    const TEST: &str = "tar_writes_headers_and_the_file";
    let Some(mut trace) = Trace::start(TEST, &["tar"]) else {
        return;
    };
    let source = trace.file("a.bin", LEN);
    trace.run("exec tar -cf b.tar a.bin");
    let sink = trace.path("b.tar");
    let len = std::fs::metadata(&sink).expect("stat").len();
    let report = trace.finish();
    assert_both(&report, file(&source), MEMORY, &copied(LEN as u64));
    assert_both(&report, MEMORY, file(&sink), &copied(len));
}

/// Returns the bytes that went into a pipe and the bytes that came out of it, whatever their
/// origin.
fn assert_out_of_pipe(report: &Report, len: u64) {
    assert_eq!(edges(report, MEMORY, PIPE), copied(len), "{}", overview(report));
    assert_eq!(edges(report, PIPE, MEMORY), copied(len), "{}", overview(report));
    let mut arrived = flows(report, MEMORY, MEMORY);
    arrived += &flows(report, PIPE, MEMORY);
    assert_eq!(arrived, copied(len), "{}", overview(report));
}

#[test]
fn a_pipe_copies_in_and_out() {
    // As much as fits into an empty pipe, so that no process sleeps in the middle of a call.
    const LEN: usize = 65_536 - 7;
    const TEST: &str = "a_pipe_copies_in_and_out";
    let script = "dd if=a.bin bs=64k status=none | tail -c +1 >b.bin";
    let Some((report, source, sink)) = run(TEST, &["dd", "tail"], script, LEN) else {
        return;
    };
    let len = LEN as u64;
    assert_both(&report, file(&source), MEMORY, &copied(len));
    assert_both(&report, MEMORY, file(&sink), &copied(len));
    assert_out_of_pipe(&report, len);
    // From one process's memory to the other's: copied in, and copied out.
    assert_eq!(flows(&report, MEMORY, MEMORY), copied(len), "{}", overview(&report));
    assert_eq!(bytes_with_reasons(&report, MEMORY, MEMORY, &[Reason::FromMemory]), len);
    assert_eq!(bytes_with_reasons(&report, MEMORY, MEMORY, &[Reason::IntoMemory]), len);
}

#[test]
fn small_pipe_copies_as_well() {
    const LEN: usize = 2 * MIB + 99;
    const TEST: &str = "small_pipe_copies_as_well";
    let script = "cat a.bin | tail -c +1 >b.bin";
    let Some((report, source, sink)) = run(TEST, &["cat", "tail"], script, LEN) else {
        return;
    };
    assert_both(&report, file(&source), MEMORY, &copied(LEN as u64));
    assert_both(&report, MEMORY, file(&sink), &copied(LEN as u64));
    assert_out_of_pipe(&report, LEN as u64);
}

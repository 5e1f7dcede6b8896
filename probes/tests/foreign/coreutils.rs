//! dd, cp and cat: reads and writes, through the page cache and around it, `copy_file_range` and pipes.

use bufferlist::Reason;
use probes::report::Report;

use crate::harness::Trace;
use crate::sums::{MEMORY, PIPE, assert_both, because, copied, direct_file, file, moved, overview};

const MIB: usize = 1 << 20;

fn run(test: &str, programs: &[&str], script: &str, len: usize) -> Option<(Report, std::path::PathBuf, std::path::PathBuf)> {
    let mut trace = Trace::start(test, programs)?;
    let source = trace.file("a.bin", len);
    trace.run(script);
    let sink = trace.path("b.bin");
    assert_eq!(std::fs::read(&source).expect("read"), std::fs::read(&sink).expect("read"));
    Some((trace.finish(), source, sink))
}

#[test]
fn dd_copies_through_its_memory() {
    let script = "exec dd if=a.bin of=b.bin bs=1M count=4 status=none";
    let Some((report, source, sink)) = run("dd_copies_through_its_memory", &["dd"], script, 4 * MIB) else { return };
    assert_both(&report, file(&source), MEMORY, &copied(4 << 20));
    assert_both(&report, MEMORY, file(&sink), &copied(4 << 20));
}

#[test]
fn dd_with_oflag_direct_lets_the_disk_take_its_memory() {
    const TEST: &str = "dd_with_oflag_direct_lets_the_disk_take_its_memory";
    let script = "exec dd if=a.bin of=b.bin bs=1M count=4 oflag=direct status=none";
    let Some((report, source, sink)) = run(TEST, &["dd"], script, 4 * MIB) else { return };
    assert_both(&report, file(&source), MEMORY, &copied(4 << 20));
    assert_both(&report, MEMORY, direct_file(&sink), &moved(4 << 20));
}

#[test]
fn dd_with_iflag_direct_lets_the_disk_fill_its_memory() {
    const TEST: &str = "dd_with_iflag_direct_lets_the_disk_fill_its_memory";
    let script = "exec dd if=a.bin of=b.bin bs=1M count=4 iflag=direct status=none";
    let Some((report, source, sink)) = run(TEST, &["dd"], script, 4 * MIB) else { return };
    assert_both(&report, direct_file(&source), MEMORY, &moved(4 << 20));
    assert_both(&report, MEMORY, file(&sink), &copied(4 << 20));
}

#[test]
fn cp_copies_in_the_kernel() {
    const LEN: usize = 2 * MIB + 1234;
    // Without a file system that could share the blocks.
    let script = "exec cp --reflink=never a.bin b.bin";
    let Some((report, source, sink)) = run("cp_copies_in_the_kernel", &["cp"], script, LEN) else { return };
    let sum = crate::sums::edges(&report, file(&source), file(&sink));
    let read = crate::sums::edges(&report, file(&source), MEMORY);
    assert_eq!(sum.total() + read.total(), LEN as u64, "{}", overview(&report));
    assert_both(&report, file(&source), file(&sink), &copied(sum.total()));
    assert_both(&report, file(&source), MEMORY, &copied(read.total()));
    assert_both(&report, MEMORY, file(&sink), &copied(read.total()));
}

#[test]
fn cat_copies_through_its_memory() {
    const LEN: usize = 2 * MIB + 99;
    let Some((report, source, sink)) = run("cat_copies_through_its_memory", &["cat"], "exec cat a.bin >b.bin", LEN) else {
        return;
    };
    assert_both(&report, file(&source), MEMORY, &copied(LEN as u64));
    assert_both(&report, MEMORY, file(&sink), &copied(LEN as u64));
}

#[test]
fn a_pipe_between_cat_and_tail_copies_in_and_out() {
    const LEN: usize = 2 * MIB + 99;
    const TEST: &str = "a_pipe_between_cat_and_tail_copies_in_and_out";
    let script = "cat a.bin | tail -c +1 >b.bin";
    let Some((report, source, sink)) = run(TEST, &["cat", "tail"], script, LEN) else { return };
    let len = LEN as u64;
    assert_both(&report, file(&source), MEMORY, &copied(len));
    assert_both(&report, MEMORY, file(&sink), &copied(len));
    let into = crate::sums::edges(&report, MEMORY, PIPE);
    assert_eq!(into, copied(len), "{}", overview(&report));
    // The newline by which the test lets the shell go.
    let out = crate::sums::edges(&report, PIPE, MEMORY);
    assert_eq!((out.copied, out.total()), (len + 1, len + 1), "{}", overview(&report));
    // What came out of the pipe was copied in and out again.
    let through = crate::sums::flows(&report, MEMORY, MEMORY);
    assert_eq!(through, copied(len), "{}", overview(&report));
    assert_eq!(because(&report, MEMORY, MEMORY, &[Reason::FromMemory, Reason::SmallWrite]), len);
    assert_eq!(because(&report, MEMORY, MEMORY, &[Reason::IntoMemory]), len);
}

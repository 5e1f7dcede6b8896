//! fio: the same jobs by several interfaces of the kernel. The bytes of each endpoint equal
//! fio's own figures.

use std::path::{Path, PathBuf};

use zctrace_contract::Reason;
use zctrace_report::{Account, EndpointKind, Report};

use crate::harness::Trace;
use crate::totals::{
    EndpointMatch, MEMORY, PIPE, any, assert_both, bytes_with_reasons, copied, direct_file, edges, file, flows, moved,
    overview,
};

/// 32 blocks of 64 KiB.
const LEN: u64 = 2 << 20;

/// Returns the bytes that fio's one job read and wrote, as fio reports them.
fn figures(text: &str) -> (u64, u64) {
    // Notices come before the object.
    let json = &text[text.find('{').expect("an object")..];
    let all: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let job = &all["jobs"][0];
    assert_eq!(job["error"], 0, "{job}");
    let bytes = |way: &str| job[way]["io_bytes"].as_u64().expect("a number");
    (bytes("read"), bytes("write"))
}

/// Runs one job that reads a.bin and one that writes b.bin, and returns the report with both paths.
fn run(test: &str, engine: &str, direct: bool) -> Option<(Report, PathBuf, PathBuf)> {
    let mut trace = Trace::start(test, &["fio"]).filter(|trace| trace.is_on_ext4(test))?;
    let direct = u8::from(direct);
    let [source, sink] = [("a.bin", "read", (LEN, 0)), ("b.bin", "write", (0, LEN))].map(|(name, way, expected)| {
        let path = trace.file(name, LEN as usize);
        trace.run(&format!(
            "exec fio --name=job --filename={name} --size={LEN} --bs=64k --rw={way} --ioengine={engine} \
             --direct={direct} --iodepth=4 --fallocate=none --thread=1 --output-format=json --output=figures"
        ));
        let text = std::fs::read_to_string(trace.path("figures")).expect("read");
        assert_eq!(figures(&text), expected, "{text}");
        path
    });
    Some((trace.finish(), source, sink))
}

/// Returns the endpoint of a job's file.
fn endpoint(path: &Path, direct: bool) -> EndpointMatch<'_> {
    if direct { direct_file(path) } else { file(path) }
}

/// Runs both jobs, and asserts what becomes of their bytes between the files and memory.
fn assert_jobs(test: &str, engine: &str, direct: bool, wanted: &Account, unknown_reason: Option<Reason>) {
    let Some((report, source, sink)) = run(test, engine, direct) else {
        return;
    };
    let (read, written) = (endpoint(&source, direct), endpoint(&sink, direct));
    let reasons: Vec<Reason> = unknown_reason.into_iter().collect();
    for (from, to) in [(read, MEMORY), (MEMORY, written)] {
        assert_both(&report, from, to, wanted);
        assert_eq!(bytes_with_reasons(&report, from, to, &reasons), wanted.unknown);
    }
    for path in [&source, &sink] {
        assert_nothing_else(&report, path, LEN);
    }
}

/// Asserts that no more bytes than these have the file as their origin or destination.
fn assert_nothing_else(report: &Report, path: &Path, len: u64) {
    let ends: [EndpointMatch<'_>; 2] = [file(path), direct_file(path)];
    let (memory, kinds) = (MEMORY, [EndpointKind::File, EndpointKind::DirectFile]);
    let mut sum = 0;
    for end in ends {
        sum += flows(report, end, memory).total() + flows(report, memory, end).total();
        for kind in &kinds {
            sum += flows(report, end, any(kind)).total();
        }
    }
    assert_eq!(sum, len, "{}", overview(report));
}

#[test]
fn fio_by_io_uring_copies_through_the_page_cache() {
    const TEST: &str = "fio_by_io_uring_copies_through_the_page_cache";
    assert_jobs(TEST, "io_uring", false, &copied(LEN), None);
}

#[test]
fn fio_by_io_uring_on_a_direct_file_is_counted() {
    const TEST: &str = "fio_by_io_uring_on_a_direct_file_is_counted";
    let unknown = Account::new(0, 0, LEN);
    assert_jobs(TEST, "io_uring", true, &unknown, Some(Reason::AsyncIo));
}

#[test]
fn fio_by_libaio_is_counted() {
    const TEST: &str = "fio_by_libaio_is_counted";
    // The probes see how many bytes a request asks for, not how many the kernel completed.
    let unknown = Account::new(0, 0, LEN);
    assert_jobs(TEST, "libaio", true, &unknown, Some(Reason::AsyncIo));
    assert_jobs(TEST, "libaio", false, &unknown, Some(Reason::AsyncIo));
}

#[test]
fn fio_by_pread_and_pwrite_lets_the_disk_use_its_memory() {
    const TEST: &str = "fio_by_pread_and_pwrite_lets_the_disk_use_its_memory";
    assert_jobs(TEST, "psync", true, &moved(LEN), None);
}

/// fio passes its buffers to a pipe by vmsplice to write, and reads the pipe into them to read.
fn assert_splice(test: &str, direct: bool, out: &Account) {
    let Some((report, source, sink)) = run(test, "splice", direct) else {
        return;
    };
    let (read, written) = (endpoint(&source, direct), endpoint(&sink, direct));
    let all = || overview(&report);
    // A thread of fio wakes another one by single bytes in a pipe of their own.
    let into = edges(&report, MEMORY, PIPE);
    assert_eq!((into.moved, into.unknown), (LEN, 0), "{}", all());
    assert_eq!(edges(&report, PIPE, written), *out, "{}", all());
    assert_eq!(flows(&report, MEMORY, written), *out, "{}", all());
    let out_of = edges(&report, PIPE, MEMORY);
    assert_eq!((out_of.moved, out_of.unknown), (0, 0), "{}", all());
    assert_eq!(edges(&report, read, PIPE), moved(LEN), "{}", all());
    assert_eq!(flows(&report, read, MEMORY), copied(LEN), "{}", all());
}

#[test]
fn fio_by_splice_moves_memory_into_pipes_and_copies_it_to_the_page_cache() {
    const TEST: &str = "fio_by_splice_moves_memory_into_pipes_and_copies_it_to_the_page_cache";
    assert_splice(TEST, false, &copied(LEN));
}

#[test]
fn fio_by_splice_on_a_direct_file_moves_memory_to_the_disk() {
    const TEST: &str = "fio_by_splice_on_a_direct_file_moves_memory_to_the_disk";
    assert_splice(TEST, true, &moved(LEN));
}

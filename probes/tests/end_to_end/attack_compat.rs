//! A 32-bit program: its calls have other numbers, and their arguments are in other registers. They
//! are reported as not observed, and their effect on a pipe is not attributed to an observed call.
//!
//! The program is assembled here byte by byte, so that no 32-bit compiler is needed.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use zctrace_report::Edge;
use zctrace_report::EndpointKind::{File, Null, Pipe as InPipe, Tcp};

use crate::fixtures::{file_with, null, pattern, pipe, receive, splice_all, splice_once, tcp_connection};
use crate::harness::{Totals, discarded, exclusive, not_observed, reasons, reasons_of, totals, traced, unknown};
use test_support::skip;

/// Bytes of each call of the 32-bit program.
const LEN: usize = 4096;
/// Its calls: sendfile, sendfile64 and splice.
const CALLS: usize = 3;

/// Load address of the program, the usual one.
const BASE: u32 = 0x0804_8000;
/// Sizes of `Elf32_Ehdr` and of the one `Elf32_Phdr` (elf(5)).
const HEADERS: u32 = 52 + 32;

/// i386 code: three calls from descriptor 0 to 1, then exit(2) with 0 if each returned [`LEN`],
/// otherwise with 1.
fn code() -> Vec<u8> {
    let len = LEN.to_le_bytes();
    let len = &len[..4];
    let mut code = Vec::new();
    for number in [187_u32, 239] {
        // sendfile, sendfile64 (arch/x86/entry/syscalls/syscall_32.tbl): destination, source, no
        // offset, count.
        code.extend([0xb8]); // mov eax, number
        code.extend(number.to_le_bytes());
        code.extend([0xbb, 1, 0, 0, 0]); // mov ebx, 1
        code.extend([0x31, 0xc9]); // xor ecx, ecx
        code.extend([0x31, 0xd2]); // xor edx, edx
        code.extend([0xbe]); // mov esi, LEN
        code.extend(len);
        call(&mut code);
    }
    // splice: source, no offset, destination, no offset, count, no flags.
    code.extend([0xb8, 0x39, 0x01, 0, 0]); // mov eax, 313
    code.extend([0x31, 0xdb]); // xor ebx, ebx
    code.extend([0x31, 0xc9]); // xor ecx, ecx
    code.extend([0xba, 1, 0, 0, 0]); // mov edx, 1
    code.extend([0x31, 0xf6]); // xor esi, esi
    code.extend([0xbf]); // mov edi, LEN
    code.extend(len);
    code.extend([0x31, 0xed]); // xor ebp, ebp
    call(&mut code);
    code.extend([0x31, 0xdb]); // xor ebx, ebx
    exit(&mut code);
    code
}

/// The system call, and exit if it did not return [`LEN`].
fn call(code: &mut Vec<u8>) {
    let mut failed = vec![0xbb, 1, 0, 0, 0]; // mov ebx, 1
    exit(&mut failed);
    code.extend([0xcd, 0x80]); // int 0x80
    code.extend([0x3d]); // cmp eax, LEN
    code.extend(&LEN.to_le_bytes()[..4]);
    code.extend([0x74, failed.len() as u8]); // je over it
    code.extend(failed);
}

/// exit(2) with the code in ebx.
fn exit(code: &mut Vec<u8>) {
    code.extend([0xb8, 1, 0, 0, 0]); // mov eax, 1
    code.extend([0xcd, 0x80]); // int 0x80
}

/// Returns the program as a file: an ELF header, one segment, the code.
fn program() -> Vec<u8> {
    let code = code();
    let size = HEADERS + code.len() as u32;
    let mut file = Vec::new();
    file.extend(b"\x7fELF");
    file.extend([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // 32 bits, little endian, version 1
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    half(&mut file, 2); // ET_EXEC
    half(&mut file, 3); // EM_386
    word(&mut file, 1);
    word(&mut file, BASE + HEADERS); // where it begins
    word(&mut file, 52); // the program header follows
    word(&mut file, 0); // no sections
    word(&mut file, 0);
    for value in [52, 32, 1, 0, 0, 0] {
        half(&mut file, value); // sizes and numbers of headers
    }
    // One PT_LOAD from the start of the file, readable and executable.
    for value in [1, 0, BASE, BASE, size, size, 5, 4096] {
        word(&mut file, value);
    }
    assert_eq!(file.len() as u32, HEADERS);
    file.extend(code);
    file
}

fn write_program(path: &Path) {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o755)
        .open(path)
        .expect("create");
    file.write_all(&program()).expect("write");
}

#[test]
fn report_counts_calls_of_a_32_bit_program_as_not_covered() {
    const TEST: &str = "attack_compat::report_counts_calls_of_a_32_bit_program_as_not_covered";
    /// The error of execve(2) for a file that the kernel cannot run.
    const ENOEXEC: i32 = 8;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("program");
    write_program(&path);
    let source = file_with(&dir.path().join("a"), &pattern(CALLS * LEN));
    let mut cannot = None;
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let pipe = pipe();
        // The mirror is synchronized: one page went through the ring, and it is empty.
        assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, LEN), LEN);
        splice_all(&pipe.read, None, &null(), None, LEN);
        let again = std::fs::File::open(dir.path().join("a")).expect("open");
        let status = Command::new(&path)
            .stdin(Stdio::from(again))
            .stdout(Stdio::from(pipe.write.try_clone().expect("dup")))
            .status();
        match status {
            Ok(status) => assert!(status.success(), "{status}"),
            Err(error) if error.raw_os_error() == Some(ENOEXEC) => return cannot = Some(error),
            Err(error) => panic!("{error}"),
        }
        // Bytes that it put there are moved on by an observed call.
        let far = receive(far, CALLS * LEN);
        splice_all(&pipe.read, None, &near, None, CALLS * LEN);
        assert!(far.join().expect("received") == pattern(CALLS * LEN));
    }) else {
        return;
    };
    if let Some(error) = cannot {
        return skip!(TEST, "this kernel runs no 32-bit programs: {error}");
    }
    assert_eq!(
        not_observed(&report, "splice, tee, vmsplice and sendfile of 32-bit programs"),
        CALLS as u64
    );
    // Nothing is claimed for its calls, and none of them is attributed to the 64-bit calls.
    assert_eq!(totals(&report, &File, &Null), discarded(LEN));
    assert_eq!(totals(&report, &File, &Tcp), Totals::default());
    assert_eq!(
        totals(&report, &InPipe, &Tcp),
        unknown(CALLS * LEN),
        "{:#?}",
        report.flows
    );
    assert_eq!(reasons(&report, &InPipe, &Tcp), reasons_of([("ZC85", CALLS * LEN)]));
    // Other threads of this process may read files of their own: only bytes that went into the pipe
    // are checked.
    let into_pipe = |edge: &&Edge| edge.from.endpoint.kind == File && edge.to.endpoint.kind == InPipe;
    let observed: u64 = report.edges.iter().filter(into_pipe).map(|edge| edge.bytes).sum();
    assert_eq!(observed, LEN as u64, "{:#?}", report.edges);
}

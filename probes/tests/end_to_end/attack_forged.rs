//! Attacks by calls that are not what their numbers claim: results forged by a seccomp filter, and
//! 32-bit calls.

use std::arch::asm;
use std::os::fd::AsRawFd;

use zctrace_report::EndpointKind::{File, Memory, Tcp};
use zctrace_report::{Call, Report};

use crate::child::{self, is_child};
use crate::fixtures::{file_with, pattern, pipe, splice_once, tcp_connection};
use crate::harness::{exclusive, flows, not_observed, traced, traced_child};

/// Constants of seccomp(2) (`include/uapi/linux/seccomp.h`) and of its filters
/// (`include/uapi/linux/bpf_common.h`).
const SET_MODE_FILTER: libc::c_ulong = 1;
const FLAG_NEW_LISTENER: libc::c_ulong = 8;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const IOCTL_RECV: libc::c_ulong = 0xc050_2100;
const IOCTL_SEND: libc::c_ulong = 0xc018_2101;

/// Makes the kernel perform `action` instead of splice(2), for this thread only.
fn instead_of_splice(action: u32, flags: libc::c_ulong) -> i32 {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, 275),
        step(RETURN, 0, 0, action),
        step(RETURN, 0, 0, RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: both calls only read the given structures, which live until they return.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program)
    };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    result as i32
}

fn no_splice(report: &Report) {
    assert!(flows(report, &File, &Tcp).is_empty(), "{:#?}", report.flows);
    assert!(
        report.edges.iter().all(|edge| edge.call != Call::Splice),
        "{:#?}",
        report.edges
    );
}

#[test]
fn error_forged_by_a_seccomp_filter() {
    const TEST: &str = "attack_forged::error_forged_by_a_seccomp_filter";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(4096));
    let Some(report) = traced(TEST, || {
        let thread = std::thread::spawn(move || {
            instead_of_splice(RET_ERRNO | libc::EPERM as u32, 0);
            let pipe = pipe();
            rustix::pipe::splice(
                &source,
                Some(&mut 0),
                &pipe.write,
                None,
                4096,
                rustix::pipe::SpliceFlags::empty(),
            )
        });
        assert_eq!(thread.join().expect("joined"), Err(rustix::io::Errno::PERM));
    }) else {
        return;
    };
    no_splice(&report);
    assert_eq!(not_observed(&report, "calls that were entered before"), 1);
}

/// Notification of a call that waits for an answer, and the answer (include/uapi/linux/seccomp.h).
#[repr(C)]
#[derive(Default)]
struct Question {
    id: u64,
    pid: u32,
    flags: u32,
    data: [u64; 8],
}

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[test]
fn result_forged_by_a_seccomp_supervisor() {
    const TEST: &str = "attack_forged::result_forged_by_a_seccomp_supervisor";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(4096));
    let Some(report) = traced(TEST, || {
        let (near, _far) = tcp_connection();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let pipe = pipe();
            // Genuine calls first: their records must not be attributed to the forged call.
            assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, 4096), 4096);
            sender
                .send(instead_of_splice(RET_USER_NOTIF, FLAG_NEW_LISTENER))
                .expect("the test");
            assert_eq!(splice_once(&pipe.read, None, &near, None, 4096), 4096, "forged");
        });
        let listener = receiver.recv().expect("a listener");
        let mut question = Question::default();
        // SAFETY: the kernel writes a notification and reads an answer, of the sizes encoded in the
        // requests; both are live structures of those sizes.
        unsafe {
            assert_eq!(libc::ioctl(listener, IOCTL_RECV, &raw mut question), 0);
            let mut answer = Answer {
                id: question.id,
                value: 4096,
                error: 0,
                flags: 0,
            };
            assert_eq!(libc::ioctl(listener, IOCTL_SEND, &raw mut answer), 0);
            libc::close(listener);
        }
        thread.join().expect("joined");
    }) else {
        return;
    };
    assert!(flows(&report, &File, &Tcp).is_empty(), "{:#?}", report.flows);
    assert_eq!(not_observed(&report, "calls that were entered before"), 1);
}

/// Makes a system call in the way of a 32-bit program.
fn int80(number: u32, first: u32, second: u32, third: u32, fourth: u32, fifth: u32) -> i32 {
    let result: u64;
    // SAFETY: the callers only make calls that access no memory. rbx and rbp, which the compiler
    // reserves, are restored; the other registers are declared as clobbered because the kernel may
    // clear them.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov ebx, r12d",
            "xor ebp, ebp",
            "int 0x80",
            "pop rbp",
            "pop rbx",
            inlateout("rax") u64::from(number) => result,
            in("r12") u64::from(first),
            in("rcx") u64::from(second),
            in("rdx") u64::from(third),
            in("rsi") u64::from(fourth),
            in("rdi") u64::from(fifth),
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    result as i32
}

#[test]
fn calls_of_the_32_bit_table_are_not_mistaken_for_others() {
    const TEST: &str = "attack_forged::calls_of_the_32_bit_table_are_not_mistaken_for_others";
    if is_child() {
        let dir = tempfile::tempdir().expect("tempdir");
        drop(file_with(&dir.path().join("a"), &pattern(4096)));
        let source = std::fs::File::open(dir.path().join("a")).expect("open");
        let (near, _far) = tcp_connection();
        let pipe = pipe();
        let [file, put, take, socket] = [
            source.as_raw_fd(),
            pipe.write.as_raw_fd(),
            pipe.read.as_raw_fd(),
            near.as_raw_fd(),
        ]
        .map(|fd| fd as u32);
        if int80(20, 0, 0, 0, 0, 0) <= 0 {
            return test_support::skip!(TEST, "this kernel runs no programs of 32 bits");
        }
        child::attach();
        // i386 numbers: splice(2) is 313; getpid is 20, which is writev(2) on x86-64; rmdir is 40,
        // sendfile(2) on x86-64; get_mempolicy is 275, splice(2) on x86-64; exit would be 1.
        assert_eq!(int80(313, file, 0, put, 0, 4096), 4096);
        assert_eq!(int80(313, take, 0, socket, 0, 4096), 4096);
        assert_eq!(int80(20, socket, 0, 4096, 0, 0) as u32, std::process::id());
        assert!(int80(40, 0, put, take, 4096, 0) < 0);
        assert!(int80(275, take, 0, socket, 0, 4096) < 0);
        return;
    }
    let _exclusive = exclusive();
    let Some(report) = traced_child(TEST, |cookie| child::run(TEST, cookie)) else {
        return;
    };
    no_splice(&report);
    assert!(flows(&report, &Memory, &Tcp).is_empty(), "{:#?}", report.flows);
    assert!(
        report.edges.iter().all(|edge| edge.call != Call::Sendfile),
        "{:#?}",
        report.edges
    );
    assert_eq!(not_observed(&report, "splice, tee, vmsplice and sendfile of 32-bit"), 2);
}

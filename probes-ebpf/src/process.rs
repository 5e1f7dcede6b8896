//! Who is traced: forks, execs and exits.

use core::ptr::addr_of_mut;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use zctrace_records::{ProcessEvent, process_event_kind, program};

use crate::offsets;
use crate::read::{self, member};
use crate::scope::TRACED;
use crate::{emit, in_flight, scope};

/// Room for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    process: ProcessEvent,
}

scratch!(FORK_SCRATCH: Scratch);
scratch!(EXEC_SCRATCH: Scratch);
scratch!(ENDTASK_SCRATCH: Scratch);
scratch!(RENAME_SCRATCH: Scratch);

/// A new process of a traced one is traced, too. New threads need nothing: a process is its tgid.
#[inline(always)]
pub(crate) fn on_fork(parent: u64, child: u64) {
    let tgid: u32 = member(parent, &offsets::TASK_TGID);
    let child_tgid: u32 = member(child, &offsets::TASK_TGID);
    if child_tgid == tgid || offsets::FOLLOW.load() == 0 || !scope::is_traced(tgid) {
        return;
    }
    if offsets::SCOPE_MODE.load() == 0 && TRACED.insert(child_tgid, 1, 0).is_err() {
        emit::count_map_full(program::SCHED_PROCESS_FORK);
    }
    if let Some(scratch) = FORK_SCRATCH.get_ptr_mut(0) {
        // SAFETY: the room is this program's on this CPU, and valid as long as it runs.
        unsafe {
            let process = addr_of_mut!((*scratch).process);
            emit_event(
                process,
                process_event_kind::FORK,
                child_tgid,
                0,
                child,
                program::SCHED_PROCESS_FORK,
            );
        }
    }
}

/// A traced process has become another program; it stays traced. The thread that did it had this number before.
#[inline(always)]
pub(crate) fn on_exec(task: u64, tid: u32) {
    let pid_tgid = bpf_get_current_pid_tgid();
    if !scope::is_traced((pid_tgid >> 32) as u32) {
        return;
    }
    if tid != pid_tgid as u32 {
        // It has taken the leader's (`de_thread`, fs/exec.c): nobody ends under the old one.
        in_flight::forget_thread(tid);
    }
    if let Some(scratch) = EXEC_SCRATCH.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe {
            let process = addr_of_mut!((*scratch).process);
            emit_event(
                process,
                process_event_kind::EXEC,
                0,
                0,
                task,
                program::SCHED_PROCESS_EXEC,
            );
        }
    }
}

/// A thread has ended; with the last one its process.
#[inline(always)]
pub(crate) fn on_exit(task: u64) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if !scope::is_traced(tgid) {
        return;
    }
    // A thread that is killed comes by sys_exit first, unless another program forbade that.
    in_flight::forget_thread(tid);
    // do_exit has counted this thread down before the tracepoint (kernel/exit.c).
    let signal: u64 = member(task, &offsets::TASK_SIGNAL);
    if member::<u32>(signal, &offsets::SIGNAL_LIVE) != 0 {
        return;
    }
    // Two threads that end at the same time may both see zero: one of them removes the process.
    if offsets::SCOPE_MODE.load() == 0 && TRACED.remove(tgid).is_err() {
        return;
    }
    if let Some(scratch) = ENDTASK_SCRATCH.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe {
            let process = addr_of_mut!((*scratch).process);
            emit_event(
                process,
                process_event_kind::EXIT,
                0,
                0,
                task,
                program::SCHED_PROCESS_EXIT,
            );
        }
    }
}

/// A thread that takes the name which announces it makes its process traced from here on.
#[inline(always)]
pub(crate) fn on_rename(task: u64, name: u64) {
    let [first, second] = read::kernel::<[u64; 2]>(name);
    if first != offsets::COOKIE_FIRST.load() || second != offsets::COOKIE_SECOND.load() || first == 0 {
        return;
    }
    // A thread's name can be set by others of its process only, so this is the one that is meant.
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if TRACED.insert(tgid, 1, 0).is_err() {
        emit::count_map_full(program::TASK_RENAME);
        return;
    }
    if let Some(scratch) = RENAME_SCRATCH.get_ptr_mut(0) {
        // SAFETY: the room is this program's on this CPU, and valid as long as it runs.
        unsafe {
            let process = addr_of_mut!((*scratch).process);
            emit_event(process, process_event_kind::ATTACHED, 0, 0, task, program::TASK_RENAME);
        }
    }
}

/// Writes a record about `task`.
///
/// # Safety
///
/// `process` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn emit_event(
    process: *mut ProcessEvent,
    event: u32,
    child: u32,
    detail: u64,
    task: u64,
    program: u32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        (*process).event = event;
        (*process).child = child;
        (*process).detail = detail;
        generated::bpf_probe_read_kernel(
            addr_of_mut!((*process).comm).cast(),
            16,
            (task + u64::from(offsets::TASK_COMM.load())) as *const _,
        );
        emit::emit_fixed(process, program);
    }
}

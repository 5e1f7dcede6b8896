//! Traced processes: forks, execs, exits and announcements.

use core::ptr::addr_of_mut;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use zctrace_records::{ProcessEvent, process_event_kind, program};

use crate::offsets;
use crate::read::{self, member};
use crate::scope::TRACED;
use crate::{emit, in_flight, scope};

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    process: ProcessEvent,
}

scratch!(FORK_SCRATCH: Scratch);
scratch!(EXEC_SCRATCH: Scratch);
scratch!(ENDTASK_SCRATCH: Scratch);
scratch!(RENAME_SCRATCH: Scratch);

/// Handles a fork: a child of a traced process is traced as well. New threads need no action,
/// because a process is identified by its tgid.
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
        // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while
        // the program runs, and only this program uses this scratch memory on this CPU.
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

/// Handles an exec: the process stays traced. `tid` is the previous thread ID of the thread that
/// called it.
#[inline(always)]
pub(crate) fn on_exec(task: u64, tid: u32) {
    let pid_tgid = bpf_get_current_pid_tgid();
    if !scope::is_traced((pid_tgid >> 32) as u32) {
        return;
    }
    if tid != pid_tgid as u32 {
        // The thread has taken the leader's ID (`de_thread`, fs/exec.c), so no exit is reported for
        // the previous one.
        in_flight::forget_thread(tid);
    }
    if let Some(scratch) = EXEC_SCRATCH.get_ptr_mut(0) {
        // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while
        // the program runs, and only this program uses this scratch memory on this CPU.
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

/// Handles the end of a thread. Its process ends with the last thread.
#[inline(always)]
pub(crate) fn on_exit(task: u64) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if !scope::is_traced(tgid) {
        return;
    }
    // A killed thread passes sys_exit first, unless another program prevents that.
    in_flight::forget_thread(tid);
    // do_exit has decremented the count of live threads before the tracepoint (kernel/exit.c).
    let signal: u64 = member(task, &offsets::TASK_SIGNAL);
    if member::<u32>(signal, &offsets::SIGNAL_LIVE) != 0 {
        return;
    }
    // Two threads that end at the same time can both read zero, and only one of them removes the
    // process.
    if offsets::SCOPE_MODE.load() == 0 && TRACED.remove(tgid).is_err() {
        return;
    }
    if let Some(scratch) = ENDTASK_SCRATCH.get_ptr_mut(0) {
        // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while
        // the program runs, and only this program uses this scratch memory on this CPU.
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

/// Handles a rename: a thread that takes the announcement as its name attaches its process.
#[inline(always)]
pub(crate) fn on_rename(task: u64, name: u64) {
    let [first, second] = read::kernel::<[u64; 2]>(name);
    if first != offsets::COOKIE_FIRST.load() || second != offsets::COOKIE_SECOND.load() || first == 0 {
        return;
    }
    // Only threads of the same process can set a thread's name, so the current process is the
    // announced one.
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if TRACED.insert(tgid, 1, 0).is_err() {
        emit::count_map_full(program::TASK_RENAME);
        return;
    }
    if let Some(scratch) = RENAME_SCRATCH.get_ptr_mut(0) {
        // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while
        // the program runs, and only this program uses this scratch memory on this CPU.
        unsafe {
            let process = addr_of_mut!((*scratch).process);
            emit_event(process, process_event_kind::ATTACHED, 0, 0, task, program::TASK_RENAME);
        }
    }
}

/// Writes an event of `task`.
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
    // SAFETY: writing through `process` requires a valid pointer, which the caller guarantees. The
    // helper writes 16 bytes, the size of `comm`.
    unsafe {
        (*process).event = event;
        (*process).child = child;
        (*process).detail = detail;
        // A process is named after its first thread. Others may have names of their own.
        let leader: u64 = member(task, &offsets::TASK_GROUP_LEADER);
        generated::bpf_probe_read_kernel(
            addr_of_mut!((*process).comm).cast(),
            16,
            (leader + u64::from(offsets::TASK_COMM.load())) as *const _,
        );
        emit::emit_fixed(process, program);
    }
}

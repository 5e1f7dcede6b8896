//! `iter/task_file`: what traced processes have open when watching begins.
//!
//! The user side reads the iterator to its end once: each descriptor is shown to the program in turn. Connections are watched
//! from here on, and what lies in pipes is written down, sixteen slots at a time: the program asks to be shown the same
//! descriptor again until it is through.

use core::ptr::addr_of_mut;

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use zctrace_records::{EndpointName, EndpointState, PipeSnapshot, endpoint_kind, program};

use crate::endpoint::{self, EndpointNow};
use crate::offsets;
use crate::page_record::PageBuffer;
use crate::pipe_slots::{self, Cursor};
use crate::read::{self, member};
use crate::scope::TRACED;
use crate::syscall_args::{FdArg, offset_source};
use crate::{emit, endpoint_name, ids};

/// Room for the whole iteration: it may go on on another CPU. Only one is under way at a time.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    /// The `struct file` of the pipe that is being written down; 0: none is.
    current_file: u64,
    fd_arg: FdArg,
    now: EndpointNow,
    cursor: Cursor,
    snapshot: PipeSnapshot,
    name: EndpointName,
    pages: PageBuffer,
}

/// Room for the whole iteration.
#[map]
static ITER_SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// What the kernel shows (`struct bpf_iter__task_file`, `kernel/bpf/task_iter.c`).
#[repr(C)]
pub(crate) struct IterContext {
    meta: u64,
    /// The `struct task_struct`; 0 at the end.
    pub(crate) task: u64,
    /// The descriptor; its room is 8 bytes.
    pub(crate) fd: u64,
    /// The `struct file`; 0 at the end.
    pub(crate) file: u64,
}

/// Go on with the next descriptor, or show this one again (`bpf_iter_run_prog`, `kernel/bpf/bpf_iter.c`).
const NEXT: i32 = 0;
const REPEAT: i32 = 1;

/// The program.
#[inline(always)]
pub(crate) fn visit(task: u64, fd: u32, file: u64) -> i32 {
    if task == 0 || file == 0 {
        return NEXT;
    }
    let tgid: u32 = member(task, &offsets::TASK_TGID);
    // The members of a cgroup are put in the table for as long as this takes.
    let in_scope = if offsets::SCOPE_MODE.load() == 2 {
        tgid != offsets::SELF_TGID.load()
    } else {
        TRACED.get_ptr(tgid).is_some()
    };
    if !in_scope {
        return NEXT;
    }
    let Some(scratch) = ITER_SCRATCH.get_ptr_mut(0) else {
        return NEXT;
    };
    // SAFETY: the room is this iteration's alone, and valid as long as the program runs.
    unsafe {
        if (*scratch).current_file != file {
            (*scratch).current_file = 0;
            if !inspect(scratch, tgid, fd as i32, file) {
                return NEXT;
            }
            (*scratch).current_file = file;
        }
        let snapshot = addr_of_mut!((*scratch).snapshot);
        let cursor = addr_of_mut!((*scratch).cursor);
        if !pipe_slots::emit_snapshot_slots(addr_of_mut!((*scratch).pages), cursor, snapshot) {
            return REPEAT;
        }
        let endpoint = addr_of_mut!((*snapshot).endpoint);
        endpoint::capture_exit(
            endpoint,
            addr_of_mut!((*scratch).now),
            addr_of_mut!((*scratch).fd_arg),
            false,
            0,
        );
        emit::emit_fixed(snapshot, program::TASK_FILE);
        (*scratch).current_file = 0;
    }
    NEXT
}

/// Takes note of what a descriptor leads to. Whether it is a pipe, of which there is more to say.
///
/// # Safety
///
/// `room` must be valid for reads and writes.
#[inline(always)]
unsafe fn inspect(scratch: *mut Scratch, tgid: u32, fd: i32, file: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let snapshot = addr_of_mut!((*scratch).snapshot);
        let endpoint: *mut EndpointState = addr_of_mut!((*snapshot).endpoint);
        endpoint::identify(endpoint, fd, file);
        let kind = (*endpoint).kind;
        if kind != endpoint_kind::PIPE && !(endpoint_kind::TCP..=endpoint_kind::SOCKET).contains(&kind) {
            return false;
        }
        let fd_arg = addr_of_mut!((*scratch).fd_arg);
        (*fd_arg).fd = fd;
        (*fd_arg).offset_source = offset_source::POSITION;
        (*fd_arg).offset = 0;
        endpoint::capture_entry(endpoint, addr_of_mut!((*scratch).now), fd_arg, false);
        endpoint_name::emit_once(addr_of_mut!((*scratch).name), endpoint, program::TASK_FILE);
        if kind != endpoint_kind::PIPE {
            return false;
        }
        (*snapshot).call_id = ids::next_call();
        (*snapshot).tgid = tgid;
        (*snapshot).page_records = 0;
        read::zero(addr_of_mut!((*scratch).cursor));
        true
    }
}

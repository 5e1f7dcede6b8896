//! `iter/task_file`: descriptors that traced processes have open when tracing starts.
//!
//! User space reads the iterator to its end once, and the kernel runs the program for each
//! descriptor. Connections and UNIX sockets are traced from then on. The slots of pipes are
//! recorded, sixteen at a time: the program requests the same descriptor again until all slots are
//! recorded.

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

/// Scratch memory of the whole iteration, which can continue on another CPU. Only one iteration
/// runs at a time.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    /// `struct file` of the pipe that is being recorded; 0 means none.
    current_file: u64,
    fd_arg: FdArg,
    now: EndpointNow,
    cursor: Cursor,
    snapshot: PipeSnapshot,
    name: EndpointName,
    pages: PageBuffer,
}

/// Scratch memory of the iteration.
#[map]
static ITER_SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// Context of the program (`struct bpf_iter__task_file`, `kernel/bpf/task_iter.c`).
#[repr(C)]
pub(crate) struct IterContext {
    meta: u64,
    /// Address of the `struct task_struct`; 0 at the end.
    pub(crate) task: u64,
    /// Descriptor, in a field of 8 bytes.
    pub(crate) fd: u64,
    /// Address of the `struct file`; 0 at the end.
    pub(crate) file: u64,
}

/// Results of the program: continue with the next descriptor, or run again for this one
/// (`bpf_iter_run_prog`, `kernel/bpf/bpf_iter.c`).
const NEXT: i32 = 0;
const REPEAT: i32 = 1;

/// Records one descriptor of a traced process and returns how the iteration continues.
#[inline(always)]
pub(crate) fn visit(task: u64, fd: u32, file: u64) -> i32 {
    if task == 0 || file == 0 {
        return NEXT;
    }
    let tgid: u32 = member(task, &offsets::TASK_TGID);
    // User space inserts the members of a traced cgroup into `TRACED` for the duration of the
    // iteration.
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
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this iteration uses this scratch memory.
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

/// Records the endpoint of a descriptor. Returns whether it is a pipe, whose slots must be recorded
/// as well.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(always)]
unsafe fn inspect(scratch: *mut Scratch, tgid: u32, fd: i32, file: u64) -> bool {
    // SAFETY: access through `scratch` requires a valid pointer, which the caller guarantees.
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

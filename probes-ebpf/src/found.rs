//! `iter/task_file`: what traced processes have open when watching begins.
//!
//! The user side reads the iterator to its end once: each descriptor is shown to the program in turn. Connections are watched
//! from here on, and what lies in pipes is written down, sixteen slots at a time: the program asks to be shown the same
//! descriptor again until it is through.

use core::ptr::addr_of_mut;

use zctrace_records::{EndpointName, EndpointState, PipeSnapshot, endpoint_kind, program};

use crate::end::{self, Now};
use crate::maps::{CALLS, FOUND, TRACED, next_serial};
use crate::offsets as at;
use crate::pages::Pages;
use crate::read::{self, member};
use crate::request::{Wanted, offset};
use crate::ring::{self, Cursor};
use crate::{emit, name};

/// Room for the whole iteration: it may go on on another CPU. Only one is under way at a time.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    /// The `struct file` of the pipe that is being written down; 0: none is.
    busy: u64,
    wanted: Wanted,
    now: Now,
    cursor: Cursor,
    found: PipeSnapshot,
    name: EndpointName,
    pages: Pages,
}

/// What the kernel shows (`struct bpf_iter__task_file`, `kernel/bpf/task_iter.c`).
#[repr(C)]
pub(crate) struct Shown {
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
const AGAIN: i32 = 1;

/// The program.
#[inline(always)]
pub(crate) fn run(task: u64, fd: u32, file: u64) -> i32 {
    if task == 0 || file == 0 {
        return NEXT;
    }
    let tgid: u32 = member(task, &at::TASK_TGID);
    // The members of a cgroup are put in the table for as long as this takes.
    let is_meant = if at::SCOPE_MODE.load() == 2 {
        tgid != at::SELF_TGID.load()
    } else {
        TRACED.get_ptr(tgid).is_some()
    };
    if !is_meant {
        return NEXT;
    }
    let Some(room) = FOUND.get_ptr_mut(0) else {
        return NEXT;
    };
    // SAFETY: the room is this iteration's alone, and valid as long as the program runs.
    unsafe {
        if (*room).busy != file {
            (*room).busy = 0;
            if !meet(room, tgid, fd as i32, file) {
                return NEXT;
            }
            (*room).busy = file;
        }
        let found = addr_of_mut!((*room).found);
        let cursor = addr_of_mut!((*room).cursor);
        if !ring::found(addr_of_mut!((*room).pages), cursor, found) {
            return AGAIN;
        }
        let end = addr_of_mut!((*found).endpoint);
        end::after(end, addr_of_mut!((*room).now), addr_of_mut!((*room).wanted), false, 0);
        emit::whole(found, PipeSnapshot::KIND, program::TASK_FILE);
        (*room).busy = 0;
    }
    NEXT
}

/// Takes note of what a descriptor leads to. Whether it is a pipe, of which there is more to say.
///
/// # Safety
///
/// `room` must be valid for reads and writes.
#[inline(always)]
unsafe fn meet(room: *mut Scratch, tgid: u32, fd: i32, file: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let found = addr_of_mut!((*room).found);
        let end: *mut EndpointState = addr_of_mut!((*found).endpoint);
        end::identify(end, fd, file);
        let kind = (*end).kind;
        if kind != endpoint_kind::PIPE && !(endpoint_kind::TCP..=endpoint_kind::SOCKET).contains(&kind) {
            return false;
        }
        let wanted = addr_of_mut!((*room).wanted);
        (*wanted).fd = fd;
        (*wanted).offset = offset::POSITION;
        (*wanted).word = 0;
        end::before(end, addr_of_mut!((*room).now), wanted, false);
        name::tell(addr_of_mut!((*room).name), end, program::TASK_FILE);
        if kind != endpoint_kind::PIPE {
            return false;
        }
        (*found).call_id = next_serial(CALLS);
        (*found).tgid = tgid;
        (*found).page_records = 0;
        read::zero(addr_of_mut!((*room).cursor));
        true
    }
}

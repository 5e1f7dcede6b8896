//! `sys_enter`: what both ends of a call are before it.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use zctrace_records::{Call, EndpointName, EndpointState, IoCounterKey, call_flag, endpoint_kind, nr, program};

use crate::end::{self, Now};
use crate::maps::{CALLS, ENTER, ENTRIES, PLAIN_ENTRIES, next_serial};
use crate::offsets as at;
use crate::read::{self, member};
use crate::request::{self, Request, Wanted};
use crate::told::{self, MSG_ZEROCOPY};
use crate::{emit, name, scope, socket};

/// `FMODE_WRITE` (include/linux/fs.h): the file is open for writing.
const FMODE_WRITE: u32 = 2;
/// `O_DIRECT` of x86 (include/uapi/asm-generic/fcntl.h).
const O_DIRECT: u32 = 0o40000;
/// `MSG_PEEK` and `MSG_TRUNC`.
const MEANINGFUL: u32 = 0x22;
/// [`IoCounterKey::op_flags`]: the calls' results are not bytes.
const NO_BYTES: u32 = 0x8000_0000;

/// Room for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    request: Request,
    now: Now,
    /// An end that may be counted only.
    end: EndpointState,
    key: IoCounterKey,
    name: EndpointName,
    making: told::Making,
    /// What entries are made of: never written.
    entry: Entry,
}

/// A call that a thread is inside, if it has a serial.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// The record, as far as it is known.
    pub(crate) call: Call,
    /// What it asks for.
    pub(crate) source: Wanted,
    pub(crate) sink: Wanted,
}

/// The program.
#[inline(always)]
pub(crate) fn run(regs: u64, number: u64) {
    let number = number as u32;
    if !request::is_known(number) {
        return;
    }
    let who = bpf_get_current_pid_tgid();
    if !scope::has((who >> 32) as u32) || scope::is_compat() {
        return;
    }
    let Some(room) = ENTER.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, and valid as long as it runs.
    unsafe {
        request::fill(addr_of_mut!((*room).request), regs, number);
        if request::is_moving(number) {
            moving(room, number, who as u32);
        } else {
            one_end(room, number, who);
        }
    }
}

/// A call between two descriptors, or between one and memory by pages.
///
/// # Safety
///
/// `room` must be valid for reads and writes.
#[inline(always)]
unsafe fn moving(room: *mut Scratch, number: u32, tid: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(entry) = entry(room, tid) else {
            return;
        };
        let call = addr_of_mut!((*entry).call);
        let request = addr_of_mut!((*room).request);
        if number == nr::VMSPLICE {
            let file = end::file_of((*request).sink.fd);
            if member::<u32>(file, &at::FILE_MODE) & FMODE_WRITE == 0 {
                core::ptr::swap(addr_of_mut!((*request).sink), addr_of_mut!((*request).source));
            }
        }
        begin(call, request, number);
        side(room, addr_of_mut!((*call).source), false);
        side(room, addr_of_mut!((*call).sink), true);
        if (*call).sink.kind == endpoint_kind::TCP && (*call).source.kind != endpoint_kind::PIPE {
            socket::straight(addr_of!((*call).sink.pair));
        }
        keep(entry, request);
    }
}

/// Fills in one end, as it is asked for.
///
/// # Safety
///
/// `room` must be valid for reads and writes, and `end` lie in it.
#[inline(never)]
unsafe fn side(room: *mut Scratch, end: *mut EndpointState, sink: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        let request = addr_of_mut!((*room).request);
        let wanted = if sink {
            addr_of!((*request).sink)
        } else {
            addr_of!((*request).source)
        };
        let fd = (*wanted).fd;
        if fd < 0 && (*request).memory != 0 {
            end::memory(end, (*request).memory);
            return;
        }
        end::identify(end, fd, end::file_of(fd));
        end::before(end, addr_of_mut!((*room).now), wanted, sink);
        name::tell(addr_of_mut!((*room).name), end, program::SYS_ENTER);
    }
}

/// A read or write: a record of its own if pages may take part, otherwise counted.
///
/// # Safety
///
/// `room` must be valid for reads and writes.
#[inline(always)]
unsafe fn one_end(room: *mut Scratch, number: u32, who: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let request = addr_of_mut!((*room).request);
        let writes = (*request).sink.fd >= 0;
        let fd = if writes {
            (*request).sink.fd
        } else {
            (*request).source.fd
        };
        let file = end::file_of(fd);
        if file == 0 {
            return;
        }
        let end = addr_of_mut!((*room).end);
        end::identify(end, fd, file);
        if writes && (*request).op_flags & MSG_ZEROCOPY != 0 {
            told::watch(addr_of_mut!((*room).making), end, (who >> 32) as u32);
        }
        let messages = number == nr::SENDMMSG || number == nr::RECVMMSG;
        let alone = match (*end).kind {
            endpoint_kind::PIPE | endpoint_kind::UNIX_STREAM | endpoint_kind::UNIX_MESSAGES => true,
            endpoint_kind::FILE | endpoint_kind::BLOCK => (*end).f_flags & O_DIRECT != 0,
            _ => (*request).op_flags & MSG_ZEROCOPY != 0,
        };
        if alone && !messages {
            let Some(entry) = entry(room, who as u32) else {
                return;
            };
            let call = addr_of_mut!((*entry).call);
            begin(call, request, number);
            if writes {
                end::before(end, addr_of_mut!((*room).now), addr_of!((*request).sink), true);
                end::memory(addr_of_mut!((*call).source), (*request).memory);
                read::copy(addr_of_mut!((*call).sink), end);
                if (*end).kind == endpoint_kind::TCP {
                    socket::straight(addr_of!((*end).pair));
                }
            } else {
                end::before(end, addr_of_mut!((*room).now), addr_of!((*request).source), false);
                end::memory(addr_of_mut!((*call).sink), (*request).memory);
                read::copy(addr_of_mut!((*call).source), end);
            }
            name::tell(addr_of_mut!((*room).name), end, program::SYS_ENTER);
            keep(entry, request);
            return;
        }
        let key = addr_of_mut!((*room).key);
        read::zero(key);
        (*key).ino = (*end).ino;
        (*key).tgid = (who >> 32) as u32;
        (*key).dev = (*end).dev;
        (*key).nr = number;
        (*key).op_flags = if messages { NO_BYTES } else { 0 };
        (*key).kind = (*end).kind;
        // Only of sockets' calls these bits are MSG_*: preadv2 has others.
        if !matches!(number, nr::PREADV2 | nr::PWRITEV2) {
            (*key).op_flags |= (*request).op_flags & MEANINGFUL;
        }
        name::tell(addr_of_mut!((*room).name), end, program::SYS_ENTER);
        let tid = who as u32;
        if let Some(kept) = PLAIN_ENTRIES.get_ptr_mut(tid) {
            read::copy(kept, key);
        } else if PLAIN_ENTRIES.insert(tid, &*key, 0).is_err() {
            emit::crowded(program::SYS_ENTER);
        }
    }
}

/// The thread's entry, without a serial: it is inside no call until that is there.
///
/// # Safety
///
/// `room` must be valid for reads.
#[inline(always)]
unsafe fn entry(room: *const Scratch, tid: u32) -> Option<*mut Entry> {
    // SAFETY: the caller's promise; a map's value is valid as long as the program runs.
    unsafe {
        let entry = if let Some(entry) = ENTRIES.get_ptr_mut(tid) {
            entry
        } else {
            if ENTRIES.insert(tid, &(*room).entry, 0).is_err() {
                emit::crowded(program::SYS_ENTER);
                return None;
            }
            ENTRIES.get_ptr_mut(tid)?
        };
        addr_of_mut!((*entry).call.call_id).write_volatile(0);
        Some(entry)
    }
}

/// Fills in what is not an end.
///
/// # Safety
///
/// `call` must be valid for writes, `request` for reads.
#[inline(always)]
unsafe fn begin(call: *mut Call, request: *const Request, number: u32) {
    // SAFETY: the caller's promise; the head is filled in when it is written, at the exit.
    unsafe {
        (*call).entered_ns = generated::bpf_ktime_get_ns();
        (*call).result = 0;
        (*call).requested = (*request).asked;
        (*call).user_ip = (*request).regs.ip;
        (*call).memory = (*request).memory;
        (*call).dirtied_bytes = 0;
        (*call).nr = number;
        (*call).op_flags = (*request).op_flags;
        (*call).flags = call_flag::ENTRY_OBSERVED;
        if (*request).one_piece != 0 {
            (*call).flags |= call_flag::CONTIGUOUS;
        }
        (*call).page_records = 0;
    }
}

/// The thread is inside this call from now on.
///
/// # Safety
///
/// `entry` must be valid for writes, `request` for reads.
#[inline(always)]
unsafe fn keep(entry: *mut Entry, request: *const Request) {
    // SAFETY: the caller's promise.
    unsafe {
        read::copy(addr_of_mut!((*entry).source), addr_of!((*request).source));
        read::copy(addr_of_mut!((*entry).sink), addr_of!((*request).sink));
        // Last, for a packet that leaves on top of this thread may ask for it.
        addr_of_mut!((*entry).call.call_id).write_volatile(next_serial(CALLS));
    }
}

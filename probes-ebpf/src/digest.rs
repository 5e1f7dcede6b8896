//! The level `digest`: a digest of the pages that calls send to TCP sockets, and one of the pages
//! that packets carry.
//!
//! No program of this level is attached to system calls, so processes that send nothing over TCP
//! do not pay for it. Both digests of a connection must be equal at the same stream position; user
//! space compares them. The state can disagree with the events if two threads send at the same
//! time, or if no program observed some bytes. The digests then differ, and never become equal.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use zctrace_records::{
    DigestEvent, DigestSpan, DigestState, DigestSum, EndpointName, EndpointState, FileId, digest_event_kind,
    digest_flag, digest_span_flag, endpoint_kind, nr, program,
};

use crate::accumulator::{Accumulator, add_frags, add_slots, skip_bytes};
use crate::endpoint;
use crate::offsets;
use crate::page::{self, MAPPING_FLAGS};
use crate::read::{self, member};
use crate::scope::NO_PREALLOC;
use crate::skb::{self, TcpSegment};
use crate::syscall_args::{self, is_transfer};
use crate::{emit, endpoint_name, ids, scope, socket};

/// `MSG_ZEROCOPY` (include/linux/socket.h).
const MSG_ZEROCOPY: u64 = 0x0400_0000;
/// `TCP_CLOSE` (`include/net/tcp_states.h`).
const TCP_CLOSE: u32 = 7;
/// `S_IFSOCK` (include/uapi/linux/stat.h).
const S_IFSOCK: u16 = 0xc000;

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    acc: Accumulator,
    state: DigestState,
    record: DigestEvent,
    endpoint: EndpointState,
    name: EndpointName,
}

/// `PF_IO_WORKER`, `PF_USER_WORKER` and `PF_KTHREAD` (include/linux/sched.h). Such a thread is
/// inside no system call, and its registers are those of the thread that created it.
const WORKER: u32 = 0x10 | 0x4000 | 0x20_0000;
/// Number of no system call.
const NO_CALL: u32 = u32::MAX;

/// Digests of connections that traced calls sent to, by the address of the socket.
#[map]
static DIGESTS: HashMap<u64, DigestState> = HashMap::with_max_entries(65_536, NO_PREALLOC);

scratch!(DSEND_SCRATCH: Scratch);
scratch!(DXMIT_SCRATCH: Scratch);
scratch!(DCLOSE_SCRATCH: Scratch);

/// Handles a call that has sent `result` bytes to a socket.
#[inline(always)]
pub(crate) fn on_send(sk: u64, result: u64) {
    let len = i64::from(result as i32);
    let pid_tgid = bpf_get_current_pid_tgid();
    if len <= 0 {
        return;
    }
    let tgid = (pid_tgid >> 32) as u32;
    let known = DIGESTS.get_ptr_mut(sk);
    // SAFETY: dereferencing `state` requires a valid pointer. Map values stay valid while the
    // program runs. The last sender is usually still traced, so its scope is not checked again.
    let same_sender = known.is_some_and(|state| unsafe { (*state).span.tgid == tgid });
    if (!same_sender && !scope::is_traced(tgid)) || scope::is_compat_call() {
        return;
    }
    let Some(scratch) = DSEND_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` and `state` requires valid pointers. Map values stay valid
    // while the program runs. Only this program uses this scratch memory on this CPU, and only the
    // end of the connection removes the row.
    unsafe {
        let Some(state) = known.or_else(|| insert_state(sk, scratch)) else {
            return;
        };
        let task = generated::bpf_get_current_task_btf();
        let regs = generated::bpf_task_pt_regs(task) as u64;
        let number = if member::<u32>(task as u64, &offsets::TASK_FLAGS) & WORKER != 0 {
            NO_CALL
        } else {
            read::kernel::<u64>(regs + syscall_args::ORIG_AX) as u32
        };
        let end: u32 = member(sk, &offsets::TCP_WRITE_SEQ);
        let start = stream_position(state, end.wrapping_sub(len as u32));
        let acc = addr_of_mut!((*scratch).acc);
        read::zero(acc);
        read::copy(addr_of_mut!((*acc).sum), addr_of!((*state).sent));
        (*acc).sum.position = start;
        let is_splice = number == nr::SPLICE || number == nr::SENDFILE;
        if is_splice && offsets::DIGEST_PAGES.load() != 0 {
            add_slots(acc, source_pipe(task as u64, regs, number), len as u64);
        } else if number == nr::SENDFILE {
            // The pages do not identify the file, so the descriptor is used.
            let file = endpoint::file_of_fd(read::kernel::<u64>(regs + syscall_args::ARG2) as i32);
            (*acc).mapping = member(file, &offsets::FILE_MAPPING);
        }
        // The remaining bytes were in no slot.
        let from_slots = (*acc).sum.position.wrapping_sub(start);
        let rest = (len as u64).wrapping_sub(from_slots);
        skip_bytes(&mut *acc, rest);
        let from_memory = !is_splice && copies_from_memory(regs, number);
        update_span(
            scratch,
            state,
            sk,
            start,
            Caller {
                pid_tgid,
                number,
                regs,
                from_memory,
            },
        );
        (*state).sent = (*acc).sum;
    }
}

/// Inserts the row of a connection.
///
/// Returns `None` if the socket is not a connected TCP socket, or if the map is full.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes.
#[inline(always)]
unsafe fn insert_state(sk: u64, scratch: *mut Scratch) -> Option<*mut DigestState> {
    let family = socket::tcp_family(sk)?;
    // SAFETY: access through `scratch` requires a valid pointer, which the caller guarantees.
    // `state` is a field of it.
    unsafe {
        let state = addr_of_mut!((*scratch).state);
        read::zero(state);
        socket::read_pair(addr_of_mut!((*state).pair), sk, family);
        let pair = addr_of!((*state).pair);
        if (*pair).destination_port == 0 {
            return None;
        }
        (*state).ports = skb::ports(&*pair);
        (*state).connection_id = ids::next_connection();
        if DIGESTS.insert(&sk, &*state, 0).is_err() {
            emit::count_map_full(program::SOCK_SEND_LENGTH);
        }
        DIGESTS.get_ptr_mut(sk)
    }
}

/// Returns the stream position of a call's first byte, which has this sequence number.
///
/// # Safety
///
/// `state` must be valid for reads and writes.
#[inline(always)]
unsafe fn stream_position(state: *mut DigestState, sequence: u32) -> u64 {
    // SAFETY: access through `state` requires a valid pointer, which the caller guarantees.
    unsafe {
        if (*state).sent.position != 0 {
            return nearest_position((*state).sent.position, sequence);
        }
        // First call of the connection. The digest of packets starts here, unless it has already
        // started.
        if (*state).transmitted.position == 0 {
            (*state).base_position = (1 << 32) + u64::from(sequence);
            (*state).transmitted.position = (*state).base_position;
        }
        let start = nearest_position((*state).base_position, sequence);
        if start == (*state).base_position {
            (*state).flags = digest_flag::ANCHORED;
        }
        start
    }
}

/// Returns the stream position of a sequence number, which is the one nearest to a known position.
#[inline(always)]
fn nearest_position(position: u64, sequence: u32) -> u64 {
    let ahead = sequence.wrapping_sub(position as u32) as i32;
    position.wrapping_add(i64::from(ahead) as u64)
}

/// Returns the pipe that a call consumes bytes from, or 0 if there is none.
///
/// # Safety
///
/// The program must run inside the system call with these registers.
#[inline(always)]
unsafe fn source_pipe(task: u64, regs: u64, number: u32) -> u64 {
    if number == nr::SENDFILE {
        return member(task, &offsets::TASK_SPLICE_PIPE);
    }
    let file = endpoint::file_of_fd(read::kernel::<u64>(regs + syscall_args::ARG1) as i32);
    let inode: u64 = member(file, &offsets::FILE_INODE);
    let pipe: u64 = member(inode, &offsets::INODE_PIPE);
    if pipe == member::<u64>(file, &offsets::FILE_PRIVATE) {
        pipe
    } else {
        0
    }
}

/// Returns whether a call copies from the caller's memory by contract.
#[inline(always)]
fn copies_from_memory(regs: u64, number: u32) -> bool {
    match number {
        nr::WRITE | nr::WRITEV | nr::PWRITEV2 => true,
        // The flags are the fourth argument of sendto and sendmmsg, and the third of sendmsg.
        nr::SENDTO | nr::SENDMMSG => read::kernel::<u64>(regs + syscall_args::ARG4) & MSG_ZEROCOPY == 0,
        nr::SENDMSG => read::kernel::<u64>(regs + syscall_args::ARG3) & MSG_ZEROCOPY == 0,
        _ => false,
    }
}

/// Caller of a send, with the call's number and registers.
#[derive(Clone, Copy)]
struct Caller {
    pid_tgid: u64,
    number: u32,
    regs: u64,
    from_memory: bool,
}

/// Adds a call to the span in progress, or ends that span and starts another.
///
/// # Safety
///
/// `scratch` and `state` must be valid for reads and writes.
#[inline(always)]
unsafe fn update_span(scratch: *mut Scratch, state: *mut DigestState, sk: u64, start: u64, caller: Caller) {
    // SAFETY: access through `scratch` and `state` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let acc = addr_of_mut!((*scratch).acc);
        let span = addr_of_mut!((*state).span);
        let tgid = (caller.pid_tgid >> 32) as u32;
        let mapping = if (*acc).mapping & MAPPING_FLAGS == 0 {
            (*acc).mapping
        } else {
            0
        };
        let continues = (*span).calls != 0
            && (*span).tgid == tgid
            && (*span).nr == caller.number
            && (*span).file.mapping == mapping
            && (*state).sent.position == start
            && ((*span).flags & digest_span_flag::FROM_MEMORY != 0) == caller.from_memory;
        if !continues {
            if (*span).calls != 0 {
                // The span ends where the previous call ended.
                let record = addr_of_mut!((*scratch).record);
                read::copy(addr_of_mut!((*record).sum), addr_of!((*state).sent));
                emit_event(scratch, state, sk, digest_event_kind::SENT, program::SOCK_SEND_LENGTH);
            }
            start_span(scratch, state, start, mapping, caller);
        }
        if (*acc).other_mappings != 0 {
            (*span).flags |= digest_span_flag::MULTIPLE_FILES;
        }
        let mut from = DigestSum {
            position: start,
            ..(*state).sent
        };
        if (*acc).checkpoint.position != 0 {
            // The span ends at the checkpoint, and another one continues from there.
            let until = (*acc).checkpoint;
            extend_span(span, &from, &until);
            emit_checkpoint(scratch, state, sk, digest_event_kind::SENT, program::SOCK_SEND_LENGTH);
            (*span).start = until.position;
            (*span).paged_bytes = 0;
            (*span).unowned_bytes = 0;
            (*span).calls = 0;
            from = until;
        }
        let until = (*acc).sum;
        if until.position != from.position {
            extend_span(span, &from, &until);
        }
    }
}

/// Adds the bytes between two positions of the digest to a span.
///
/// # Safety
///
/// `span` must be valid for reads and writes.
#[inline(always)]
unsafe fn extend_span(span: *mut DigestSpan, from: &DigestSum, until: &DigestSum) {
    // SAFETY: access through `span` requires a valid pointer, which the caller guarantees.
    unsafe {
        let paged = until.paged_bytes.wrapping_sub(from.paged_bytes);
        (*span).calls += 1;
        (*span).paged_bytes = (*span).paged_bytes.wrapping_add(paged);
        if (*span).flags & digest_span_flag::FROM_MEMORY == 0 {
            let all = until.position.wrapping_sub(from.position);
            (*span).unowned_bytes = (*span).unowned_bytes.wrapping_add(all.wrapping_sub(paged));
        }
    }
}

/// Starts a span and writes the name of its file.
///
/// # Safety
///
/// `scratch` and `state` must be valid for reads and writes.
#[inline(never)]
unsafe fn start_span(scratch: *mut Scratch, state: *mut DigestState, start: u64, mapping: u64, caller: Caller) {
    // SAFETY: access through `scratch` and `state` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let span = addr_of_mut!((*state).span);
        read::zero(span);
        (*span).start = start;
        (*span).tgid = (caller.pid_tgid >> 32) as u32;
        (*span).nr = caller.number;
        (*span).user_ip = read::kernel(caller.regs + syscall_args::IP);
        (*span).flags = if caller.from_memory {
            digest_span_flag::FROM_MEMORY
        } else {
            0
        };
        let endpoint = addr_of_mut!((*scratch).endpoint);
        let name = addr_of_mut!((*scratch).name);
        let sink_arg = if caller.number == nr::SPLICE {
            syscall_args::ARG3
        } else {
            syscall_args::ARG1
        };
        let file = endpoint::file_of_fd(read::kernel::<u64>(caller.regs + sink_arg) as i32);
        let inode: u64 = member(file, &offsets::FILE_INODE);
        if member::<u16>(inode, &offsets::INODE_MODE) & 0xf000 == S_IFSOCK {
            (*span).socket_ino = member(inode, &offsets::INODE_INO);
            let sb: u64 = member(inode, &offsets::INODE_SB);
            (*span).socket_dev = member(sb, &offsets::SB_DEV);
        }
        // SAFETY: `read_file_id` requires a pointer that is valid for writes. `id` points to a
        // field of `*state`.
        let id: *mut FileId = addr_of_mut!((*span).file);
        if mapping == 0 || !page::read_file_id(id, mapping) {
            return;
        }
        read::zero(endpoint);
        (*endpoint).kind = endpoint_kind::FILE;
        (*endpoint).object = mapping;
        (*endpoint).ino = (*id).ino;
        (*endpoint).dev = (*id).dev;
        (*endpoint).generation = (*id).generation;
        let inode: u64 = member(mapping, &offsets::MAPPING_HOST);
        // Any name of the file. An open file has at least one, usually the one by which it was
        // opened.
        let alias: u64 = member(inode, &offsets::INODE_DENTRY);
        if alias != 0 {
            let dentry = alias.wrapping_sub(u64::from(offsets::DENTRY_ALIAS.load()));
            endpoint_name::emit_dentry_once(name, endpoint, dentry, program::SOCK_SEND_LENGTH);
        }
    }
}

/// Writes a record of the checkpoint that was passed.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes, and `state` for reads.
#[inline(always)]
unsafe fn emit_checkpoint(scratch: *mut Scratch, state: *const DigestState, sk: u64, event: u32, program: u32) {
    // SAFETY: access through `scratch` and `state` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        (*scratch).record.sum = (*scratch).acc.checkpoint;
        emit_event(scratch, state, sk, event, program);
    }
}

/// Writes a record. The caller must have filled in `record.sum`.
///
/// # Safety
///
/// `scratch` must be valid for reads and writes, and `state` for reads.
#[inline(never)]
unsafe fn emit_event(scratch: *mut Scratch, state: *const DigestState, sk: u64, event: u32, program: u32) {
    // SAFETY: access through `scratch` and `state` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        let record = addr_of_mut!((*scratch).record);
        (*record).sock = sk;
        (*record).event = event;
        (*record).reserved = 0;
        generated::bpf_probe_read_kernel(
            addr_of_mut!((*record).state).cast(),
            size_of::<DigestState>() as u32,
            state.cast(),
        );
        emit::emit_fixed(record, program);
    }
}

/// Handles a packet that is passed to a network device.
#[inline(always)]
pub(crate) fn on_xmit(skb: u64) {
    let sk: u64 = member(skb, &offsets::SKB_SK);
    if sk == 0 {
        return;
    }
    let Some(segment) = TcpSegment::of(skb) else {
        return;
    };
    let known = DIGESTS.get_ptr_mut(sk);
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // The first packets of a connection are transmitted inside the call that sends their bytes, and
    // before `sock_send_length` reports that call.
    if known.is_none() && (tgid == 0 || !scope::is_traced(tgid)) {
        return;
    }
    let Some(scratch) = DXMIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` and `state` requires valid pointers. Map values stay valid
    // while the program runs. Only this program uses this scratch memory on this CPU, and only the
    // end of the connection removes the row.
    unsafe {
        let state = match known {
            Some(state) => state,
            None => match insert_state(sk, scratch) {
                Some(state) => state,
                None => return,
            },
        };
        // Inside a tunnel, the transport header belongs to another connection.
        if segment.ports != (*state).ports {
            return;
        }
        let sequence = segment.sequence;
        if (*state).transmitted.position == 0 {
            (*state).base_position = (1 << 32) + u64::from(sequence);
            (*state).transmitted.position = (*state).base_position;
        }
        let total = segment.len;
        let start = nearest_position((*state).transmitted.position, sequence);
        let done = (*state).transmitted.position.wrapping_sub(start);
        let acc = addr_of_mut!((*scratch).acc);
        read::zero(acc);
        read::copy(addr_of_mut!((*acc).sum), addr_of!((*state).transmitted));
        if (done as i64) < 0 {
            // No program observed the bytes in between, so the digest does not include them.
            (*acc).sum.position = start;
        } else if done >= total {
            // Retransmission.
            return;
        } else {
            (*acc).skip = done;
        }
        let linear = segment.linear();
        let skip = if (*acc).skip > linear { linear } else { (*acc).skip };
        (*acc).skip = (*acc).skip.wrapping_sub(skip);
        skip_bytes(&mut *acc, linear.wrapping_sub(skip));
        add_frags(acc, segment.shared_info());
        // Fragments of further packets, chained through `frag_list`, are not included in the
        // digest.
        let rest = start.wrapping_add(total).wrapping_sub((*acc).sum.position);
        if (rest as i64) > 0 {
            skip_bytes(&mut *acc, rest);
        }
        (*state).transmitted = (*acc).sum;
        if (*acc).checkpoint.position != 0 {
            emit_checkpoint(scratch, state, sk, digest_event_kind::TRANSMITTED, program::DIGEST_XMIT);
        }
    }
}

/// Handles a state change of a TCP socket: writes the final record if the connection has ended.
#[inline(always)]
pub(crate) fn on_close(sk: u64, new: u64) {
    if new as u32 != TCP_CLOSE {
        return;
    }
    let Some(state) = DIGESTS.get_ptr_mut(sk) else {
        return;
    };
    let Some(scratch) = DCLOSE_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` and `state` requires valid pointers. Map values stay valid
    // while the program runs. Only this program uses this scratch memory on this CPU, and it
    // removes the row only afterwards.
    unsafe {
        read::copy(addr_of_mut!((*scratch).record.sum), addr_of!((*state).sent));
        emit_event(scratch, state, sk, digest_event_kind::CLOSED, program::DIGEST_CLOSE);
    }
    let _ = DIGESTS.remove(sk);
}

const _: () = assert!(is_transfer(nr::SPLICE) && is_transfer(nr::SENDFILE));

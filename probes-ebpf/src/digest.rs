//! The level `digest`: sums over the pages that calls hand to TCP sockets, and over those that packets carry.
//!
//! Nothing here is attached to system calls, so nobody pays who sends nothing over TCP. The two sums of a connection must be
//! equal at the same place of its stream; the user side compares them. What makes the state disagree with what happened (two
//! threads that send at the same time, bytes that nobody saw) makes the sums differ, and never makes them equal.

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

/// Room for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    acc: Accumulator,
    state: DigestState,
    record: DigestEvent,
    endpoint: EndpointState,
    name: EndpointName,
}

/// Sums over connections that traced calls sent into, by the address of the socket.
#[map]
static DIGESTS: HashMap<u64, DigestState> = HashMap::with_max_entries(65_536, NO_PREALLOC);

scratch!(DSEND_SCRATCH: Scratch);
scratch!(DXMIT_SCRATCH: Scratch);
scratch!(DCLOSE_SCRATCH: Scratch);

/// A call has handed `result` bytes to a socket.
#[inline(always)]
pub(crate) fn on_send(sk: u64, result: u64) {
    let len = i64::from(result as i32);
    let pid_tgid = bpf_get_current_pid_tgid();
    if len <= 0 {
        return;
    }
    let tgid = (pid_tgid >> 32) as u32;
    let known = DIGESTS.get_ptr_mut(sk);
    // SAFETY: a map's value is valid as long as the program runs. Who sent last is traced still, as a rule.
    let same_sender = known.is_some_and(|state| unsafe { (*state).span.tgid == tgid });
    if (!same_sender && !scope::is_traced(tgid)) || scope::is_compat_call() {
        return;
    }
    let Some(scratch) = DSEND_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, and valid as long as it runs; so is the row, which only the end of the
    // connection removes.
    unsafe {
        let Some(state) = known.or_else(|| insert_state(sk, scratch)) else {
            return;
        };
        let task = generated::bpf_get_current_task_btf();
        let regs = generated::bpf_task_pt_regs(task) as u64;
        let number = read::kernel::<u64>(regs + syscall_args::ORIG_AX) as u32;
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
            // No page tells it: the descriptor does.
            let file = endpoint::file_of_fd(read::kernel::<u64>(regs + syscall_args::ARG2) as i32);
            (*acc).mapping = member(file, &offsets::FILE_MAPPING);
        }
        // What is left was in no slot.
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

/// A new row for a connection, if it is one.
///
/// # Safety
///
/// `room` must be valid for reads and writes.
#[inline(always)]
unsafe fn insert_state(sk: u64, scratch: *mut Scratch) -> Option<*mut DigestState> {
    let family = socket::tcp_family(sk)?;
    // SAFETY: the caller's promise.
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

/// Where in the stream a call's bytes start, by their sequence number.
///
/// # Safety
///
/// `row` must be valid for reads and writes.
#[inline(always)]
unsafe fn stream_position(state: *mut DigestState, sequence: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        if (*state).sent.position != 0 {
            return nearest_position((*state).sent.position, sequence);
        }
        // The first call. Packets are summed up from here on, unless they were already.
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

/// The place in a stream of a sequence number: the one nearest to a place that is known.
#[inline(always)]
fn nearest_position(position: u64, sequence: u32) -> u64 {
    let ahead = sequence.wrapping_sub(position as u32) as i32;
    position.wrapping_add(i64::from(ahead) as u64)
}

/// The pipe that a call takes from.
///
/// # Safety
///
/// In a program that is run in a system call.
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

/// Whether a call copies out of the caller's memory, by contract.
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

/// Who calls, and how.
#[derive(Clone, Copy)]
struct Caller {
    pid_tgid: u64,
    number: u32,
    regs: u64,
    from_memory: bool,
}

/// Adds a call to the stretch that goes on, or ends that and begins another.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(always)]
unsafe fn update_span(scratch: *mut Scratch, state: *mut DigestState, sk: u64, start: u64, caller: Caller) {
    // SAFETY: the caller's promise.
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
                // It ended where the calls so far did.
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
            // The stretch ends at the checkpoint, and goes on from there as another.
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

/// Adds to a stretch what lies between two places of the sum.
///
/// # Safety
///
/// `now` must be valid for reads and writes.
#[inline(always)]
unsafe fn extend_span(span: *mut DigestSpan, from: &DigestSum, until: &DigestSum) {
    // SAFETY: the caller's promise.
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

/// Begins a stretch, and tells what its ends are called.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(never)]
unsafe fn start_span(scratch: *mut Scratch, state: *mut DigestState, start: u64, mapping: u64, caller: Caller) {
    // SAFETY: the caller's promise.
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
        // SAFETY: `FileId` is integers.
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
        // Any of the file's names; there is one while it is open, by which it was opened as a rule.
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
/// All must be valid for reads and writes.
#[inline(always)]
unsafe fn emit_checkpoint(scratch: *mut Scratch, state: *const DigestState, sk: u64, event: u32, program: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        (*scratch).record.sum = (*scratch).acc.checkpoint;
        emit_event(scratch, state, sk, event, program);
    }
}

/// Writes a record; `record.at` is filled in.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(never)]
unsafe fn emit_event(scratch: *mut Scratch, state: *const DigestState, sk: u64, event: u32, program: u32) {
    // SAFETY: the caller's promise.
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

/// A packet is given to a device.
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
    // The first packets of a connection go out inside the call that hands their bytes over, and before that is told.
    if known.is_none() && (tgid == 0 || !scope::is_traced(tgid)) {
        return;
    }
    let Some(scratch) = DXMIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as in `handed`.
    unsafe {
        let state = match known {
            Some(state) => state,
            None => match insert_state(sk, scratch) {
                Some(state) => state,
                None => return,
            },
        };
        // Inside a tunnel the transport header is another's.
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
            // Bytes that nobody saw lie between: they are in no sum.
            (*acc).sum.position = start;
        } else if done >= total {
            // Sent again.
            return;
        } else {
            (*acc).skip = done;
        }
        let linear = segment.linear();
        let skip = if (*acc).skip > linear { linear } else { (*acc).skip };
        (*acc).skip = (*acc).skip.wrapping_sub(skip);
        skip_bytes(&mut *acc, linear.wrapping_sub(skip));
        add_frags(acc, segment.shared_info());
        // What lies in further packets behind this one (frag_list) is in no sum.
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

/// A connection has ended, if the state is that.
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
    // SAFETY: as in `handed`.
    unsafe {
        read::copy(addr_of_mut!((*scratch).record.sum), addr_of!((*state).sent));
        emit_event(scratch, state, sk, digest_event_kind::CLOSED, program::DIGEST_CLOSE);
    }
    let _ = DIGESTS.remove(sk);
}

const _: () = assert!(is_transfer(nr::SPLICE) && is_transfer(nr::SENDFILE));

//! The level `digest`: sums over the pages that calls hand to TCP sockets, and over those that packets carry.
//!
//! Nothing here is attached to system calls, so nobody pays who sends nothing over TCP. The two sums of a connection must be
//! equal at the same place of its stream; the user side compares them. What makes the state disagree with what happened (two
//! threads that send at the same time, bytes that nobody saw) makes the sums differ, and never makes them equal.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use zctrace_records::{
    CHECKPOINT_BYTES, DigestEvent, DigestSpan, DigestState, DigestSum, EndpointName, EndpointState, FileId,
    digest_event_kind, digest_flag, digest_span_flag, endpoint_kind, mix, nr, program,
};

use crate::end::{self, SLOT};
use crate::maps::{CARRIED, HANDED, LIVES, SUMMED, SUMS, next_serial};
use crate::offsets as at;
use crate::pages::{self, NO_FILE, VEC};
use crate::read::{self, member};
use crate::request::{self, is_moving};
use crate::{emit, name, scope, socket};

/// Pieces of one send: `splice_to_socket` (fs/splice.c) hands over 16 slots at a time.
const SLOTS: u32 = 16;
/// Fragments of a packet, at most (`MAX_SKB_FRAGS`, 17 by default).
const FRAGMENTS: u32 = 45;
/// `MSG_ZEROCOPY` (include/linux/socket.h).
const MSG_ZEROCOPY: u64 = 0x0400_0000;
/// `TCP_CLOSE` (`include/net/tcp_states.h`).
const TCP_CLOSE: u32 = 7;
/// `S_IFSOCK` (include/uapi/linux/stat.h).
const IS_SOCKET: u16 = 0xc000;

/// Room for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    walk: Walk,
    row: DigestState,
    record: DigestEvent,
    end: EndpointState,
    name: EndpointName,
}

/// Pages on their way into a sum.
#[repr(C)]
#[derive(Clone, Copy)]
struct Walk {
    sum: DigestSum,
    /// The sum at the last checkpoint that was passed; its position is 0 if none was.
    checkpoint: DigestSum,
    /// Bytes to leave out: they are in the sum already.
    skip: u64,
    /// The mapping of the first page; whether another one had another.
    mapping: u64,
    several: u64,
}

/// A call has handed `result` bytes to a socket.
#[inline(always)]
pub(crate) fn handed(sk: u64, result: u64) {
    let len = i64::from(result as i32);
    let who = bpf_get_current_pid_tgid();
    if len <= 0 {
        return;
    }
    let tgid = (who >> 32) as u32;
    let known = SUMS.get_ptr_mut(sk);
    // SAFETY: a map's value is valid as long as the program runs. Who sent last is traced still, as a rule.
    let same = known.is_some_and(|row| unsafe { (*row).span.tgid == tgid });
    if (!same && !scope::has(tgid)) || scope::is_compat() {
        return;
    }
    let Some(room) = HANDED.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, and valid as long as it runs; so is the row, which only the end of the
    // connection removes.
    unsafe {
        let Some(row) = known.or_else(|| row_of(sk, room)) else {
            return;
        };
        let task = generated::bpf_get_current_task_btf();
        let regs = generated::bpf_task_pt_regs(task) as u64;
        let number = read::at::<u64>(regs + request::ORIG_AX) as u32;
        let end: u32 = member(sk, &at::TCP_WRITE_SEQ);
        let start = begin_at(row, end.wrapping_sub(len as u32));
        let walk = addr_of_mut!((*room).walk);
        read::zero(walk);
        read::copy(addr_of_mut!((*walk).sum), addr_of!((*row).sent));
        (*walk).sum.position = start;
        let moves = number == nr::SPLICE || number == nr::SENDFILE;
        if moves && at::SUM_PAGES.load() != 0 {
            slots(walk, pipe(task as u64, regs, number), len as u64);
        } else if number == nr::SENDFILE {
            // No page tells it: the descriptor does.
            let file = end::file_of(read::at::<u64>(regs + request::SECOND) as i32);
            (*walk).mapping = member(file, &at::FILE_MAPPING);
        }
        // What is left was in no slot.
        let seen = (*walk).sum.position.wrapping_sub(start);
        let rest = (len as u64).wrapping_sub(seen);
        pass(&mut *walk, rest);
        let plain = !moves && copies(regs, number);
        stretch(
            room,
            row,
            sk,
            start,
            Caller {
                who,
                number,
                regs,
                plain,
            },
        );
        (*row).sent = (*walk).sum;
    }
}

/// A new row for a connection, if it is one.
///
/// # Safety
///
/// `room` must be valid for reads and writes.
#[inline(always)]
unsafe fn row_of(sk: u64, room: *mut Scratch) -> Option<*mut DigestState> {
    let family = socket::tcp_family(sk)?;
    // SAFETY: the caller's promise.
    unsafe {
        let row = addr_of_mut!((*room).row);
        read::zero(row);
        socket::pair(addr_of_mut!((*row).pair), sk, family);
        let pair = addr_of!((*row).pair);
        if (*pair).destination_port == 0 {
            return None;
        }
        (*row).ports = u32::from((*pair).source_port.to_be()) | u32::from((*pair).destination_port.to_be()) << 16;
        (*row).connection_id = next_serial(LIVES);
        if SUMS.insert(&sk, &*row, 0).is_err() {
            emit::crowded(program::SOCK_SEND_LENGTH);
        }
        SUMS.get_ptr_mut(sk)
    }
}

/// Where in the stream a call's bytes start, by their sequence number.
///
/// # Safety
///
/// `row` must be valid for reads and writes.
#[inline(always)]
unsafe fn begin_at(row: *mut DigestState, sequence: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        if (*row).sent.position != 0 {
            return near((*row).sent.position, sequence);
        }
        // The first call. Packets are summed up from here on, unless they were already.
        if (*row).transmitted.position == 0 {
            (*row).base_position = (1 << 32) + u64::from(sequence);
            (*row).transmitted.position = (*row).base_position;
        }
        let start = near((*row).base_position, sequence);
        if start == (*row).base_position {
            (*row).flags = digest_flag::ANCHORED;
        }
        start
    }
}

/// The place in a stream of a sequence number: the one nearest to a place that is known.
#[inline(always)]
fn near(place: u64, sequence: u32) -> u64 {
    let ahead = sequence.wrapping_sub(place as u32) as i32;
    place.wrapping_add(i64::from(ahead) as u64)
}

/// The pipe that a call takes from.
///
/// # Safety
///
/// In a program that is run in a system call.
#[inline(always)]
unsafe fn pipe(task: u64, regs: u64, number: u32) -> u64 {
    if number == nr::SENDFILE {
        return member(task, &at::TASK_SPLICE_PIPE);
    }
    let file = end::file_of(read::at::<u64>(regs + request::FIRST) as i32);
    let inode: u64 = member(file, &at::FILE_INODE);
    let pipe: u64 = member(inode, &at::INODE_PIPE);
    if pipe == member::<u64>(file, &at::FILE_PRIVATE) {
        pipe
    } else {
        0
    }
}

/// Whether a call copies out of the caller's memory, by contract.
#[inline(always)]
fn copies(regs: u64, number: u32) -> bool {
    match number {
        nr::WRITE | nr::WRITEV | nr::PWRITEV2 => true,
        // The flags are the fourth argument of sendto and sendmmsg, and the third of sendmsg.
        nr::SENDTO | nr::SENDMMSG => read::at::<u64>(regs + request::FOURTH) & MSG_ZEROCOPY == 0,
        nr::SENDMSG => read::at::<u64>(regs + request::THIRD) & MSG_ZEROCOPY == 0,
        _ => false,
    }
}

/// Sums up the slots of a pipe from its tail on, for `left` bytes: the call has not emptied them yet.
///
/// # Safety
///
/// `walk` must be valid for reads and writes.
#[inline(never)]
unsafe fn slots(walk: *mut Walk, pipe: u64, left: u64) {
    let tail: u32 = member(pipe, &at::PIPE_TAIL);
    let slots: u32 = member(pipe, &at::PIPE_RING_SIZE);
    let ring: u64 = member(pipe, &at::PIPE_BUFS);
    let mask = slots.wrapping_sub(1);
    // SAFETY: the caller's promise. In registers it is faster than where it lies.
    let mut here = unsafe { *walk };
    let mut left = left;
    let mut index = 0;
    while index < SLOTS {
        if left == 0 || ring == 0 {
            break;
        }
        let slot = ring.wrapping_add(u64::from(tail.wrapping_add(index) & mask) * SLOT);
        let page: u64 = read::at(slot);
        let [offset, len] = read::at::<[u32; 2]>(slot.wrapping_add(8));
        let len = if u64::from(len) > left { left } else { u64::from(len) };
        add(&mut here, page, offset, len);
        left = left.wrapping_sub(len);
        index += 1;
    }
    // SAFETY: the caller's promise.
    unsafe { *walk = here };
}

/// Adds a piece of a page to a sum.
#[inline(always)]
fn add(walk: &mut Walk, page: u64, offset: u32, len: u64) {
    let (mut offset, mut len) = (u64::from(offset), len);
    if walk.skip != 0 {
        let skip = if walk.skip > len { len } else { walk.skip };
        walk.skip = walk.skip.wrapping_sub(skip);
        offset = offset.wrapping_add(skip);
        len = len.wrapping_sub(skip);
    }
    let start = walk.sum.position;
    let end = start.wrapping_add(len);
    let mapping = pages::mapping(page);
    let (mut worth, mut paged) = (0, 0);
    if mapping != 0 {
        if walk.mapping == 0 {
            walk.mapping = mapping;
        }
        walk.several |= walk.mapping ^ mapping;
        // `struct page`s lie one after the other as their pages do, 64 bytes each, which the user side makes sure of.
        let place = (page >> 6 << 12).wrapping_add(offset);
        worth = mix(place.wrapping_sub(start), at::SUM_SECRET.load());
        paged = len;
    }
    let mark = end & !(CHECKPOINT_BYTES - 1);
    if mark > start {
        let before = mark.wrapping_sub(start);
        walk.checkpoint.position = mark;
        walk.checkpoint.sum = walk.sum.sum.wrapping_add(before.wrapping_mul(worth));
        walk.checkpoint.paged_bytes = walk.sum.paged_bytes.wrapping_add(if paged == 0 { 0 } else { before });
    }
    walk.sum.sum = walk.sum.sum.wrapping_add(len.wrapping_mul(worth));
    walk.sum.paged_bytes = walk.sum.paged_bytes.wrapping_add(paged);
    walk.sum.position = end;
}

/// Goes on over bytes that are in no page with a name.
#[inline(always)]
fn pass(walk: &mut Walk, len: u64) {
    let start = walk.sum.position;
    let end = start.wrapping_add(len);
    let mark = end & !(CHECKPOINT_BYTES - 1);
    if mark > start {
        walk.checkpoint = walk.sum;
        walk.checkpoint.position = mark;
    }
    walk.sum.position = end;
}

/// Who calls, and how.
#[derive(Clone, Copy)]
struct Caller {
    who: u64,
    number: u32,
    regs: u64,
    plain: bool,
}

/// Adds a call to the stretch that goes on, or ends that and begins another.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(always)]
unsafe fn stretch(room: *mut Scratch, row: *mut DigestState, sk: u64, start: u64, caller: Caller) {
    // SAFETY: the caller's promise.
    unsafe {
        let walk = addr_of_mut!((*room).walk);
        let now = addr_of_mut!((*row).span);
        let tgid = (caller.who >> 32) as u32;
        let mapping = if (*walk).mapping & NO_FILE == 0 {
            (*walk).mapping
        } else {
            0
        };
        let goes_on = (*now).calls != 0
            && (*now).tgid == tgid
            && (*now).nr == caller.number
            && (*now).file.mapping == mapping
            && (*row).sent.position == start
            && ((*now).flags & digest_span_flag::FROM_MEMORY != 0) == caller.plain;
        if !goes_on {
            if (*now).calls != 0 {
                // It ended where the calls so far did.
                let record = addr_of_mut!((*room).record);
                read::copy(addr_of_mut!((*record).sum), addr_of!((*row).sent));
                send(room, row, sk, digest_event_kind::SENT, program::SOCK_SEND_LENGTH);
            }
            begin(room, row, start, mapping, caller);
        }
        if (*walk).several != 0 {
            (*now).flags |= digest_span_flag::MULTIPLE_FILES;
        }
        let mut from = DigestSum {
            position: start,
            ..(*row).sent
        };
        if (*walk).checkpoint.position != 0 {
            // The stretch ends at the checkpoint, and goes on from there as another.
            let until = (*walk).checkpoint;
            grow(now, &from, &until);
            tell(room, row, sk, digest_event_kind::SENT, program::SOCK_SEND_LENGTH);
            (*now).start = until.position;
            (*now).paged_bytes = 0;
            (*now).unowned_bytes = 0;
            (*now).calls = 0;
            from = until;
        }
        let until = (*walk).sum;
        if until.position != from.position {
            grow(now, &from, &until);
        }
    }
}

/// Adds to a stretch what lies between two places of the sum.
///
/// # Safety
///
/// `now` must be valid for reads and writes.
#[inline(always)]
unsafe fn grow(now: *mut DigestSpan, from: &DigestSum, until: &DigestSum) {
    // SAFETY: the caller's promise.
    unsafe {
        let paged = until.paged_bytes.wrapping_sub(from.paged_bytes);
        (*now).calls += 1;
        (*now).paged_bytes = (*now).paged_bytes.wrapping_add(paged);
        if (*now).flags & digest_span_flag::FROM_MEMORY == 0 {
            let all = until.position.wrapping_sub(from.position);
            (*now).unowned_bytes = (*now).unowned_bytes.wrapping_add(all.wrapping_sub(paged));
        }
    }
}

/// Begins a stretch, and tells what its ends are called.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(never)]
unsafe fn begin(room: *mut Scratch, row: *mut DigestState, start: u64, mapping: u64, caller: Caller) {
    // SAFETY: the caller's promise.
    unsafe {
        let now = addr_of_mut!((*row).span);
        read::zero(now);
        (*now).start = start;
        (*now).tgid = (caller.who >> 32) as u32;
        (*now).nr = caller.number;
        (*now).user_ip = read::at(caller.regs + request::IP);
        (*now).flags = if caller.plain { digest_span_flag::FROM_MEMORY } else { 0 };
        let end = addr_of_mut!((*room).end);
        let names = addr_of_mut!((*room).name);
        let which = if caller.number == nr::SPLICE {
            request::THIRD
        } else {
            request::FIRST
        };
        let file = end::file_of(read::at::<u64>(caller.regs + which) as i32);
        let inode: u64 = member(file, &at::FILE_INODE);
        if member::<u16>(inode, &at::INODE_MODE) & 0xf000 == IS_SOCKET {
            (*now).socket_ino = member(inode, &at::INODE_INO);
            let sb: u64 = member(inode, &at::INODE_SB);
            (*now).socket_dev = member(sb, &at::SB_DEV);
        }
        // SAFETY: `FileId` is integers.
        let id: *mut FileId = addr_of_mut!((*now).file);
        if mapping == 0 || !pages::is_file(id, mapping) {
            return;
        }
        read::zero(end);
        (*end).kind = endpoint_kind::FILE;
        (*end).object = mapping;
        (*end).ino = (*id).ino;
        (*end).dev = (*id).dev;
        (*end).generation = (*id).generation;
        let inode: u64 = member(mapping, &at::MAPPING_HOST);
        // Any of the file's names; there is one while it is open, by which it was opened as a rule.
        let alias: u64 = member(inode, &at::INODE_DENTRY);
        if alias != 0 {
            let dentry = alias.wrapping_sub(u64::from(at::DENTRY_ALIAS.load()));
            name::tell_dentry(names, end, dentry, program::SOCK_SEND_LENGTH);
        }
    }
}

/// Writes a record of the checkpoint that was passed.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(always)]
unsafe fn tell(room: *mut Scratch, row: *const DigestState, sk: u64, event: u32, who: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        (*room).record.sum = (*room).walk.checkpoint;
        send(room, row, sk, event, who);
    }
}

/// Writes a record; `record.at` is filled in.
///
/// # Safety
///
/// All must be valid for reads and writes.
#[inline(never)]
unsafe fn send(room: *mut Scratch, row: *const DigestState, sk: u64, event: u32, who: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let record = addr_of_mut!((*room).record);
        (*record).sock = sk;
        (*record).event = event;
        (*record).reserved = 0;
        generated::bpf_probe_read_kernel(
            addr_of_mut!((*record).state).cast(),
            size_of::<DigestState>() as u32,
            row.cast(),
        );
        emit::whole(record, DigestEvent::KIND, who);
    }
}

/// A packet is given to a device.
#[inline(always)]
pub(crate) fn carried(skb: u64) {
    let sk: u64 = member(skb, &at::SKB_SK);
    if sk == 0 {
        return;
    }
    let head: u64 = member(skb, &at::SKB_HEAD);
    let data: u64 = member(skb, &at::SKB_DATA);
    let len: u32 = member(skb, &at::SKB_LEN);
    let transport: u16 = member(skb, &at::SKB_TRANSPORT);
    let segment = head.wrapping_add(u64::from(transport));
    // struct tcphdr (include/uapi/linux/tcp.h): ports, sequence, acknowledgement, length of the header in words.
    let header: [u32; 4] = read::at(segment);
    let before = segment
        .wrapping_sub(data)
        .wrapping_add(u64::from(header[3] >> 4 & 0xf) * 4);
    if before >= u64::from(len) {
        // An acknowledgement without bytes.
        return;
    }
    let known = SUMS.get_ptr_mut(sk);
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // The first packets of a connection go out inside the call that hands their bytes over, and before that is told.
    if known.is_none() && (tgid == 0 || !scope::has(tgid)) {
        return;
    }
    let Some(room) = CARRIED.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as in `handed`.
    unsafe {
        let row = match known {
            Some(row) => row,
            None => match row_of(sk, room) {
                Some(row) => row,
                None => return,
            },
        };
        // Inside a tunnel the transport header is another's.
        if header[0] != (*row).ports {
            return;
        }
        let sequence = u32::from_be(header[1]);
        if (*row).transmitted.position == 0 {
            (*row).base_position = (1 << 32) + u64::from(sequence);
            (*row).transmitted.position = (*row).base_position;
        }
        let total = u64::from(len).wrapping_sub(before);
        let start = near((*row).transmitted.position, sequence);
        let done = (*row).transmitted.position.wrapping_sub(start);
        let walk = addr_of_mut!((*room).walk);
        read::zero(walk);
        read::copy(addr_of_mut!((*walk).sum), addr_of!((*row).transmitted));
        if (done as i64) < 0 {
            // Bytes that nobody saw lie between: they are in no sum.
            (*walk).sum.position = start;
        } else if done >= total {
            // Sent again.
            return;
        } else {
            (*walk).skip = done;
        }
        let data_len: u32 = member(skb, &at::SKB_DATA_LEN);
        let linear = u64::from(len.wrapping_sub(data_len)).saturating_sub(before);
        let skip = if (*walk).skip > linear { linear } else { (*walk).skip };
        (*walk).skip = (*walk).skip.wrapping_sub(skip);
        pass(&mut *walk, linear.wrapping_sub(skip));
        let end: u32 = member(skb, &at::SKB_END);
        fragments(walk, head.wrapping_add(u64::from(end)));
        // What lies in further packets behind this one (frag_list) is in no sum.
        let rest = start.wrapping_add(total).wrapping_sub((*walk).sum.position);
        if (rest as i64) > 0 {
            pass(&mut *walk, rest);
        }
        (*row).transmitted = (*walk).sum;
        if (*walk).checkpoint.position != 0 {
            tell(room, row, sk, digest_event_kind::TRANSMITTED, program::SUMS_OF_PACKETS);
        }
    }
}

/// Sums up the fragments of a packet.
///
/// # Safety
///
/// `walk` must be valid for reads and writes.
#[inline(never)]
unsafe fn fragments(walk: *mut Walk, shared: u64) {
    let count = u32::from(member::<u8>(shared, &at::SHINFO_NR_FRAGS));
    let from = shared.wrapping_add(u64::from(at::SHINFO_FRAGS.load()));
    // SAFETY: as in `slots`.
    let mut here = unsafe { *walk };
    let mut index = 0;
    while index < FRAGMENTS {
        if index >= count {
            break;
        }
        let fragment = from.wrapping_add(u64::from(index) * VEC);
        let netmem: u64 = read::at(fragment);
        let [len, offset] = read::at::<[u32; 2]>(fragment.wrapping_add(8));
        // Bit 0 marks memory of a device, which has no page (NET_IOV, include/net/netmem.h).
        let page = if netmem & 1 == 1 { 0 } else { netmem };
        add(&mut here, page, offset, u64::from(len));
        index += 1;
    }
    // SAFETY: the caller's promise.
    unsafe { *walk = here };
}

/// A connection has ended, if the state is that.
#[inline(always)]
pub(crate) fn ended(sk: u64, new: u64) {
    if new as u32 != TCP_CLOSE {
        return;
    }
    let Some(row) = SUMS.get_ptr_mut(sk) else {
        return;
    };
    let Some(room) = SUMMED.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as in `handed`.
    unsafe {
        read::copy(addr_of_mut!((*room).record.sum), addr_of!((*row).sent));
        send(room, row, sk, digest_event_kind::CLOSED, program::SUMS_AT_END);
    }
    let _ = SUMS.remove(sk);
}

const _: () = assert!(is_moving(nr::SPLICE) && is_moving(nr::SENDFILE));

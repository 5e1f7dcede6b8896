//! Packets of watched TCP connections as they are given to a device, and the ends of such connections.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::{ConnectionClosed, SocketPair, page_record_flag, program, station_kind};

use crate::maps::{CLOSING, CONTINUE, ENTRIES, PACKET, WATCHED, on};
use crate::offsets as at;
use crate::pages::{self, Pages, Sent};
use crate::read::{self, member};
use crate::{emit, socket, told};

/// `IFF_LOOPBACK` (include/uapi/linux/if.h).
const IFF_LOOPBACK: u32 = 8;
/// `TCP_SYN_SENT`, `TCP_SYN_RECV`, `TCP_CLOSE` (`include/net/tcp_states.h`).
const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_CLOSE: u32 = 7;

/// Room for one run of [`sent`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    sent: Sent,
    pages: Pages,
}

/// Room for one run of [`state`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Closing {
    closed: ConnectionClosed,
}

/// A packet is given to a device.
#[inline(always)]
pub(crate) fn sent(ctx: &RawTracePointContext) {
    let (skb, device): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let sk: u64 = member(skb, &at::SKB_SK);
    if sk == 0 {
        return;
    }
    let Some(family) = socket::tcp_family(sk) else {
        return;
    };
    let len: u32 = member(skb, &at::SKB_LEN);
    let data_len: u32 = member(skb, &at::SKB_DATA_LEN);
    let data: u64 = member(skb, &at::SKB_DATA);
    let head: u64 = member(skb, &at::SKB_HEAD);
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
    let Some(room) = PACKET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, and valid as long as it runs; the context is its own.
    unsafe {
        let sent = addr_of_mut!((*room).sent);
        let pair = addr_of_mut!((*sent).pair);
        socket::pair(pair, sk, family);
        // Inside a tunnel the transport header is another's.
        if header[0] != u32::from((*pair).source_port.to_be()) | u32::from((*pair).destination_port.to_be()) << 16 {
            return;
        }
        let Some(watch) = WATCHED.get_ptr(&*pair) else {
            return;
        };
        (*sent).untold = u64::from((*watch).straight == 0);
        (*sent).sock = sk;
        (*sent).call = inside();
        (*sent).position = u64::from(u32::from_be(header[1]));
        (*sent).total = len - before as u32;
        (*sent).linear = len.wrapping_sub(data_len).saturating_sub(before as u32);
        (*sent).device = member(device, &at::DEV_IFINDEX);
        (*sent).flags = if member::<u32>(device, &at::DEV_FLAGS) & IFF_LOOPBACK != 0 {
            page_record_flag::LOOPBACK
        } else {
            0
        };
        let pages = addr_of_mut!((*room).pages);
        if pages::packet(pages, sent, skb, station_kind::PACKET, program::NET_DEV_START_XMIT) {
            CONTINUE.tail_call(ctx, on::PACKET);
        }
    }
}

/// The rest of a packet of more fragments than fit one record: there are 17 by default, 45 at most.
#[inline(always)]
pub(crate) fn rest(ctx: &RawTracePointContext) {
    let Some(room) = PACKET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the room is this program's since its first half, and valid as long as it runs.
    unsafe {
        let pages = addr_of_mut!((*room).pages);
        if pages::fragments(pages, addr_of_mut!((*room).sent), program::NET_DEV_START_XMIT) {
            CONTINUE.tail_call(ctx, on::PACKET);
        }
    }
}

/// The call that the current thread is inside, or 0.
#[inline(always)]
pub(crate) fn inside() -> u64 {
    let tid = bpf_get_current_pid_tgid() as u32;
    match ENTRIES.get_ptr(tid) {
        // SAFETY: a map's value is valid as long as the program runs.
        Some(entry) => unsafe { (*entry).call.call_id },
        None => 0,
    }
}

/// A socket changes its state.
#[inline(always)]
pub(crate) fn state(sk: u64, new: u64) {
    match new as u32 {
        TCP_CLOSE => {}
        TCP_SYN_SENT | TCP_SYN_RECV => return told::forget(sk),
        _ => return,
    }
    let Some(family) = socket::tcp_family(sk) else {
        return;
    };
    let Some(room) = CLOSING.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, and valid as long as it runs.
    unsafe {
        let closed = addr_of_mut!((*room).closed);
        let pair: *mut SocketPair = addr_of_mut!((*closed).pair);
        socket::pair(pair, sk, family);
        if let Some(life) = socket::forget(addr_of!((*closed).pair)) {
            (*closed).sock = sk;
            (*closed).connection_id = life;
            emit::whole(closed, ConnectionClosed::KIND, program::INET_SOCK_SET_STATE);
        }
    }
}

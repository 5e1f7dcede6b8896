//! Packets of traced TCP connections as they are passed to a network device, and the end of these
//! connections.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::programs::RawTracePointContext;
use zctrace_records::{ConnectionClosed, page_record_flag, program, station_kind};

use crate::offsets;
use crate::page_record::PageBuffer;
use crate::read::{self, member};
use crate::skb::{self, SkbPages, TcpSegment};
use crate::{connection, emit, in_flight, socket, tail_call, zerocopy_completion};

/// `IFF_LOOPBACK` (include/uapi/linux/if.h).
const IFF_LOOPBACK: u32 = 8;
/// `TCP_SYN_SENT`, `TCP_SYN_RECV`, `TCP_CLOSE` (`include/net/tcp_states.h`).
const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_CLOSE: u32 = 7;

/// Scratch memory for one run of [`on_xmit`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    skb_pages: SkbPages,
    pages: PageBuffer,
}

/// Scratch memory for one run of [`on_state_change`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CloseScratch {
    closed: ConnectionClosed,
}

scratch!(XMIT_SCRATCH: Scratch);
scratch!(CLOSE_SCRATCH: CloseScratch);

/// Handles a packet that is passed to a network device.
#[inline(always)]
pub(crate) fn on_xmit(ctx: &RawTracePointContext) {
    let (skb, device): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let sk: u64 = member(skb, &offsets::SKB_SK);
    if sk == 0 {
        return;
    }
    let known = connection::of(sk);
    let family = match known {
        Some(_) => 0,
        None => match socket::tcp_family(sk) {
            Some(family) => family,
            None => return,
        },
    };
    let Some(segment) = TcpSegment::of(skb) else {
        return;
    };
    let Some(scratch) = XMIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: (1) Access through `scratch` requires a valid pointer. Map values stay valid while
    // the program runs, and only this program uses this scratch memory on this CPU. (2)
    // `tail_call::to` requires the program's own context, which `ctx` is.
    unsafe {
        let skb_pages = addr_of_mut!((*scratch).skb_pages);
        let pair = addr_of_mut!((*skb_pages).pair);
        let connection = if let Some(known) = known {
            known
        } else {
            socket::read_pair(pair, sk, family);
            let Some(sender) = connection::track_sender(pair, sk) else {
                return;
            };
            sender
        };
        // Inside a tunnel, the transport header belongs to another connection.
        if segment.ports != skb::ports(&(*connection).pair) {
            return;
        }
        read::copy(pair, addr_of!((*connection).pair));
        (*skb_pages).skip_owners = u64::from((*connection).sends_unpiped == 0);
        (*skb_pages).sock = sk;
        (*skb_pages).call_id = in_flight::current_call_id();
        (*skb_pages).position = u64::from((*connection).send_first) << 32 | u64::from(segment.sequence);
        (*skb_pages).total = segment.len as u32;
        (*skb_pages).linear = segment.linear() as u32;
        (*skb_pages).device = member(device, &offsets::DEV_IFINDEX);
        // A device of hardware hangs on a bus.
        (*skb_pages).flags = if member::<u32>(device, &offsets::DEV_FLAGS) & IFF_LOOPBACK != 0 {
            page_record_flag::LOOPBACK
        } else if member::<u64>(device, &offsets::DEV_PARENT) == 0 {
            page_record_flag::VIRTUAL
        } else {
            0
        };
        let pages = addr_of_mut!((*scratch).pages);
        if skb::start(pages, skb_pages, skb, station_kind::PACKET, program::NET_DEV_START_XMIT) {
            tail_call::to(ctx, tail_call::SKB_FRAGS);
        }
    }
}

/// Writes the remaining fragments of a packet whose fragments do not fit into one record. A packet
/// has at most 17 fragments by default, and at most 45 in any configuration.
#[inline(always)]
pub(crate) fn continue_frags(ctx: &RawTracePointContext) {
    let Some(scratch) = XMIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: (1) Access through `scratch` requires a valid pointer. Map values stay valid while
    // the program runs, and only this program has used this scratch memory since its first half.
    // (2) `tail_call::to` requires the program's own context, which `ctx` is.
    unsafe {
        let pages = addr_of_mut!((*scratch).pages);
        if skb::emit_frags(pages, addr_of_mut!((*scratch).skb_pages), program::NET_DEV_START_XMIT) {
            tail_call::to(ctx, tail_call::SKB_FRAGS);
        }
    }
}

/// Handles a state change of a TCP socket.
#[inline(always)]
pub(crate) fn on_state_change(sk: u64, new: u64) {
    match new as u32 {
        TCP_CLOSE => {}
        TCP_SYN_SENT | TCP_SYN_RECV => return zerocopy_completion::forget_sender(sk),
        _ => return,
    }
    // The addresses are gone when a socket is closed, so those of the first call are reported.
    let Some(known) = connection::of(sk) else {
        return;
    };
    let Some(scratch) = CLOSE_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        let closed = addr_of_mut!((*scratch).closed);
        read::copy(addr_of_mut!((*closed).pair), addr_of!((*known).pair));
        if let Some((send_first, receive_first)) = connection::forget(sk) {
            (*closed).sock = sk;
            (*closed).send_first = send_first;
            (*closed).receive_first = receive_first;
            emit::emit_fixed(closed, program::INET_SOCK_SET_STATE);
        }
    }
}

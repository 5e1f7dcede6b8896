//! Messages of traced UNIX sockets, when they are consumed or discarded.

use core::ptr::addr_of_mut;

use zctrace_records::{MAX_RANGES, page_record_flag, program, station_kind};

use crate::offsets;
use crate::page_record::PageBuffer;
use crate::read::{self, member};
use crate::skb::{self, SkbPages};
use crate::{in_flight, socket, zerocopy_completion};

/// Scratch memory for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    skb_pages: SkbPages,
    pages: PageBuffer,
}

scratch!(CONSUME_SCRATCH: Scratch);
scratch!(DROP_SCRATCH: Scratch);

/// Handles a message that was consumed or discarded.
#[inline(always)]
pub(crate) fn on_skb_freed(skb: u64, dropped: bool) {
    let sk: u64 = member(skb, &offsets::SKB_SK);
    if sk == 0 {
        return;
    }
    let len: u32 = member(skb, &offsets::SKB_LEN);
    if len == 0 {
        return zerocopy_completion::on_error_queue(skb, sk, dropped);
    }
    if !socket::is_unix(sk) || !socket::is_tracked_unix_socket(sk) {
        return;
    }
    let scratch = if dropped {
        DROP_SCRATCH.get_ptr_mut(0)
    } else {
        CONSUME_SCRATCH.get_ptr_mut(0)
    };
    let Some(scratch) = scratch else {
        return;
    };
    // SAFETY: access through `scratch` requires a valid pointer. Map values stay valid while the
    // program runs, and only this program uses this scratch memory on this CPU.
    unsafe {
        let skb_pages = addr_of_mut!((*scratch).skb_pages);
        read::zero(skb_pages);
        (*skb_pages).sock = sk;
        (*skb_pages).call_id = in_flight::current_call_id();
        (*skb_pages).total = len;
        (*skb_pages).linear = len.wrapping_sub(member(skb, &offsets::SKB_DATA_LEN));
        (*skb_pages).flags = if dropped { page_record_flag::DROPPED } else { 0 };
        let program = if dropped {
            program::KFREE_SKB
        } else {
            program::CONSUME_SKB
        };
        let pages = addr_of_mut!((*scratch).pages);
        if skb::start(pages, skb_pages, skb, station_kind::UNIX, program) {
            // On a kernel with more fragments than by default, one further record is written. It is
            // marked as truncated if fragments are left after it.
            if (*skb_pages).frags_left > MAX_RANGES as u64 {
                (*pages).record.flags |= page_record_flag::TRUNCATED;
            }
            skb::emit_frags(pages, skb_pages, program);
        }
    }
}

//! Messages of watched UNIX sockets, as they are consumed or thrown away.

use core::ptr::addr_of_mut;

use zctrace_records::{MAX_RANGES, page_record_flag, program, station_kind};

use crate::maps::{CONSUMED, DROPPED, UNIX_WATCHED};
use crate::offsets as at;
use crate::pages::{self, Pages, Sent};
use crate::read::{self, member};
use crate::{packet, socket, told};

/// Room for one run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    sent: Sent,
    pages: Pages,
}

/// A message is gone.
#[inline(always)]
pub(crate) fn gone(skb: u64, dropped: bool) {
    let sk: u64 = member(skb, &at::SKB_SK);
    if sk == 0 {
        return;
    }
    let len: u32 = member(skb, &at::SKB_LEN);
    if len == 0 {
        return told::notified(skb, sk, dropped);
    }
    if !socket::is_unix(sk) || UNIX_WATCHED.get_ptr(sk).is_none() {
        return;
    }
    let room = if dropped {
        DROPPED.get_ptr_mut(0)
    } else {
        CONSUMED.get_ptr_mut(0)
    };
    let Some(room) = room else {
        return;
    };
    // SAFETY: the room is this program's on this CPU, and valid as long as it runs.
    unsafe {
        let sent = addr_of_mut!((*room).sent);
        read::zero(sent);
        (*sent).sock = sk;
        (*sent).call = packet::inside();
        (*sent).total = len;
        (*sent).linear = len.wrapping_sub(member(skb, &at::SKB_DATA_LEN));
        (*sent).flags = if dropped { page_record_flag::DROPPED } else { 0 };
        let who = if dropped {
            program::KFREE_SKB
        } else {
            program::CONSUME_SKB
        };
        let pages = addr_of_mut!((*room).pages);
        if pages::packet(pages, sent, skb, station_kind::UNIX, who) {
            // A kernel with more fragments than by default: one further record, which says so if that is not all.
            if (*sent).left > MAX_RANGES as u64 {
                (*pages).station.flags |= page_record_flag::TRUNCATED;
            }
            pages::fragments(pages, sent, who);
        }
    }
}

//! Observations: bytes that a probe recorded at a station, with what the kernel says of their page.

use zctrace_records::PageRange;

use super::page_address::{Owner, PageAddress, owner_of, start_of};
use super::page_record::Payload;

/// Addresses of the kernel's `pipe_buf_operations`, found by calibration; 0 if not found.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PipeBufOps {
    /// `page_cache_pipe_buf_ops`: a page of a file.
    pub page_cache: u64,
    /// `anon_pipe_buf_ops`: written into the pipe.
    pub anonymous: u64,
    /// `user_page_pipe_buf_ops`: a page of a process's memory, by vmsplice(2).
    pub user: u64,
    /// `zero_pipe_buf_ops`: a hole.
    pub zero: u64,
    /// Address of the `struct page` of the page of zeros that stands for holes (`ZERO_PAGE`).
    pub zero_page: u64,
}

/// Consecutive bytes observed at a station.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Observation {
    /// Address of the first byte; `None` in the linear part of a packet, and if the kernel showed
    /// no page.
    pub(crate) start: Option<PageAddress>,
    pub(crate) owner: Owner,
    pub(crate) slot_kind: SlotKind,
    /// The kernel copies these bytes if a socket of this host receives them: see
    /// [`Packet::is_copied_on_receive`](super::page_record::Packet::is_copied_on_receive).
    pub(crate) is_copied_on_receive: bool,
    pub(crate) len: u64,
}

/// Kind of slot or packet part that holds the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlotKind {
    /// No kind is known.
    Plain,
    /// A page of zeros.
    Zero,
    /// A slot with a page-cache page. Whatever became of its mapping, no bytes were copied into it.
    PageCache,
    /// A slot with a page of a process's memory.
    User,
    /// A slot that was written into the pipe.
    Written,
    /// A slot of another kind, which cannot hold a page of a file.
    OtherSlot,
    /// The linear part of a packet, which is no page of its own.
    Linear,
}

impl Observation {
    /// Returns the observation of a page range whose bytes start at `start` and are `len` long.
    /// They are given separately because a slot that was emptied does not show them.
    #[inline]
    pub(crate) fn new(range: &PageRange, start: Option<PageAddress>, len: u64, names: &PipeBufOps) -> Self {
        let is_zero = names.zero_page != 0 && range.page == names.zero_page;
        let slot_kind = match range.ops {
            _ if is_zero => SlotKind::Zero,
            0 => SlotKind::Plain,
            ops if ops == names.page_cache => SlotKind::PageCache,
            ops if ops == names.user => SlotKind::User,
            ops if ops == names.anonymous => SlotKind::Written,
            ops if ops == names.zero => SlotKind::Zero,
            // Without calibration no kind is known, so a differing kind means nothing.
            _ if names.page_cache == 0 => SlotKind::Plain,
            _ => SlotKind::OtherSlot,
        };
        // The owner's position counts from the start of the range. Of an emptied slot only the end
        // has stayed.
        let owner = match (start_of(range), start) {
            (Some(at), Some(start)) => offset_owner(owner_of(range), start.0.wrapping_sub(at.0)),
            _ => owner_of(range),
        };
        Self {
            start,
            owner,
            slot_kind,
            is_copied_on_receive: false,
            len,
        }
    }

    /// Returns the observation of a page range as the kernel shows it.
    pub(crate) fn of(range: &PageRange, ops: &PipeBufOps) -> Self {
        Self::new(range, start_of(range), u64::from(range.len), ops)
    }

    /// Returns the observation of `len` bytes in the linear part of a packet.
    pub(crate) fn linear(len: u64) -> Self {
        Self {
            start: None,
            owner: Owner::Kernel { position: 0 },
            slot_kind: SlotKind::Linear,
            is_copied_on_receive: false,
            len,
        }
    }

    /// Returns the observation of `len` bytes from `skip` on.
    pub(crate) fn part(self, skip: u64, len: u64) -> Self {
        Self {
            start: self.start.map(|start| start.plus(skip)),
            owner: offset_owner(self.owner, skip),
            len,
            ..self
        }
    }
}

fn offset_owner(owner: Owner, by: u64) -> Owner {
    match owner {
        Owner::File { mapping, position } => Owner::File {
            mapping,
            position: position.wrapping_add(by),
        },
        Owner::Anonymous { address } => Owner::Anonymous {
            address: address.wrapping_add(by),
        },
        Owner::Kernel { position } => Owner::Kernel {
            position: position.wrapping_add(by),
        },
        Owner::NotRead => Owner::NotRead,
    }
}

/// Returns the observations of a packet or message, in the order of its bytes.
pub(crate) fn observations_of(
    linear: u32,
    ranges: &[PageRange],
    ops: &PipeBufOps,
) -> impl Iterator<Item = Observation> {
    let linear = (linear > 0).then(|| Observation::linear(u64::from(linear)));
    linear
        .into_iter()
        .chain(ranges.iter().map(|range| Observation::of(range, ops)))
}

impl Payload<'_> {
    /// Returns the payload's observations, in the order of its bytes.
    pub(crate) fn observations(&self, ops: &PipeBufOps) -> impl Iterator<Item = Observation> {
        observations_of(self.linear, self.ranges, ops)
    }
}

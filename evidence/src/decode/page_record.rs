//! Page records, decoded: packets, UNIX messages, and observations that belong to a call.

use zctrace_records::{PageRange, PageRecord, page_record_flag, station_kind};

use super::socket_pair::Direction;

/// A page record, by what it describes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PageObservation<'a> {
    /// A packet of a traced connection, as the network device got it.
    Packet(Packet<'a>),
    /// A message of a traced UNIX socket, as it was consumed or discarded.
    Message(Message<'a>),
    /// Slots or disk requests inside a call.
    InCall,
}

/// Payload of a packet or message: the linear part, then page ranges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    /// Payload bytes in all.
    pub(crate) len: u64,
    /// Bytes in the linear part.
    pub(crate) linear: u32,
    /// Fragments, in the order of the bytes.
    pub(crate) ranges: &'a [PageRange],
}

/// A packet, or the part of it that one record holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    /// Connection, with the packet's sender as the sender.
    pub(crate) direction: Direction,
    /// Sequence number of the first payload byte.
    pub(crate) sequence: u32,
    pub(crate) payload: Payload<'a>,
    /// The kernel copies the packet's user pages before a receiver on this host gets them, after
    /// the station that observed them (net/core/skbuff.c: `skb_orphan_frags_rx()`).
    pub(crate) is_copied_on_receive: bool,
}

/// A UNIX message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Address of the sender's `struct sock`.
    pub(crate) sender: u64,
    pub(crate) at_ns: u64,
    pub(crate) payload: Payload<'a>,
    /// The message was consumed inside a traced call.
    pub(crate) is_in_call: bool,
    /// The message was discarded unread, at least in part.
    pub(crate) is_dropped: bool,
}

impl<'a> PageObservation<'a> {
    /// Decodes a page record.
    pub(crate) fn of(record: &'a PageRecord) -> Self {
        let payload = Payload {
            len: u64::from(record.total),
            linear: record.linear,
            ranges: &record.ranges[..usize::from(record.count).min(record.ranges.len())],
        };
        let has = |flag| record.flags & flag != 0;
        let may_be_local = has(page_record_flag::LOOPBACK) || has(page_record_flag::VIRTUAL);
        match record.station {
            station_kind::PACKET => Self::Packet(Packet {
                // The sequence number has 32 bits; the stream's first one is above it.
                direction: Direction::new(record.object, (record.position >> 32) as u32, record.pair),
                sequence: record.position as u32,
                payload,
                is_copied_on_receive: has(page_record_flag::USER_PAGES) && may_be_local,
            }),
            station_kind::UNIX => Self::Message(Message {
                sender: record.object,
                at_ns: record.header.timestamp_ns,
                payload,
                is_in_call: record.call_id != 0,
                is_dropped: record.flags & page_record_flag::DROPPED != 0,
            }),
            _ => Self::InCall,
        }
    }
}

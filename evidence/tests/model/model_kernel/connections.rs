//! Connections of the model kernel: two network namespaces with the same addresses, ports that are
//! used again, and untraced senders.

use std::collections::VecDeque;

use zctrace_records::{
    ConnectionClosed, EndpointState, PageRange, SocketPair, endpoint_kind, nr, page_record_flag, station_kind,
};

use super::{Bytes, Done, ModelKernel, NO_STEAL, Record, Sink, UNTRACED};

/// First sequence number of what the receivers send themselves.
const RECEIVERS_FIRST: u32 = 77;

#[derive(Clone, Debug)]
pub(super) struct Connection {
    pair: SocketPair,
    /// Sockets of sender and receiver.
    sender: u64,
    receiver: u64,
    /// Sequence number of the first byte, or one less if the sender connected.
    first: u32,
    /// Sequence number of the first byte.
    first_byte: u32,
    /// The receiver as an origin.
    origin: usize,
    pub(super) sent: u32,
    pub(super) received: u32,
    pub(super) queue: VecDeque<Bytes>,
    /// Latest segments that were sent, for retransmissions.
    pub(super) segments: Vec<Segment>,
}

/// Bytes that were sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) sequence: u32,
    pub(super) bytes: Bytes,
    /// The bytes were copied when they were sent, or when they were sent again.
    pub(super) is_copied: bool,
}

impl Connection {
    /// Three connections: the first and the last have the same addresses, in two namespaces, and
    /// sequence numbers that overlap.
    pub(super) fn all() -> Vec<Self> {
        let connection = |n: u16, port: u16, first_byte: u32, connected: u32| Self {
            pair: SocketPair {
                source: [1; 16],
                destination: [1; 16],
                source_port: port,
                destination_port: 80,
                family: 10,
                reserved: 0,
            },
            sender: 0xd00 + u64::from(n),
            receiver: 0xe00 + u64::from(n),
            first: first_byte - connected,
            first_byte,
            origin: 700 + usize::from(port - 5000),
            sent: first_byte,
            received: first_byte,
            queue: VecDeque::new(),
            segments: Vec::new(),
        };
        let start = u32::MAX - 9000;
        vec![
            connection(0, 5000, start, 1),
            connection(1, 5001, start, 0),
            connection(2, 5000, start + 7, 0),
        ]
    }

    /// Returns the state of the sender's socket.
    fn sender_state(&self) -> EndpointState {
        EndpointState {
            kind: endpoint_kind::TCP,
            ino: 0x10_000 + self.sender,
            object: self.sender,
            generation: self.first,
            pair: self.pair,
            before: u64::from(self.sent),
            ..EndpointState::default()
        }
    }

    /// Returns the state of the receiver's socket.
    fn receiver_state(&self) -> EndpointState {
        EndpointState {
            kind: endpoint_kind::TCP,
            ino: 0x10_000 + self.receiver,
            object: self.receiver,
            generation: RECEIVERS_FIRST,
            extra: u64::from(self.first_byte),
            pair: self.pair.reversed(),
            before: u64::from(self.received),
            ..EndpointState::default()
        }
    }
}

impl Done {
    /// Returns whether a process is still inside a call on the socket.
    fn uses_socket(&self, sock: u64) -> bool {
        self.call.source.object == sock || self.call.sink.object == sock
    }
}

impl ModelKernel {
    /// splice(pipe, socket): packets of `mss` bytes are sent at once, each `times` times. With
    /// `copies` the kernel has no scatter-gather.
    pub(crate) fn pipe_to_tcp(
        &mut self,
        pipe: usize,
        n: usize,
        len: u64,
        mss: u32,
        copies: bool,
        times: u32,
    ) -> Option<Done> {
        let state = self.connections[n].sender_state();
        let (mut done, bytes) = self.consume(nr::SPLICE, pipe, len, state)?;
        if self.named.insert((state.object, state.generation)) {
            self.records.push(Record::Name(state));
        }
        self.deliver(&bytes, Sink::Tcp(n), copies);
        let mut out = VecDeque::new();
        for mut b in bytes {
            if copies {
                b.range = PageRange {
                    page: self.page_other_than(b.range.page),
                    mapping: 0,
                    index: 0,
                    ops: 0,
                    ..b.range
                };
                b.copied = true;
            }
            b.range.ops = 0;
            out.push_back(b);
        }
        self.transmit(n, out, mss, copies, times);
        done.call.sink.after = u64::from(self.connections[n].sent);
        Some(done)
    }

    /// A process that is not traced sends on a socket that a traced process uses.
    pub(crate) fn send_untraced(&mut self, n: usize, len: u64, mss: u32, file: Option<usize>) {
        let state = self.connections[n].sender_state();
        if !self.named.contains(&(state.object, state.generation)) {
            return;
        }
        let mut out = VecDeque::new();
        let mut left = len as u32;
        for index in 0.. {
            let len = left.min(4096);
            if len == 0 {
                break;
            }
            left -= len;
            let page = match file {
                Some(file) => self.file_page(file, index),
                None => self.fresh_page(),
            };
            let mapping = file.map_or(0, |file| 0xabc0_0000 + file as u64 * 64);
            out.push_back(Bytes {
                range: PageRange {
                    page,
                    mapping,
                    index: if file.is_some() { index } else { 0 },
                    len,
                    ..PageRange::default()
                },
                origin: UNTRACED,
                copied: file.is_none(),
                in_snapshot: 0,
            });
        }
        self.unseen += len;
        self.transmit(n, out, mss, true, 1);
    }

    /// Sends bytes in packets.
    fn transmit(&mut self, n: usize, mut out: VecDeque<Bytes>, mss: u32, is_copied: bool, times: u32) {
        let connection = &mut self.connections[n];
        connection.queue.extend(out.iter().copied());
        connection.segments.clear();
        let mut sequence = connection.sent;
        for &bytes in &out {
            connection.segments.push(Segment {
                sequence,
                bytes,
                is_copied,
            });
            sequence = sequence.wrapping_add(bytes.range.len);
        }
        let mut sequence = connection.sent;
        while !out.is_empty() {
            let mut frags = Vec::new();
            let mut left = mss;
            while left > 0 && frags.len() < 17 {
                let Some(b) = out.pop_front() else { break };
                let take = b.range.len.min(left);
                let (head, rest) = b.split(take);
                if rest.range.len > 0 {
                    out.push_front(rest);
                }
                left -= take;
                frags.push(head.range);
            }
            for _ in 0..times {
                self.packet(n, sequence, &frags, 0);
            }
            sequence = sequence.wrapping_add(frags.iter().map(|f| f.len).sum());
        }
        self.connections[n].sent = sequence;
    }

    /// Records a packet with a linear part before its fragments.
    pub(super) fn packet(&mut self, n: usize, sequence: u32, frags: &[PageRange], linear: u32) {
        let (sock, first, pair) = {
            let connection = &self.connections[n];
            (connection.sender, connection.first, connection.pair)
        };
        let position = u64::from(first) << 32 | u64::from(sequence);
        let mut station = self.station(station_kind::PACKET, sock, position, frags, 0);
        station.pair = pair;
        station.linear = linear;
        station.total += linear;
        station.flags = page_record_flag::LOOPBACK;
        station.call_id = 0;
        self.records.push(Record::Station(station));
    }

    /// splice(socket, pipe): fragments by reference, or copied. Linear parts are always copied.
    pub(crate) fn tcp_to_pipe(&mut self, n: usize, pipe: usize, len: u64, copies: bool) -> Option<Done> {
        let connection = self.connections.get(n).or(self.ended.as_ref())?;
        let (state, origin) = (connection.receiver_state(), connection.origin);
        let mut call = self.call(nr::SPLICE, state, self.pipe_state(pipe));
        let head = self.pipes[pipe].head;
        let mut left = len as u32;
        while left > 0 && self.free_slots(pipe) > 0 {
            // The packet holds its page while its bytes are copied.
            let fresh = self.fresh_page();
            let queue = match self.connections.get_mut(n) {
                Some(connection) => &mut connection.queue,
                None => &mut self.ended.as_mut()?.queue,
            };
            let Some(b) = queue.pop_front() else {
                break;
            };
            let take = b.range.len.min(left);
            let (mut bytes, rest) = b.split(take);
            if rest.range.len > 0 {
                queue.push_front(rest);
            }
            let copies = copies || bytes.range.page == 0;
            if copies {
                bytes.range = PageRange {
                    page: fresh,
                    mapping: 0,
                    index: 0,
                    ..bytes.range
                };
            }
            // The receiver's flow starts at the socket, so earlier copies are not its own.
            bytes.copied = copies;
            bytes.in_snapshot = 0;
            bytes.origin = Some(origin);
            bytes.range.ops = NO_STEAL;
            left -= take;
            call.result += i64::from(take);
            self.push(pipe, bytes);
        }
        let received = (call.source.before as u32).wrapping_add(call.result as u32);
        match self.connections.get_mut(n) {
            Some(connection) => connection.received = received,
            None => self.ended.as_mut()?.received = received,
        }
        call.source.after = u64::from(received);
        let pushed = self.pipes[pipe].head.wrapping_sub(head);
        (pushed > 0).then(|| Done {
            call,
            pushed: Some((pipe, head, pushed)),
            popped_slots: None,
            bios: Vec::new(),
            snapshot: None,
        })
    }

    /// Ends a connection, whose receiver may read what is queued, and begins another with the same
    /// addresses: at the same `struct sock` if that is free and `reuses_sock`, and with sequence
    /// numbers that overlap.
    pub(crate) fn reconnect(&mut self, n: usize, reuses_sock: bool, distance: u32, pending: &[&Done]) {
        let old = self.connections[n].clone();
        self.record_close(old.sender, old.first, RECEIVERS_FIRST, old.pair);
        if let Some(ended) = self.ended.take() {
            self.record_close(ended.receiver, RECEIVERS_FIRST, ended.first_byte, ended.pair.reversed());
        }
        self.socks += 1;
        let is_free = !pending.iter().any(|done| done.uses_socket(old.sender));
        let sender = if reuses_sock && is_free {
            old.sender
        } else {
            0x1_d000 + self.socks
        };
        // No two connections with these addresses begin at the same number.
        let first_byte = u32::MAX - 9000 + 20 * self.socks as u32 + distance % 10;
        self.connections[n] = Connection {
            sender,
            receiver: 0x1_e000 + self.socks,
            first: first_byte - distance % 2,
            first_byte,
            sent: first_byte,
            received: first_byte,
            queue: VecDeque::new(),
            segments: Vec::new(),
            ..old
        };
        self.ended = Some(old);
    }

    fn record_close(&mut self, sock: u64, send_first: u32, receive_first: u32, pair: SocketPair) {
        let header = self.header(ConnectionClosed::KIND);
        self.records.push(Record::Closed(ConnectionClosed {
            header,
            sock,
            receive_first,
            send_first,
            pair,
        }));
    }
}

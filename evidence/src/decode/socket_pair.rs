//! Addresses of a connection in one notation, whichever socket family shows them.

use zctrace_records::SocketPair;

/// `AF_INET` and `AF_INET6` (include/linux/socket.h).
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// First twelve bytes of an IPv4-mapped IPv6 address, `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// One direction of a TCP connection.
///
/// Addresses and ports are no identity: two network namespaces have the same ones, and a connection
/// that is reset and made again has them twice. The programs number connections: both sockets of
/// one connection have the number, and no other socket has it (probes-ebpf/src/socket.rs).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Direction {
    /// Number of the connection, modulo 2^32; 0 in recordings of versions without numbers.
    pub(crate) connection: u32,
    /// Canonical addresses, with the sender first.
    pub(crate) pair: SocketPair,
}

impl Direction {
    /// Returns the direction in which the first address sends.
    pub(crate) fn new(connection: u32, pair: SocketPair) -> Self {
        Self {
            connection,
            pair: canonical(pair),
        }
    }

    /// Returns the other direction of the connection.
    pub(crate) fn reversed(self) -> Self {
        Self {
            pair: self.pair.reversed(),
            ..self
        }
    }
}

/// Returns a connection's addresses with IPv4-mapped IPv6 addresses as IPv4.
///
/// A server that listens on `[::]` shows mapped addresses, and its IPv4 peer shows the others
/// (net/ipv6/tcp_ipv6.c: `tcp_v6_mapped_child_init()`). Both are one connection.
pub(crate) fn canonical(pair: SocketPair) -> SocketPair {
    let mapped = |address: [u8; 16]| address[..12] == MAPPED;
    if pair.family != AF_INET6 || !mapped(pair.source) || !mapped(pair.destination) {
        return pair;
    }
    let ipv4 = |address: [u8; 16]| {
        let mut short = [0; 16];
        short[..4].copy_from_slice(&address[12..]);
        short
    };
    SocketPair {
        source: ipv4(pair.source),
        destination: ipv4(pair.destination),
        family: AF_INET,
        ..pair
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(family: u16, source: [u8; 16], destination: [u8; 16]) -> SocketPair {
        SocketPair {
            source,
            destination,
            source_port: 1000,
            destination_port: 80,
            family,
            reserved: 0,
        }
    }

    #[test]
    fn mapped_addresses_become_ipv4_and_others_stay() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        let mut short = [0; 16];
        short[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(canonical(pair(AF_INET6, mapped, mapped)), pair(AF_INET, short, short));
        let local = std::net::Ipv6Addr::LOCALHOST.octets();
        for unchanged in [
            pair(AF_INET6, local, local),
            pair(AF_INET6, local, mapped),
            pair(AF_INET, short, short),
            SocketPair::default(),
        ] {
            assert_eq!(canonical(unchanged), unchanged);
        }
    }
}

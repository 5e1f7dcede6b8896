//! Records of calls that move bytes through sockets, and of their packets and messages.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use zctrace_records::{ConnectionClosed, endpoint_kind, nr, page_record_flag, station_kind};

use crate::fixtures::{merged, splice_all, splice_at, tcp};
use crate::observer::{Observed, Observer, runs};

pub(crate) fn pipe_to_tcp_to_pipe(observer: &mut Observer, source: &Path) {
    let file = File::open(source).unwrap();
    let (client, server) = tcp();
    let port = client.local_addr().unwrap().port();
    let (first, second) = (pipe().unwrap(), pipe().unwrap());
    let (_, filled) = observer.observe(|| splice_at(&file, 0, &first.1, 30_000));
    let put = filled.ranges(filled.call(nr::SPLICE), station_kind::PIPE_SINK);

    // Drained in two steps, the first of which ends within a slot.
    let ((), begun) = observer.observe(|| splice_all(&first.0, &client, 10_000));
    let ((), rest) = observer.observe(|| splice_all(&first.0, &client, 20_000));
    let call = begun.call(nr::SPLICE);
    assert_eq!((call.sink.kind, call.sink.pair.source_port), (endpoint_kind::TCP, port));
    assert_eq!(call.sink.pair.destination[..4], [127, 0, 0, 1]);
    let start = call.sink.before;
    assert_eq!((call.sink.after as u32).wrapping_sub(start as u32), 10_000);
    let popped = begun.ranges(call, station_kind::PIPE_SOURCE);
    assert_eq!(popped.len(), 3, "two slots emptied, one taken in part");
    for (popped, put) in popped.iter().zip(&put) {
        assert_eq!(popped.page, put.page);
        assert_eq!(popped.offset + popped.len, put.offset + put.len);
    }
    let mut sent = begun.packets(port, start);
    sent.extend(rest.packets(port, rest.call(nr::SPLICE).sink.before));
    assert_eq!(merged(sent), merged(runs(&put)), "the packets hold the file's pages");
    assert!(
        begun
            .stations
            .iter()
            .any(|s| s.flags & page_record_flag::LOOPBACK != 0 && s.station == station_kind::PACKET)
    );

    // And into another pipe.
    let ((), observed) = observer.observe(|| splice_all(&server, &second.1, 30_000));
    let mut received = Vec::new();
    for call in &observed.calls {
        // The SYN of the side that connected took the number before the first byte.
        let sent_first = begun.call(nr::SPLICE).sink.generation;
        assert_eq!(call.source.extra as u32, sent_first.wrapping_add(1), "one stream");
        assert_eq!(
            (call.source.after as u32).wrapping_sub(call.source.before as u32),
            call.result as u32
        );
        received.extend(runs(&observed.ranges(call, station_kind::PIPE_SINK)));
    }
    assert_eq!(merged(received), merged(runs(&put)), "loopback passes pages on");

    let sent_first = begun.call(nr::SPLICE).sink.generation;
    let is_end = |closed: &&ConnectionClosed| {
        closed.send_first == sent_first || closed.receive_first == sent_first.wrapping_add(1)
    };
    let closed = |observed: &Observed| observed.closed.iter().filter(is_end).count();
    let ((), observed) = observer.observe_until(|| drop((client, server)), |observed| closed(observed) >= 2);
    let ports: Vec<_> = observed.closed.iter().filter(is_end).collect();
    assert_eq!(ports.len(), 2, "both sockets end: {:?}", observed.closed);
    assert!(ports.iter().any(|closed| closed.pair.source_port == port));
    assert!(ports.iter().any(|closed| closed.pair.destination_port == port));
}

pub(crate) fn sendfile_to_tcp(observer: &mut Observer, source: &Path) {
    let file = File::open(source).unwrap();
    let (client, mut server) = tcp();
    let ((), observed) = observer.observe(|| {
        let mut offset = 8192;
        let count = rustix::fs::sendfile(&client, &file, Some(&mut offset), 12_000).unwrap();
        assert_eq!((count, offset), (12_000, 20_192));
    });
    let call = observed.call(nr::SENDFILE);
    assert_eq!(
        (call.source.kind, call.source.before, call.source.after),
        (endpoint_kind::FILE, 8192, 20_192)
    );
    let sent = observed.packets(client.local_addr().unwrap().port(), call.sink.before);
    assert_eq!(sent.iter().map(|run| u64::from(run.1)).sum::<u64>(), 12_000);
    let packet = observed
        .stations
        .iter()
        .find(|s| s.station == station_kind::PACKET)
        .unwrap();
    assert_eq!(packet.call_id, call.call_id, "sent by the call itself");
    assert_eq!(
        (packet.file.ino, packet.ranges[0].index),
        (file.metadata().unwrap().ino(), 2)
    );
    let mut content = vec![0; 12_000];
    server.read_exact(&mut content).unwrap();
}

pub(crate) fn unix_both_ways(observer: &mut Observer, source: &Path) {
    let file = File::open(source).unwrap();
    let (left, right) = UnixStream::pair().unwrap();
    let (from, to) = (pipe().unwrap(), pipe().unwrap());
    let (_, filled) = observer.observe(|| splice_at(&file, 0, &from.1, 12_000));
    let put = filled.ranges(filled.call(nr::SPLICE), station_kind::PIPE_SINK);
    let ((), sent) = observer.observe(|| splice_all(&from.0, &left, 12_000));
    assert!(
        sent.calls
            .iter()
            .all(|call| call.sink.kind == endpoint_kind::UNIX_STREAM)
    );
    let sender = sent.calls[0].sink;
    let ((), observed) = observer.observe(|| splice_all(&right, &to.1, 12_000));
    assert_eq!(
        observed.calls[0].source.object, sender.extra,
        "the sender knows its peer"
    );
    let messages = observed.stations.iter().filter(|s| s.station == station_kind::UNIX);
    let mut message = Vec::new();
    for station in messages.filter(|s| s.object == sender.object) {
        assert_eq!((station.linear, station.flags), (0, 0));
        message.extend(runs(&station.ranges[..usize::from(station.count)]));
    }
    let received = observed
        .calls
        .iter()
        .flat_map(|call| observed.ranges(call, station_kind::PIPE_SINK));
    let received: Vec<_> = received.collect();
    assert_eq!(merged(message), merged(runs(&put)));
    assert_eq!(merged(runs(&received)), merged(runs(&put)));

    // A message that is never read.
    (&left).write_all(&[1; 700]).unwrap();
    let is_dropped = |observed: &Observed| observed.stations.iter().any(|s| s.station == station_kind::UNIX);
    let ((), observed) = observer.observe_until(|| drop((left, right)), is_dropped);
    let dropped = observed.stations.iter().find(|s| s.station == station_kind::UNIX);
    let dropped = dropped.expect("a message that is thrown away is seen");
    assert_eq!((dropped.total, dropped.linear), (700, 700));
}

//! Tests of the table of endpoints: identities, names and bounds.

use super::*;
use zctrace_records::{MAX_COMPONENTS, RecordHeader};

fn file(ino: u64) -> EndpointState {
    EndpointState {
        kind: endpoint_kind::FILE,
        ino,
        dev: (254 << 20) | 1,
        ..EndpointState::default()
    }
}

fn named(parts: &[&str], flags: u32) -> EndpointName {
    let mut components = [[0; COMPONENT_SIZE]; MAX_COMPONENTS];
    for (at, part) in parts.iter().rev().enumerate() {
        components[at][..part.len()].copy_from_slice(part.as_bytes());
    }
    EndpointName {
        header: RecordHeader::from_bytes(&{
            let mut bytes = [0; 32];
            bytes[28] = 3;
            bytes[30] = 32;
            bytes
        })
        .unwrap(),
        endpoint: file(7),
        count: parts.len() as u32,
        flags,
        components,
    }
}

#[test]
fn path_consists_of_the_mount_point_and_all_components() {
    let mut ends = Endpoints::new(HashMap::from([((254 << 20) | 1, "/srv".to_owned())]));
    ends.name(&named(&["/", "video", "a.bin"], 2));
    let id = ends.of(&file(7));
    assert_eq!(ends.report(id).name, "/srv/video/a.bin");
    assert_eq!(ends.report(id).other_names, [""; 0]);
    // The first name stays, and the file may have been used by the others as well.
    for other in ["other", "other", "third"] {
        ends.name(&named(&["/", other], 2));
    }
    assert_eq!(ends.report(id).name, "/srv/video/a.bin");
    assert_eq!(ends.report(id).other_names, ["/srv/other", "/srv/third"]);
    for number in 0..20 {
        ends.name(&named(&["/", &format!("n{number}")], 2));
    }
    let others = ends.report(id).other_names;
    assert_eq!(
        (others.len(), others.last().map(String::as_str)),
        (MAX_NAMES - 1, Some(ANY_NAME))
    );
}

#[test]
fn socket_that_connects_later_gets_the_name_of_its_peer() {
    let mut ends = Endpoints::new(HashMap::default());
    let socket = |port| EndpointName {
        endpoint: EndpointState {
            kind: endpoint_kind::TCP,
            pair: SocketPair {
                destination: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                source_port: 40_000,
                destination_port: port,
                family: 2,
                ..SocketPair::default()
            },
            ..file(7)
        },
        ..named(&[], 0)
    };
    ends.name(&socket(0));
    let id = ends.of(&socket(0).endpoint);
    assert_eq!(ends.report(id).name, "[7]");
    ends.name(&socket(8080));
    let end = ends.report(id);
    assert_eq!((end.name.as_str(), end.peer_port), ("127.0.0.1:8080", Some(8080)));
    assert_eq!(end.other_names, [""; 0]);
    ends.name(&socket(8081));
    let end = ends.report(id);
    assert_eq!((end.name.as_str(), end.peer_port), ("127.0.0.1:8080", Some(8080)));
    assert_eq!(end.other_names, ["127.0.0.1:8081"]);
}

#[test]
fn truncated_name_is_marked() {
    let mut ends = Endpoints::new(HashMap::default());
    ends.name(&named(&["deep", "a.bin"], 1));
    let id = ends.of(&file(7));
    assert_eq!(ends.report(id).name, "…/deep/a.bin");
}

#[test]
fn file_opened_in_two_ways_has_one_name() {
    let mut ends = Endpoints::new(HashMap::default());
    let buffered = ends.of(&file(7));
    ends.name(&named(&["a.bin"], 0));
    let direct = ends.of(&EndpointState {
        f_flags: O_DIRECT,
        ..file(7)
    });
    assert_eq!(ends.report(buffered).name, ends.report(direct).name);
    let other_life = ends.of(&EndpointState {
        generation: 9,
        ..file(7)
    });
    assert_ne!(ends.report(other_life).name, ends.report(direct).name);
}

#[test]
fn file_opened_with_and_without_o_direct_is_two_endpoints() {
    let mut ends = Endpoints::new(HashMap::default());
    let buffered = ends.of(&file(7));
    let direct = ends.of(&EndpointState {
        f_flags: O_DIRECT,
        ..file(7)
    });
    assert_ne!(buffered, direct);
    assert_eq!(ends.of(&file(7)), buffered);
    assert_ne!(
        ends.of(&EndpointState {
            generation: 1,
            ..file(7)
        }),
        buffered,
        "another life of the inode number"
    );
}

#[test]
fn counted_calls_belong_to_the_endpoint_without_o_direct() {
    let mut ends = Endpoints::new(HashMap::default());
    let kind = |ends: &Endpoints| {
        let key = IoCounterKey {
            ino: 7,
            dev: file(7).dev,
            kind: endpoint_kind::FILE,
            ..IoCounterKey::default()
        };
        ends.counted(&key, false).map(|end| end.kind)
    };
    assert_eq!(kind(&ends), None);
    ends.of(&EndpointState {
        f_flags: O_DIRECT,
        ..file(7)
    });
    assert_eq!(kind(&ends), Some(EndpointKind::File));
    ends.of(&file(7));
    assert_eq!(kind(&ends), Some(EndpointKind::File));
}

fn connection(ino: u64, local: u16, peer: u16) -> EndpointIdentity {
    let pair = SocketPair {
        source_port: local,
        destination_port: peer,
        family: 2,
        ..SocketPair::default()
    };
    EndpointIdentity::of_tcp(ino, 1, pair)
}

#[test]
fn service_port_is_the_one_that_connections_share_else_the_lower() {
    let mut ends = Endpoints::new(HashMap::default());
    let first = ends.id_of(&connection(1, 50_051, 40_000));
    let ports = |ends: &Endpoints, id| {
        let end = ends.report(id);
        (end.port, end.local_port, end.peer_port)
    };
    assert_eq!(ports(&ends, first), (Some(40_000), Some(50_051), Some(40_000)));
    // Seen twice, it is no other connection.
    assert_eq!(ends.id_of(&connection(1, 50_051, 40_000)), first);
    let client = ends.id_of(&connection(2, 40_001, 50_051));
    assert_eq!(ports(&ends, first).0, Some(50_051));
    assert_eq!(ports(&ends, client), (Some(50_051), Some(40_001), Some(50_051)));
}

#[test]
fn connections_beyond_the_bound_have_no_address() {
    let mut ends = Endpoints::new(HashMap::default());
    for ino in 0..MAX_ENDPOINTS as u64 {
        ends.of(&file(ino + 1));
    }
    let (one, other) = (connection(1, 80, 40_000), connection(2, 443, 40_001));
    let id = ends.id_of(&one);
    assert_eq!(ends.id_of(&other), id);
    let end = ends.report(id);
    assert_eq!((end.name.as_str(), end.port, end.peer_port), ("", None, None));
}

#[test]
fn number_of_endpoints_is_bounded() {
    let mut ends = Endpoints::new(HashMap::default());
    let last = (0..MAX_ENDPOINTS as u64 + 10)
        .map(|ino| ends.of(&file(ino + 1)))
        .last()
        .unwrap();
    assert!(ends.all.len() <= MAX_ENDPOINTS + 1);
    assert_eq!(ends.of(&file(5_000_000)), last, "the rest are one");
}

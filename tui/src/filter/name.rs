//! Matching of names of which a part is not known: of folded rows, of ends without a name, and of
//! paths that the probes cut.
//!
//! A name that is not wholly known never makes a pattern miss: the result is then
//! [`Match::Unknown`], unless no completion of the name can match.

use std::net::SocketAddr;

use zctrace_report::{Endpoint, EndpointKind};

use super::glob;
use super::pattern::Match;

/// Stands for the part of a path that the probes cut.
const GAP: char = '…';

/// Matches the names of an end.
///
/// A file is the same under each of its names. A socket was connected to one address after the
/// other, and which bytes went where is not known.
pub(super) fn match_end_name(pattern: &str, end: &Endpoint, folded: u64) -> Match {
    let mut others = end.other_names.iter().map(|name| match name.as_str() {
        "*" => Match::Unknown,
        name => match_one_name(pattern, name, end, folded),
    });
    let first = match_one_name(pattern, &end.name, end, folded);
    if end.kind.is_socket() {
        if others.all(|other| other == first) {
            first
        } else {
            Match::Unknown
        }
    } else {
        others.fold(first, Match::max)
    }
}

/// Matches one name of an end.
fn match_one_name(pattern: &str, name: &str, end: &Endpoint, folded: u64) -> Match {
    let named = Endpoint::new(end.kind.clone(), name);
    if !named.is_named() || has_no_peer(&named) {
        // The pattern can repeat the text that is shown instead of the name.
        let is_match = !name.is_empty() && glob::matches(pattern, name) && folded == 1 && !pattern.contains(['*', '?']);
        return if is_match { Match::Yes } else { Match::Unknown };
    }
    // The mount point of a filesystem that zctrace does not see is missing.
    let is_relative = end.kind.is_file() && !name.starts_with(['/', GAP]) && !name.starts_with("memfd:");
    match (is_relative, name.contains(GAP)) {
        (false, false) => match_name(pattern, name, folded),
        (true, _) => match_cut_name(pattern, &format!("{GAP}/{name}")),
        (false, true) => match_cut_name(pattern, name),
    }
}

/// Matches a name with a glob. An aggregate has a name only if all its endpoints share it; `*`
/// replaces the parts that differ.
pub(super) fn match_name(pattern: &str, name: &str, folded: u64) -> Match {
    let is_match = glob::matches(pattern, name);
    match (name.is_empty(), folded > 1 && name.contains('*')) {
        (true, _) => Match::Unknown,
        (false, true) => match_folded_name(pattern, name, is_match),
        (false, false) if is_match => Match::Yes,
        (false, false) => Match::No,
    }
}

/// Matches a name of which a part was discarded.
fn match_folded_name(pattern: &str, name: &str, is_match: bool) -> Match {
    // The star in the name can only have been consumed by a star of the pattern, which would match
    // any other text too.
    if is_match && !pattern.contains('?') {
        return Match::Yes;
    }
    // All names begin like the aggregate's, and every match begins like the pattern.
    let pattern_prefix = pattern.split(['*', '?']).next().unwrap_or_default();
    let name_prefix = name.split('*').next().unwrap_or_default();
    if pattern_prefix.starts_with(name_prefix) || name_prefix.starts_with(pattern_prefix) {
        Match::Unknown
    } else {
        Match::No
    }
}

/// Matches a name with gaps, each of which stands for any text.
fn match_cut_name(pattern: &str, name: &str) -> Match {
    // Only a star of the pattern can have consumed a gap, unless the pattern repeats the gap.
    if glob::matches(pattern, name) && !pattern.contains('?') {
        return Match::Yes;
    }
    if can_match(pattern, name) {
        Match::Unknown
    } else {
        Match::No
    }
}

/// Returns whether the pattern matches the name with some text in place of each gap. Time is the
/// product of the two lengths.
fn can_match(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Which beginnings of the pattern match the beginning of the name so far.
    let mut fits = vec![false; pattern.len() + 1];
    fits[0] = true;
    skip_stars(&pattern, &mut fits);
    for &here in &name {
        let mut next = vec![false; pattern.len() + 1];
        for at in (0..=pattern.len()).filter(|&at| fits[at]) {
            if here == GAP {
                // The gap can be empty, and it can be any text that the pattern goes on with.
                next[at..].fill(true);
                break;
            }
            match pattern.get(at) {
                Some('*') => next[at] = true,
                Some(&c) if c == '?' || c == here => next[at + 1] = true,
                _ => {}
            }
        }
        skip_stars(&pattern, &mut next);
        fits = next;
    }
    fits[pattern.len()]
}

/// Adds the beginnings that end in a star, which can match nothing.
fn skip_stars(pattern: &[char], fits: &mut [bool]) {
    for (at, c) in pattern.iter().enumerate() {
        if *c == '*' && fits[at] {
            fits[at + 1] = true;
        }
    }
}

/// Returns whether a socket was named before it had a peer.
///
/// A call that connects on its own (`sendto` with `MSG_FASTOPEN`) begins on such a socket, so the
/// bytes went to an address that the name does not show.
fn has_no_peer(end: &Endpoint) -> bool {
    let address = end.name.parse::<SocketAddr>();
    end.kind.is_socket() && address.is_ok_and(|peer| peer.ip().is_unspecified() || peer.port() == 0)
}

/// Returns the ports of an end, and whether it may have others that are not known.
pub(super) fn ports_of(end: &Endpoint, folded: u64) -> (Vec<u16>, bool) {
    if end.kind == EndpointKind::Various {
        return (Vec::new(), true);
    }
    if !end.kind.is_socket() {
        return (Vec::new(), false);
    }
    let mut ports: Vec<u16> = end.ports().collect();
    let of_name = end.name.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    ports.extend(of_name.filter(|port| !ports.contains(port)));
    let has_unset_port = ports.contains(&0);
    ports.retain(|&port| port != 0);
    let has_others = match end.kind {
        EndpointKind::Unix => false,
        // The socket was connected again, to one of the other names.
        _ if !end.other_names.is_empty() => true,
        _ if has_unset_port => true,
        _ if end.has_both_ports() => false,
        // The peer of a UDP socket that is not connected is not observed.
        EndpointKind::Udp => true,
        // Reports of older versions have one port and the name.
        _ => folded > 1 || ports.is_empty(),
    };
    (ports, has_others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pattern: &str, name: &str) -> Match {
        match_end_name(pattern, &Endpoint::new(EndpointKind::File, name), 1)
    }

    #[test]
    fn file_matches_by_each_of_its_names() {
        let mut end = Endpoint::new(EndpointKind::File, "/srv/.a.tmp");
        end.other_names = vec!["/srv/a".to_owned()];
        assert_eq!(match_end_name("/srv/a", &end, 1), Match::Yes);
        assert_eq!(match_end_name("*.tmp", &end, 1), Match::Yes);
        assert_eq!(match_end_name("/srv/b", &end, 1), Match::No);
        end.other_names.push("*".to_owned());
        assert_eq!(match_end_name("/srv/b", &end, 1), Match::Unknown, "some were dropped");
    }

    #[test]
    fn socket_that_was_connected_again_is_undecided_for_either_peer() {
        let mut end = Endpoint::new(EndpointKind::Tcp, "10.0.0.1:80");
        (end.local_port, end.peer_port) = (Some(40_000), Some(80));
        assert_eq!(ports_of(&end, 1), (vec![40_000, 80], false));
        end.other_names = vec!["10.0.0.2:81".to_owned()];
        assert_eq!(match_end_name("10.0.0.1:*", &end, 1), Match::Unknown);
        assert_eq!(match_end_name("10.0.0.2:*", &end, 1), Match::Unknown);
        assert_eq!(match_end_name("10.0.0.*", &end, 1), Match::Yes);
        assert_eq!(match_end_name("10.9.*", &end, 1), Match::No);
        assert_eq!(ports_of(&end, 1), (vec![40_000, 80], true));
    }

    #[test]
    fn end_without_a_name_is_undecided_for_every_glob() {
        for name in ["", "inode 7 of device 254:1", "several files", "[4711]"] {
            for pattern in ["*out", "/data/*", "/data/out", "?"] {
                assert_eq!(file(pattern, name), Match::Unknown, "{pattern} {name:?}");
            }
        }
        assert_eq!(file("[4711]", "[4711]"), Match::Yes, "as it is shown");
        assert_eq!(file("*out", "/srv/[4711]"), Match::No, "a file of that name");
        let socket = Endpoint::new(EndpointKind::Unix, "[99]");
        assert_eq!(match_end_name("/run/a.sock", &socket, 1), Match::Unknown);
    }

    #[test]
    fn cut_paths_miss_only_what_they_cannot_be() {
        for (pattern, name, expected) in [
            ("/data/*", "…/deep/a.bin", Match::Unknown),
            ("*a.bin", "…/deep/a.bin", Match::Yes),
            ("*/deep/*", "…/deep/a.bin", Match::Yes),
            ("*b.bin", "…/deep/a.bin", Match::No),
            ("/data/?/deep/a.bin", "…/deep/a.bin", Match::Unknown),
            ("/data/?/flat/a.bin", "…/deep/a.bin", Match::No),
            ("/srv/long-name.bin", "/srv/long…", Match::Unknown),
            ("/srv/short", "/srv/long…", Match::No),
            ("/data/*", "out", Match::Unknown),
            ("*out", "out", Match::Yes),
            ("/data/deep/out", "deep/out", Match::Unknown),
            ("/data/out", "deep/out", Match::No),
            ("/data/in", "deep/out", Match::No),
            ("/data/*", "memfd:x", Match::No),
        ] {
            assert_eq!(file(pattern, name), expected, "{pattern} {name}");
        }
    }
}

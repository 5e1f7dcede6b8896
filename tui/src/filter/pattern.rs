//! `KIND` or `KIND:GLOB`: a pattern for an endpoint.

use std::fmt;

use zctrace_report::format::printable;
use zctrace_report::{Endpoint, EndpointKind};

use super::glob;
use super::name::{match_end_name, ports_of};

/// Result of matching an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Match {
    /// No match.
    No,
    /// Undecidable: a name, a port or an origin that the result depends on is not known.
    Unknown,
    /// Match.
    Yes,
}

/// `KIND` or `KIND:GLOB`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pattern {
    kind: String,
    glob: Option<String>,
}

impl Pattern {
    /// Keywords for several kinds.
    const GROUPS: [&'static str; 3] = ["file", "socket", "device"];

    /// Parses one pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, glob) = match text.split_once(':') {
            Some((kind, glob)) => (kind, Some(glob)),
            None => (text, None),
        };
        if glob == Some("") {
            return Err(format!("`{text}` names no endpoint; use `{kind}` or `{kind}:*`"));
        }
        let several = EndpointKind::Various;
        let known = EndpointKind::KNOWN.iter().filter(|&&word| word != several.as_str());
        if !Self::GROUPS.contains(&kind) && !known.clone().any(|&word| word == kind) {
            let words: Vec<&str> = known.copied().collect();
            return Err(format!(
                "`{kind}` is not a kind of endpoint; use one of {}",
                words.join(", ")
            ));
        }
        Ok(Self {
            kind: kind.to_owned(),
            glob: glob.map(str::to_owned),
        })
    }

    /// Returns whether the pattern matches TCP connections only.
    pub(crate) fn is_tcp(&self) -> bool {
        self.kind == EndpointKind::Tcp.as_str()
    }

    /// Returns the pattern for names, if there is one.
    pub(crate) fn glob(&self) -> Option<&str> {
        self.glob.as_deref()
    }

    /// Returns whether the pattern matches files only.
    pub(crate) fn is_file(&self) -> bool {
        ["file", "direct_file"].contains(&self.kind.as_str())
    }

    /// Returns whether the pattern is for endpoints of this kind, whatever their names.
    pub(crate) fn matches_kind(&self, end: &Endpoint) -> bool {
        match self.kind.as_str() {
            "file" => end.kind.is_file(),
            "socket" => end.kind.is_socket(),
            "device" => matches!(end.kind, EndpointKind::BlockDevice | EndpointKind::Device),
            word => end.kind.as_str() == word,
        }
    }

    /// Formats the pattern exactly. Unlike `Display`, the result may contain any character of a
    /// name.
    pub(super) fn exact(&self) -> String {
        match &self.glob {
            Some(glob) => format!("{}:{glob}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// Returns whether the pattern matches this endpoint. `folded` is the number of endpoints that
    /// it represents.
    pub(crate) fn matches(&self, end: &Endpoint, folded: u64) -> Match {
        if end.kind == EndpointKind::Various {
            return Match::Unknown;
        }
        if !self.matches_kind(end) {
            return Match::No;
        }
        let Some(pattern) = &self.glob else { return Match::Yes };
        let (ports, has_other_ports) = ports_of(end, folded);
        let is_port = |port: &u16| glob::matches(pattern, &format!(":{port}"));
        if pattern == "*" || ports.iter().any(is_port) {
            return Match::Yes;
        }
        // No address begins with a colon (IPv6 ones are in brackets), so such a pattern is for the
        // port alone.
        if pattern.starts_with(':') && end.kind.is_socket() && !ports.is_empty() {
            return if has_other_ports { Match::Unknown } else { Match::No };
        }
        match_end_name(pattern, end, folded)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        match &self.glob {
            Some(glob) => write!(f, ":{}", printable(glob)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, kind: EndpointKind, name: &str, folded: u64) -> Match {
        Pattern::parse(pattern)
            .expect(pattern)
            .matches(&Endpoint::new(kind, name), folded)
    }

    #[test]
    fn matches_kinds_and_groups() {
        for (pattern, kind, fits) in [
            ("file", EndpointKind::File, Match::Yes),
            ("file", EndpointKind::DirectFile, Match::Yes),
            ("direct_file", EndpointKind::File, Match::No),
            ("socket", EndpointKind::Tcp, Match::Yes),
            ("socket", EndpointKind::Unix, Match::Yes),
            ("socket", EndpointKind::Socket, Match::Yes),
            ("socket", EndpointKind::Pipe, Match::No),
            ("tcp", EndpointKind::Udp, Match::No),
            ("device", EndpointKind::BlockDevice, Match::Yes),
            ("device", EndpointKind::Null, Match::No),
            ("memory", EndpointKind::Memory, Match::Yes),
            ("socket", EndpointKind::Various, Match::Unknown),
            ("socket", EndpointKind::Other("vsock".to_owned()), Match::No),
        ] {
            assert_eq!(fit(pattern, kind.clone(), "x", 1), fits, "{pattern} {kind}");
        }
        for bad in ["", "files", "sockets:80", "file:", ":80", "various", "TCP"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn matches_whole_names_and_discarded_names_are_unknown() {
        assert_eq!(fit("file:/data/*", EndpointKind::File, "/data/a", 1), Match::Yes);
        assert_eq!(fit("file:/data/*", EndpointKind::File, "/dat/a", 1), Match::No);
        assert_eq!(fit("file:/data/a", EndpointKind::File, "/data/*", 7), Match::Unknown);
        assert_eq!(fit("file:/data/*/b", EndpointKind::File, "/data/*", 7), Match::Unknown);
        assert_eq!(fit("file:/data/?", EndpointKind::File, "/data/*", 7), Match::Unknown);
        assert_eq!(
            fit("file:/da*", EndpointKind::File, "/data/*", 7),
            Match::Yes,
            "all of them fit"
        );
        assert_eq!(
            fit("file:/etc/*", EndpointKind::File, "/data/*", 7),
            Match::No,
            "none of them can"
        );
        assert_eq!(
            fit("file:/data/a", EndpointKind::File, "/data/*", 1),
            Match::No,
            "a file named `*`"
        );
        assert_eq!(fit("file:/data/a", EndpointKind::File, "", 2), Match::Unknown);
        assert_eq!(fit("file:*", EndpointKind::File, "", 2), Match::Yes);
        assert_eq!(fit("tcp:10.0.0.1:80", EndpointKind::Tcp, "10.0.0.1:80", 1), Match::Yes);
    }

    #[test]
    fn port_of_either_side_matches() {
        let fit = |pattern: &str, end: &Endpoint, folded| Pattern::parse(pattern).unwrap().matches(end, folded);
        // A server's view of a client whose port is lower than the service's.
        let mut end = Endpoint::new(EndpointKind::Tcp, "10.0.0.7:40000");
        (end.port, end.local_port, end.peer_port) = (Some(40_000), Some(50_051), Some(40_000));
        assert_eq!(fit("tcp::50051", &end, 1), Match::Yes);
        assert_eq!(fit("tcp::40000", &end, 1), Match::Yes);
        assert_eq!(fit("tcp:10.0.0.7:40000", &end, 1), Match::Yes);
        assert_eq!(fit("tcp::80", &end, 1), Match::No, "both ports are known");
        let mut service = Endpoint::new(EndpointKind::Tcp, "");
        (service.port, service.local_port) = (Some(80), Some(80));
        assert_eq!(fit("tcp::80", &service, 9), Match::Yes);
        assert_eq!(
            fit("tcp::81", &service, 9),
            Match::Unknown,
            "a client's port was discarded"
        );
        assert_eq!(fit("tcp:*:81", &service, 9), Match::Unknown);
        // Reports of older versions have one port.
        let mut old = Endpoint::new(EndpointKind::Tcp, "10.0.0.7:80");
        old.port = Some(80);
        assert_eq!(fit("tcp::80", &old, 1), Match::Yes);
        assert_eq!(fit("tcp::81", &old, 1), Match::No);
    }

    #[test]
    fn connection_that_was_named_before_it_had_a_peer_may_be_any() {
        for (name, ports) in [
            ("0.0.0.0:0", (Some(0), Some(0), Some(0))),
            ("0.0.0.0:0", (None, None, None)),
            ("[::]:0", (Some(0), Some(40_000), Some(0))),
            ("10.0.0.7:0", (None, Some(40_000), None)),
            ("", (None, None, None)),
        ] {
            let mut end = Endpoint::new(EndpointKind::Tcp, name);
            (end.port, end.local_port, end.peer_port) = ports;
            for pattern in ["tcp::8080", "tcp:10.0.0.7:8080", "socket:*:8080", "tcp:10.*"] {
                let fit = Pattern::parse(pattern).unwrap().matches(&end, 1);
                assert_eq!(fit, Match::Unknown, "{pattern} {end:?}");
            }
            assert_eq!(Pattern::parse("tcp").unwrap().matches(&end, 1), Match::Yes);
            assert_eq!(Pattern::parse("udp::80").unwrap().matches(&end, 1), Match::No);
        }
    }
}

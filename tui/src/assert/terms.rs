//! What a run is judged by: which ends, and how much may be copied on the way to them.

use std::fmt;

use bufferlist::Reason;
use probes::report::text::{count, printable};
use probes::report::{End, EndKind};

use super::glob;

/// How much may be copied, or be unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    /// So many bytes.
    Bytes(u64),
    /// So many parts of a thousand million of the bytes that arrived.
    Share(u64),
}

impl Limit {
    /// What one percent is as a [`Limit::Share`].
    pub(crate) const PER_PERCENT: u64 = 10_000_000;

    /// Whether so many bytes of those that arrived are within the limit. Exact: nothing is rounded.
    pub(crate) fn allows(self, bytes: u128, arrived: u64) -> bool {
        match self {
            Self::Bytes(most) => bytes <= u128::from(most),
            Self::Share(parts) => {
                bytes * u128::from(100 * Self::PER_PERCENT) <= u128::from(arrived) * u128::from(parts)
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bytes(bytes) => write!(f, "{}", bytes_of(u128::from(bytes))),
            Self::Share(parts) => {
                let whole = parts / Self::PER_PERCENT;
                let decimals = format!("{:07}", parts % Self::PER_PERCENT);
                let decimals = decimals.trim_end_matches('0');
                let point = if decimals.is_empty() { "" } else { "." };
                write!(f, "{whole}{point}{decimals} %")
            }
        }
    }
}

/// A number of bytes, exact, for sentences that are compared with a limit: `65 536 bytes`.
pub(crate) fn bytes_of(bytes: u128) -> String {
    match u64::try_from(bytes).unwrap_or(u64::MAX) {
        0 => "0".to_owned(),
        1 => "1 byte".to_owned(),
        more => format!("{} bytes", count(more)),
    }
}

/// Whether an end is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fit {
    /// It is not.
    No,
    /// It may be: it is a row of folded ends whose names were given up.
    Perhaps,
    /// It is.
    Yes,
}

/// `KIND` or `KIND:GLOB`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pattern {
    kind: String,
    glob: Option<String>,
}

impl Pattern {
    /// Words that stand for several kinds.
    const GROUPS: [&'static str; 3] = ["file", "socket", "device"];

    /// Reads one pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, glob) = match text.split_once(':') {
            Some((kind, glob)) => (kind, Some(glob)),
            None => (text, None),
        };
        if glob == Some("") {
            return Err(format!("`{text}` names no end; write `{kind}` or `{kind}:*`"));
        }
        let several = EndKind::Various;
        let known = EndKind::WORDS.iter().filter(|&&word| word != several.as_str());
        if !Self::GROUPS.contains(&kind) && !known.clone().any(|&word| word == kind) {
            let words: Vec<&str> = known.copied().collect();
            return Err(format!("`{kind}` is no kind of end; take one of {}", words.join(", ")));
        }
        Ok(Self {
            kind: kind.to_owned(),
            glob: glob.map(str::to_owned),
        })
    }

    /// Whether it means this end. `folded` is how many ends the end stands for.
    fn fit(&self, end: &End, folded: u64) -> Fit {
        if end.kind == EndKind::Various {
            return Fit::Perhaps;
        }
        let kind = match self.kind.as_str() {
            "file" => end.kind.is_file(),
            "socket" => end.kind.is_socket(),
            "device" => matches!(end.kind, EndKind::BlockDevice | EndKind::Device),
            word => end.kind.as_str() == word,
        };
        if !kind {
            return Fit::No;
        }
        let Some(pattern) = &self.glob else { return Fit::Yes };
        let port = end.port.map(|port| format!(":{port}"));
        if pattern == "*" || port.is_some_and(|port| glob::fits(pattern, &port)) {
            return Fit::Yes;
        }
        // A row of several ends has a name only if all have that one; `*` stands for what differs.
        let given_up = end.name.is_empty() || (folded > 1 && end.name.contains('*'));
        match (given_up, glob::fits(pattern, &end.name)) {
            (true, _) => Fit::Perhaps,
            (false, true) => Fit::Yes,
            (false, false) => Fit::No,
        }
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

/// All that a run is judged by.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Bytes count that arrived at any of these.
    pub(crate) to: Vec<Pattern>,
    /// And that came from any of these; from anywhere if there are none.
    pub(crate) from: Vec<Pattern>,
    /// How much may be copied. If nothing says so, only the baseline judges.
    pub(crate) max_copied: Option<Limit>,
    /// How much may be unknown. If nothing says so, what is unknown may not decide the verdict.
    pub(crate) max_unknown: Option<Limit>,
    /// How many bytes must arrive for there to be something to judge.
    pub(crate) min_bytes: u64,
    /// Copies for these reasons do not count, nor do unknowns.
    pub(crate) allow: Vec<Reason>,
}

impl Terms {
    /// Whether a flow between these two is judged.
    pub(crate) fn fit(&self, from: &End, to: &End, folded: u64) -> Fit {
        let best = |patterns: &[Pattern], end| patterns.iter().map(|pattern| pattern.fit(end, folded)).max();
        let to = best(&self.to, to).unwrap_or(Fit::No);
        let from = best(&self.from, from).unwrap_or(Fit::Yes);
        to.min(from)
    }

    /// `file, socket` or `file, socket from tcp`.
    pub(crate) fn ends(&self) -> String {
        let list = |patterns: &[Pattern]| {
            let words: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            words.join(", ")
        };
        let to = list(&self.to);
        if self.from.is_empty() {
            to
        } else {
            format!("{to} from {}", list(&self.from))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, kind: EndKind, name: &str, folded: u64) -> Fit {
        Pattern::parse(pattern)
            .expect(pattern)
            .fit(&End::new(kind, name), folded)
    }

    #[test]
    fn kinds_are_words_and_groups() {
        for (pattern, kind, fits) in [
            ("file", EndKind::File, Fit::Yes),
            ("file", EndKind::DirectFile, Fit::Yes),
            ("direct_file", EndKind::File, Fit::No),
            ("socket", EndKind::Tcp, Fit::Yes),
            ("socket", EndKind::Unix, Fit::Yes),
            ("socket", EndKind::Socket, Fit::Yes),
            ("socket", EndKind::Pipe, Fit::No),
            ("tcp", EndKind::Udp, Fit::No),
            ("device", EndKind::BlockDevice, Fit::Yes),
            ("device", EndKind::Null, Fit::No),
            ("memory", EndKind::Memory, Fit::Yes),
            ("socket", EndKind::Various, Fit::Perhaps),
            ("socket", EndKind::Other("vsock".to_owned()), Fit::No),
        ] {
            assert_eq!(fit(pattern, kind.clone(), "x", 1), fits, "{pattern} {kind}");
        }
        for bad in ["", "files", "sockets:80", "file:", ":80", "various", "TCP"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_matched_whole_and_a_name_that_was_given_up_may_fit() {
        assert_eq!(fit("file:/data/*", EndKind::File, "/data/a", 1), Fit::Yes);
        assert_eq!(fit("file:/data/*", EndKind::File, "/dat/a", 1), Fit::No);
        assert_eq!(fit("file:/data/a", EndKind::File, "/data/*", 7), Fit::Perhaps);
        assert_eq!(
            fit("file:/data/a", EndKind::File, "/data/*", 1),
            Fit::No,
            "a file named `*`"
        );
        assert_eq!(fit("file:/data/a", EndKind::File, "", 2), Fit::Perhaps);
        assert_eq!(fit("file:*", EndKind::File, "", 2), Fit::Yes);
        assert_eq!(fit("tcp:10.0.0.1:80", EndKind::Tcp, "10.0.0.1:80", 1), Fit::Yes);
        let mut service = End::new(EndKind::Tcp, "");
        service.port = Some(80);
        assert_eq!(Pattern::parse("tcp::80").unwrap().fit(&service, 9), Fit::Yes);
        assert_eq!(Pattern::parse("tcp::81").unwrap().fit(&service, 9), Fit::Perhaps);
    }

    #[test]
    fn limits_are_exact_and_shown_as_they_were_given() {
        let one_percent = Limit::Share(Limit::PER_PERCENT);
        assert!(one_percent.allows(1, 100) && !one_percent.allows(2, 100));
        assert!(!one_percent.allows(1, 99) && one_percent.allows(0, 0) && !one_percent.allows(1, 0));
        assert!(Limit::Share(100 * Limit::PER_PERCENT).allows(u128::from(u64::MAX), u64::MAX));
        assert!(Limit::Bytes(0).allows(0, 0) && !Limit::Bytes(0).allows(1, 10));
        for (limit, shown) in [
            (Limit::Bytes(0), "0"),
            (Limit::Bytes(65_536), "65 536 bytes"),
            (one_percent, "1 %"),
            (Limit::Share(5_000_000), "0.5 %"),
            (Limit::Share(1), "0.0000001 %"),
        ] {
            assert_eq!(limit.to_string(), shown);
        }
    }
}

//! Files that rules name, as the file system knows them.
//!
//! A report names a file as it was when a traced call first used it. A program can write it under
//! that name and give it another afterwards: by rename, link, or the rename of a directory above.
//! So the files of a rule are looked up before CMD starts and after it ended, and an end of a flow
//! matches by its identity too.
//!
//! A thread of its own does this, which keeps the capability to read directories of other users and
//! gives up all others. The rest of zctrace gives that one up too when CMD starts.

mod mounts;
mod node;
mod resolve;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use zctrace_report::{Endpoint, Report};

use self::resolve::Before;
use crate::filter::{Match, Pattern};

/// Files that a pattern matches beside those whose name in the report matches.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Resolved {
    /// Identities that match.
    pub(crate) certain: BTreeSet<String>,
    /// Identities that may match, each with the reason why it is not known.
    pub(crate) possible: BTreeMap<String, String>,
}

/// Files of all patterns, and what the file system says about them.
#[derive(Clone, Default, Debug)]
pub(crate) struct Files {
    /// Files of each pattern.
    pub(crate) of: Vec<(Pattern, Resolved)>,
    /// Sentences about bytes in files of the rule that no traced call delivered.
    pub(crate) unseen_writers: Vec<String>,
}

impl Files {
    /// Returns whether an end is a file that the pattern matches by its identity.
    pub(crate) fn matches(&self, pattern: &Pattern, end: &Endpoint) -> Match {
        let (Some(object), true) = (&end.object, pattern.matches_kind(end)) else {
            return Match::No;
        };
        let of = self.of.iter().filter(|(of, _)| of == pattern);
        let fits = of.map(|(_, files)| {
            if files.certain.contains(object) {
                Match::Yes
            } else if files.possible.contains_key(object) {
                Match::Unknown
            } else {
                Match::No
            }
        });
        fits.max().unwrap_or(Match::No)
    }

    /// Returns why it is not known whether an end belongs to a rule.
    pub(crate) fn why_unknown(&self, end: &Endpoint) -> Option<&str> {
        let object = end.object.as_ref()?;
        let mut whys = self.of.iter().filter_map(|(_, files)| files.possible.get(object));
        whys.next().map(String::as_str)
    }
}

/// A file that a report names, with what traced calls delivered to it.
#[derive(Clone, Default, Debug)]
struct Seen {
    /// Ends of flows, of which the file is one.
    ends: Vec<Endpoint>,
    /// Bytes that traced calls delivered to it, whatever their verdict.
    delivered: u64,
    /// Calls that delivered them.
    calls: u64,
}

/// Thread that looks up the files of rules.
pub(crate) struct Watch {
    ask: Sender<BTreeMap<String, Seen>>,
    answer: Receiver<Files>,
}

impl Watch {
    /// Looks up the files before CMD starts. Returns `None` if no pattern names a path, or if there
    /// can be no thread.
    pub(crate) fn start(to: &[Pattern], from: &[Pattern]) -> Option<Self> {
        let sinks: Vec<Pattern> = to.iter().filter(|pattern| names_path(pattern)).cloned().collect();
        let sources: Vec<Pattern> = from.iter().filter(|pattern| names_path(pattern)).cloned().collect();
        if sinks.is_empty() && sources.is_empty() {
            return None;
        }
        let (ask, asked) = channel();
        let (tell, answer) = channel();
        let (tell_ready, ready) = channel();
        let look = move || {
            keep_only_reading();
            let before = Before::look(&sinks, &sources);
            let _ = tell_ready.send(());
            if let Ok(seen) = asked.recv() {
                let _ = tell.send(before.resolve(&seen));
            }
        };
        std::thread::Builder::new().name("files".to_owned()).spawn(look).ok()?;
        ready.recv().ok()?;
        Some(Self { ask, answer })
    }

    /// Looks up the files after CMD ended, for the ends that a report has.
    pub(crate) fn resolve(self, report: &Report) -> Option<Files> {
        self.ask.send(seen_files(report)).ok()?;
        self.answer.recv().ok()
    }
}

/// Returns whether a pattern is for paths of files, and not for all files.
fn names_path(pattern: &Pattern) -> bool {
    let is_path = |glob: &str| glob != "*" && glob.starts_with(['/', '*', '?']);
    pattern.is_file() && pattern.glob().is_some_and(is_path)
}

/// Gives up every capability of this thread but the one to read directories and files.
fn keep_only_reading() {
    let Ok(have) = capabilities(None) else { return };
    let kept = have.permitted & CapabilitySet::DAC_READ_SEARCH;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    let _ = set_capabilities(None, sets);
    let _ = set_no_new_privs(true);
}

/// Collects the files of a report by their identity.
fn seen_files(report: &Report) -> BTreeMap<String, Seen> {
    let mut files: BTreeMap<String, Seen> = BTreeMap::new();
    let mut add = |end: &Endpoint, delivered: u64, calls: u64| {
        let Some(object) = end.object.as_ref().filter(|_| end.kind.is_file()) else {
            return;
        };
        let file = files.entry(object.clone()).or_default();
        file.delivered = file.delivered.saturating_add(delivered);
        file.calls = file.calls.saturating_add(calls);
        if !file.ends.contains(end) {
            file.ends.push(end.clone());
        }
    };
    for flow in &report.flows {
        add(&flow.from, 0, 0);
        add(&flow.to, flow.payload, flow.calls);
    }
    for end in report
        .coverage
        .not_covered
        .iter()
        .filter_map(|row| row.endpoint.as_ref())
    {
        add(end, 0, 0);
    }
    files
}

#[cfg(test)]
mod tests;

//! Copy statistics, grouped by reason and call site.
//!
//! A list shares its statistics with every list that was cloned or split from it.

use crate::journal::Caller;
use crate::reason::Reason;
use std::collections::HashSet;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Copies of one operation.
#[derive(Debug)]
pub(crate) struct Copies {
    /// The operation's caller.
    pub(crate) caller: Caller,
    /// Bytes by reason. An operation has one or two reasons.
    by_reason: Vec<(Reason, u64)>,
}

impl Copies {
    pub(crate) fn of(caller: Caller) -> Self {
        Self {
            caller,
            by_reason: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, reason: Reason, bytes: u64) {
        if bytes == 0 {
            return;
        }
        match self.by_reason.iter_mut().find(|entry| entry.0 == reason) {
            Some(entry) => entry.1 += bytes,
            None => self.by_reason.push((reason, bytes)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_reason.is_empty()
    }

    /// Returns the number of bytes copied.
    pub(crate) fn bytes(&self) -> u64 {
        self.by_reason.iter().map(|entry| entry.1).sum()
    }

    /// Returns the reason that was added first.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.by_reason.first().map(|entry| entry.0)
    }
}

/// Copies with one reason at one call site.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Reason for the copies.
    pub reason: Reason,
    /// Call site in the program that uses this library.
    pub call_site: &'static Location<'static>,
    /// Number of calls that copied.
    pub calls: u64,
    /// Number of bytes copied.
    pub bytes: u64,
}

/// Copy statistics that a list shares with its clones and parts.
#[derive(Debug, Default)]
struct CopyStats {
    own: Vec<Count>,
    /// Statistics of lists that were appended. Lists that still share them keep adding to them.
    linked: Vec<SharedStats>,
}

/// Length of [`CopyStats::linked`] from which statistics without another holder are merged.
const PRUNE_THRESHOLD: usize = 64;

impl CopyStats {
    fn add_all(&mut self, counts: Vec<Count>) {
        for count in counts {
            add(&mut self.own, count);
        }
    }

    /// Links the statistics of an appended list.
    ///
    /// Linked statistics that no other list can add to are merged into `own`. A list to which other
    /// lists are appended without end therefore holds no more links than there are live statistics.
    fn link(&mut self, other: &SharedStats) {
        if self.linked.iter().any(|known| known.is_same(other)) {
            return;
        }
        self.linked.push(other.clone());
        if self.linked.len() >= PRUNE_THRESHOLD && self.linked.len().is_power_of_two() {
            let (alive, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.linked)
                .into_iter()
                .partition(|stats| Arc::strong_count(&stats.0) > 1 || !stats.lock().linked.is_empty());
            self.linked = alive;
            for stats in ended {
                let counts = std::mem::take(&mut stats.lock().own);
                self.add_all(counts);
            }
        }
    }
}

/// Reference to statistics that several lists share.
#[derive(Clone, Debug, Default)]
struct SharedStats(Arc<Mutex<CopyStats>>);

impl SharedStats {
    fn lock(&self) -> MutexGuard<'_, CopyStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns these statistics and all that are reachable through links, each once. Locks one at a
    /// time.
    fn reachable(&self) -> Vec<Self> {
        let mut found = vec![self.clone()];
        let mut visited = HashSet::from([Arc::as_ptr(&self.0)]);
        let mut next = 0;
        while next < found.len() {
            let before = found[next].lock().linked.clone();
            found.extend(before.into_iter().filter(|stats| visited.insert(Arc::as_ptr(&stats.0))));
            next += 1;
        }
        found
    }
}

fn add(counts: &mut Vec<Count>, new: Count) {
    match counts
        .iter_mut()
        .find(|count| count.reason == new.reason && count.call_site == new.call_site)
    {
        Some(count) => {
            count.calls += new.calls;
            count.bytes += new.bytes;
        }
        None => counts.push(new),
    }
}

/// Statistics of one list, allocated at the first copy or when the list is first shared.
#[derive(Debug, Default)]
pub(crate) struct Counter(OnceLock<SharedStats>);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn stats(&self) -> &SharedStats {
        self.0.get_or_init(SharedStats::default)
    }

    /// Records the copies of one operation.
    pub(crate) fn record(&self, copies: &Copies) {
        if copies.is_empty() {
            return;
        }
        let mut stats = self.stats().lock();
        for &(reason, bytes) in &copies.by_reason {
            add(
                &mut stats.own,
                Count {
                    reason,
                    call_site: copies.caller.at,
                    calls: 1,
                    bytes,
                },
            );
        }
    }

    /// Returns a counter for a clone or a part of the list, with the same statistics.
    pub(crate) fn share(&self) -> Self {
        Self(OnceLock::from(self.stats().clone()))
    }

    /// Adds the statistics of another list, which was appended to this one.
    pub(crate) fn append(&self, other: &Self) {
        let Some(other_stats) = other.0.get() else { return };
        if self.0.get().is_some_and(|own_stats| own_stats.is_same(other_stats)) {
            return;
        }
        if Arc::strong_count(&other_stats.0) == 1 {
            let mut stats = other_stats.lock();
            if stats.own.is_empty() && stats.linked.is_empty() {
                return;
            }
            if stats.linked.is_empty() {
                // No other list can add to these statistics, so their numbers suffice and no link
                // is needed.
                let counts = std::mem::take(&mut stats.own);
                drop(stats);
                self.stats().lock().add_all(counts);
                return;
            }
        }
        // A link to statistics that lead back to these would form a cycle, which is never freed.
        if self
            .0
            .get()
            .is_some_and(|own_stats| other_stats.reachable().iter().any(|known| known.is_same(own_stats)))
        {
            self.merge_missing(other_stats);
            return;
        }
        self.stats().lock().link(other_stats);
    }

    /// Merges the numbers of those reachable statistics that are not reachable from here. Used
    /// where a link would form a cycle.
    fn merge_missing(&self, other_stats: &SharedStats) {
        let own_stats = self.stats();
        let known = own_stats.reachable();
        let missing: Vec<Count> = other_stats
            .reachable()
            .into_iter()
            .filter(|stats| !known.iter().any(|known| known.is_same(stats)))
            .flat_map(|stats| stats.lock().own.clone())
            .collect();
        own_stats.lock().add_all(missing);
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Vec::new();
        for stats in self.0.get().map(SharedStats::reachable).unwrap_or_default() {
            for &count in &stats.lock().own {
                add(&mut counts, count);
            }
        }
        counts.sort_by_key(|count| std::cmp::Reverse(count.bytes));
        Counts(counts)
    }
}

/// Copies that this library made for one list and every list cloned or split from it, largest
/// first.
///
/// Counts belong to lists, not to the process, so that tests which run in parallel do not disturb
/// each other. Copies by the *kernel*, below a splice that it accepted, are not included: receipts
/// and zctrace report them.
///
/// ```
/// use bufferlist::{BufferList, Source};
/// use std::io::Write;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(&[7; 8192])?;
/// let mut list = BufferList::new();
/// list.splice_from(&mut Source::file(&file, ..)?, 8192)?;
/// list.counts().assert_no_copies();                       // no peek yet
///
/// list.peek(..16)?;
/// let counts = list.counts();
/// let peek = counts.iter().next().unwrap();
/// assert_eq!((peek.reason.code(), peek.bytes), ("ZC31", 16));
/// assert_eq!(peek.call_site.file(), file!());
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Counts(Vec<Count>);

impl Counts {
    /// Returns an iterator over all reasons and call sites, largest first.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::new().counts().iter().count(), 0);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &Count> {
        self.0.iter()
    }

    /// Returns the number of bytes copied. A byte that was copied twice counts twice.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::new().counts().copied(), 0);
    /// ```
    pub fn copied(&self) -> u64 {
        self.0.iter().map(|count| count.bytes).sum()
    }

    /// Returns the number of bytes copied for one reason.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Reason};
    /// assert_eq!(BufferList::new().counts().of(Reason::Peeked), 0);
    /// ```
    pub fn of(&self, reason: Reason) -> u64 {
        self.0
            .iter()
            .filter(|count| count.reason == reason)
            .map(|count| count.bytes)
            .sum()
    }

    /// Returns the call sites that peeked, with the number of bytes each.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// for (line, bytes) in BufferList::new().counts().peeks() {
    ///     println!("{line}: {bytes} bytes");
    /// }
    /// ```
    pub fn peeks(&self) -> impl Iterator<Item = (&'static Location<'static>, u64)> + '_ {
        self.0
            .iter()
            .filter(|count| count.reason == Reason::Peeked)
            .map(|count| (count.call_site, count.bytes))
    }

    /// Asserts that no byte was copied, for tests.
    ///
    /// # Panics
    ///
    /// Panics if any byte was copied. The message lists every call site that copied.
    ///
    /// ```should_panic
    /// # use bufferlist::{BufferList, Sink};
    /// let mut list = BufferList::from("from memory");
    /// let sink = tempfile::tempfile().unwrap();
    /// list.splice_to(&mut Sink::file(&sink, 0).unwrap()).unwrap();
    /// list.counts().assert_no_copies(); // memory that is written is copied
    /// ```
    #[track_caller]
    pub fn assert_no_copies(&self) {
        self.assert_copied_at_most(0);
    }

    /// Asserts that at most `bytes` bytes were copied, for tests. Headers sent from memory always
    /// are.
    ///
    /// # Panics
    ///
    /// Panics if more was copied. The message lists every call site that copied.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Sink};
    /// let mut list = BufferList::from("header");
    /// let sink = tempfile::tempfile()?;
    /// list.splice_to(&mut Sink::file(&sink, 0)?)?;
    /// list.counts().assert_copied_at_most(64);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn assert_copied_at_most(&self, bytes: u64) {
        assert!(
            self.copied() <= bytes,
            "{} bytes were copied; the limit is {bytes}\n{self}",
            self.copied()
        );
    }
}

/// Formats one line for each reason and call site, for the message of a failed test.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Count {
            reason,
            call_site: at,
            calls,
            bytes,
        } in &self.0
        {
            let plural = |number: u64| if number == 1 { "" } else { "s" };
            writeln!(
                f,
                "  {reason}  {bytes} byte{} in {calls} call{} at {at}\n        {}",
                plural(*bytes),
                plural(*calls),
                reason.description()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::ApiCall;

    fn copy(counter: &Counter, bytes: u64) {
        let mut copies = Copies::of(Caller::of(ApiCall::Peek));
        copies.add(Reason::Peeked, bytes);
        counter.record(&copies);
    }

    #[test]
    fn clones_share_statistics() {
        let list = Counter::new();
        let clone = list.share();
        copy(&clone, 5);
        assert_eq!(list.counts().copied(), 5);
    }

    #[test]
    fn appended_statistics_count_once() {
        let list = Counter::new();
        let part = list.share();
        copy(&part, 5);
        let third = Counter::new();
        copy(&third, 1);
        third.append(&part);
        list.append(&third);
        assert_eq!(list.counts().copied(), 6, "five are ours already");
        list.append(&part);
        assert_eq!(list.counts().copied(), 6);
        copy(&part, 10);
        assert_eq!(list.counts().copied(), 16, "what the part does later is still ours");
    }

    #[test]
    fn appending_many_lists_keeps_statistics_small() {
        let list = Counter::new();
        for _ in 0..1000 {
            let other = Counter::new();
            copy(&other, 1);
            list.append(&other);
        }
        let counts = list.counts();
        assert_eq!((counts.copied(), counts.iter().count()), (1000, 1));
        assert!(list.stats().lock().linked.is_empty());
    }
}

//! Copies by cause and by the line that caused them: one story for a list and all that was cloned or split from it.

use crate::journal::Caller;
use crate::reason::Reason;
use std::collections::HashSet;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The copies of one operation.
#[derive(Debug)]
pub(crate) struct Copies {
    /// Who asked for it.
    pub(crate) caller: Caller,
    /// Reason, bytes. An operation has one or two.
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
        match self.by_reason.iter_mut().find(|found| found.0 == reason) {
            Some(found) => found.1 += bytes,
            None => self.by_reason.push((reason, bytes)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_reason.is_empty()
    }

    /// All the bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.by_reason.iter().map(|found| found.1).sum()
    }

    /// The first reason there was.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.by_reason.first().map(|found| found.0)
    }
}

/// Copies of one cause at one line.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Why.
    pub reason: Reason,
    /// The line that called: of your program, not of this library.
    pub call_site: &'static Location<'static>,
    /// How often.
    pub calls: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What a list shares with its clones and parts.
#[derive(Debug, Default)]
struct CopyStats {
    own: Vec<Count>,
    /// The stories of lists that were appended: they go on for those who still hold them.
    linked: Vec<SharedStats>,
}

/// A story looks for stories that only it holds any more when it has been linked to so many.
const PRUNE_THRESHOLD: usize = 64;

impl CopyStats {
    fn add_all(&mut self, counts: Vec<Count>) {
        for count in counts {
            add(&mut self.own, count);
        }
    }

    /// Makes another story part of this one. Those that nobody else can go on with become numbers, so that a list to which
    /// others are appended for ever holds as many stories as are alive.
    fn link(&mut self, other: &SharedStats) {
        if self.linked.iter().any(|known| known.is_same(other)) {
            return;
        }
        self.linked.push(other.clone());
        if self.linked.len() >= PRUNE_THRESHOLD && self.linked.len().is_power_of_two() {
            let (alive, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.linked)
                .into_iter()
                .partition(|story| Arc::strong_count(&story.0) > 1 || !story.lock().linked.is_empty());
            self.linked = alive;
            for story in ended {
                let counts = std::mem::take(&mut story.lock().own);
                self.add_all(counts);
            }
        }
    }
}

/// A story in several hands.
#[derive(Clone, Debug, Default)]
struct SharedStats(Arc<Mutex<CopyStats>>);

impl SharedStats {
    fn lock(&self) -> MutexGuard<'_, CopyStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// All the stories that lead to this one, each once. Stories are visited without holding two locks.
    fn reachable(&self) -> Vec<Self> {
        let mut found = vec![self.clone()];
        let mut seen = HashSet::from([Arc::as_ptr(&self.0)]);
        let mut next = 0;
        while next < found.len() {
            let before = found[next].lock().linked.clone();
            found.extend(before.into_iter().filter(|story| seen.insert(Arc::as_ptr(&story.0))));
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

/// The story of one list, which begins when there is something to tell, or somebody to share it with.
#[derive(Debug, Default)]
pub(crate) struct Counter(OnceLock<SharedStats>);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn stats(&self) -> &SharedStats {
        self.0.get_or_init(SharedStats::default)
    }

    /// Writes the copies of one operation down.
    pub(crate) fn record(&self, copies: &Copies) {
        if copies.is_empty() {
            return;
        }
        let mut story = self.stats().lock();
        for &(reason, bytes) in &copies.by_reason {
            add(
                &mut story.own,
                Count {
                    reason,
                    call_site: copies.caller.at,
                    calls: 1,
                    bytes,
                },
            );
        }
    }

    /// For a clone or a part of the list: the same story.
    pub(crate) fn share(&self) -> Self {
        Self(OnceLock::from(self.stats().clone()))
    }

    /// The other list was appended to this one. Its story is part of ours from now on.
    pub(crate) fn append(&self, other: &Self) {
        let Some(theirs) = other.0.get() else { return };
        if self.0.get().is_some_and(|ours| ours.is_same(theirs)) {
            return;
        }
        if Arc::strong_count(&theirs.0) == 1 {
            let mut story = theirs.lock();
            if story.own.is_empty() && story.linked.is_empty() {
                return;
            }
            if story.linked.is_empty() {
                // Nobody else can go on with it: its numbers are enough, and the chain stays short.
                let counts = std::mem::take(&mut story.own);
                drop(story);
                self.stats().lock().add_all(counts);
                return;
            }
        }
        // A story that we lead to is not linked: that would make a loop, which is never freed.
        if self
            .0
            .get()
            .is_some_and(|ours| theirs.reachable().iter().any(|known| known.is_same(ours)))
        {
            self.merge_missing(theirs);
            return;
        }
        self.stats().lock().link(theirs);
    }

    /// Where linking would make a loop: takes over the numbers of those stories that we do not have.
    fn merge_missing(&self, theirs: &SharedStats) {
        let ours = self.stats();
        let known = ours.reachable();
        let missing: Vec<Count> = theirs
            .reachable()
            .into_iter()
            .filter(|story| !known.iter().any(|known| known.is_same(story)))
            .flat_map(|story| story.lock().own.clone())
            .collect();
        ours.lock().add_all(missing);
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Vec::new();
        for story in self.0.get().map(SharedStats::reachable).unwrap_or_default() {
            for &count in &story.lock().own {
                add(&mut counts, count);
            }
        }
        counts.sort_by_key(|count| std::cmp::Reverse(count.bytes));
        Counts(counts)
    }
}

/// The copies that this library made for one list and all that was cloned or split from it, largest first.
///
/// Counts belong to lists, not to the process, so tests that run in parallel do not disturb each other. What the
/// *kernel* copies, below a splice that it accepted, is not seen here: receipts and zctrace tell of it.
///
/// ```
/// use bufferlist::{BufferList, Source};
/// use std::io::Write;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(&[7; 8192])?;
/// let mut list = BufferList::new();
/// list.splice_from(&mut Source::file(&file, ..)?, 8192)?;
/// list.counts().assert_no_copies();                       // nobody has looked yet
///
/// list.peek(..16)?;
/// let counts = list.counts();
/// let look = counts.iter().next().unwrap();
/// assert_eq!((look.reason.code(), look.bytes), ("ZC31", 16));
/// assert_eq!(look.call_site.file(), file!());
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Counts(Vec<Count>);

impl Counts {
    /// Each cause and line, largest first.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::new().counts().iter().count(), 0);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &Count> {
        self.0.iter()
    }

    /// All bytes that were copied. A byte that was copied twice counts twice.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::new().counts().copied(), 0);
    /// ```
    pub fn copied(&self) -> u64 {
        self.0.iter().map(|count| count.bytes).sum()
    }

    /// The bytes that were copied for one reason.
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

    /// The lines that looked, and at how many bytes.
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

    /// For tests: panics with every line that copied, if any did.
    ///
    /// # Panics
    ///
    /// If anything was copied.
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

    /// For tests: panics with every line that copied, if more than `bytes` were copied. Headers from memory always are.
    ///
    /// # Panics
    ///
    /// If more was copied.
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

/// One cause and line each: what a failed test shows.
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

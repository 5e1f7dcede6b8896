//! One case: a scenario under a plan of faults, and the invariants that must hold at its end.

use crate::case::{Case, Done};
use crate::fixtures::Fixtures;
use bufferlist::fault::{self, CallLog, Plan};
use bufferlist::{Call, Counts, Reason};
use std::collections::BTreeSet;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, OnceLock};

/// Bytes copied, by reason.
type ReasonSums = Vec<(Reason, u64)>;

/// A scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) work: fn(&mut Case<'_>) -> Done,
    /// A call that always returns short cannot succeed: an endpoint accepts whole blocks only, or
    /// small ones fill it.
    pub(crate) needs_whole_calls: bool,
    /// Copies that are made without any fault.
    ordinary: OnceLock<ReasonSums>,
}

/// Mode in which a case is run.
#[derive(Clone, Debug)]
pub(crate) struct RunMode {
    pub(crate) plan: Plan,
    pub(crate) inspects: bool,
    pub(crate) may_give_up: bool,
}

impl Scenario {
    pub(crate) fn new(name: &'static str, work: fn(&mut Case<'_>) -> Done) -> Self {
        Self {
            name,
            work,
            needs_whole_calls: false,
            ordinary: OnceLock::new(),
        }
    }

    pub(crate) fn needs_whole_calls(mut self) -> Self {
        self.needs_whole_calls = true;
        self
    }

    /// Calls that the scenario makes without any fault.
    pub(crate) fn record_calls(&self, fixtures: &Fixtures) -> Vec<(Call, usize)> {
        let untouched = RunMode {
            plan: Plan::default(),
            inspects: false,
            may_give_up: false,
        };
        // The first run opens the descriptors that stay open.
        warm_up(self, fixtures);
        let (record, counts) = self.run(&untouched, fixtures);
        let _ = self.ordinary.set(sum_by_reason(&counts));
        record.calls
    }

    /// Returns whether the scenario copies for this reason without any fault.
    pub(crate) fn copies(&self, reason: Reason) -> bool {
        self.ordinary
            .get()
            .is_some_and(|sum_by_reason| sum_by_reason.iter().any(|sum| sum.0 == reason))
    }

    /// Runs one case and checks every invariant; panics if one is violated. Returns the faults that
    /// were hit and the bytes that were copied.
    fn run(&self, mode: &RunMode, fixtures: &Fixtures) -> (CallLog, Vec<Counts>) {
        let before = open_files();
        let mut case = Case::new(fixtures, mode.inspects, mode.may_give_up);
        let (result, record) = fault::with_plan(mode.plan.clone(), || (self.work)(&mut case));
        let finished = result.is_ok();

        for receipt in &case.receipts {
            let parts = receipt.moved() + receipt.copied() + receipt.unknown();
            assert_eq!(parts, receipt.total(), "{receipt:?}");
        }
        // A peek by the test itself is a copy, too.
        if finished && !mode.inspects {
            self.copies_are_explicable(&case, record.hits);
        }
        pool_is_clean(&case, &before);
        case.pool.clear();
        let counts = std::mem::take(&mut case.counts);
        drop(case);
        assert_eq!(open_files(), before, "descriptors were leaked");
        (record, counts)
    }

    /// If no fault was hit, only the usual copies may be made. For any one reason, no byte may be
    /// copied more than twice: once out of a pipe that others share, once on its way to the sink.
    fn copies_are_explicable(&self, case: &Case<'_>, hits: usize) {
        let Some(ordinary) = self.ordinary.get() else { return };
        for (reason, bytes) in sum_by_reason(&case.counts) {
            let usual = ordinary.iter().find(|sum| sum.0 == reason).map_or(0, |sum| sum.1);
            let most = if hits == 0 { usual } else { usual + 2 * case.volume };
            assert!(
                bytes <= most,
                "{bytes} bytes were copied for {reason:?}; at most {most} can be"
            );
        }
    }
}

/// Runs it once without checking descriptors.
fn warm_up(scenario: &Scenario, fixtures: &Fixtures) {
    let mut case = Case::new(fixtures, false, false);
    assert!((scenario.work)(&mut case).is_ok());
    for receipt in &case.receipts {
        // Queries the oracle, which caches its results.
        assert!(receipt.moved() <= receipt.total());
    }
}

fn sum_by_reason(counts: &[Counts]) -> ReasonSums {
    let mut sum_by_reason = ReasonSums::new();
    for count in counts.iter().flat_map(Counts::iter) {
        match sum_by_reason.iter_mut().find(|sum| sum.0 == count.reason) {
            Some(sum) => sum.1 += count.bytes,
            None => sum_by_reason.push((count.reason, count.bytes)),
        }
    }
    sum_by_reason
}

/// Returns the numbers of the open descriptors.
pub(crate) fn open_files() -> BTreeSet<u32> {
    let listing = std::fs::read_dir("/proc/self/fd").expect("list descriptors");
    let mut numbers: BTreeSet<u32> = listing
        .map(|entry| entry.expect("descriptor").file_name())
        .map(|name| name.to_string_lossy().parse().expect("number"))
        .collect();
    // The listing itself was one of them, and is closed now.
    numbers.retain(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok());
    numbers
}

/// Checks that all pipes are back in the pool or closed, and that those in the pool are empty
/// according to the kernel, not the pool.
fn pool_is_clean(case: &Case<'_>, before: &BTreeSet<u32>) {
    let stats = case.pool.stats();
    assert_eq!((stats.in_use, stats.mismatched), (0, 0), "{stats:?}");
    let pooled: Vec<u32> = open_files().difference(before).copied().collect();
    assert_eq!(pooled.len(), 2 * stats.idle, "{stats:?}");
    for number in pooled {
        let path = format!("/proc/self/fd/{number}");
        let target = std::fs::read_link(&path).expect("descriptor");
        let target = target.to_string_lossy();
        assert!(target.starts_with("pipe:"), "{target} is left open");
        let pipe = File::open(&path).expect("open a pooled pipe");
        assert_eq!(
            rustix::io::ioctl_fionread(&pipe).expect("FIONREAD"),
            0,
            "a dirty pipe was pooled"
        );
    }
}

/// Panics since the last query, with their locations. A static, because another thread peeks at
/// lists.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects panics instead of printing them: there may be thousands with one cause.
pub(crate) fn collect_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANICS.lock().expect("panics").push(info.to_string());
    }));
}

/// Restores the default printing of panics.
pub(crate) fn print_panics() {
    let _ = std::panic::take_hook();
}

/// Runs a case and returns the violated invariant, if any.
pub(crate) fn attempt(scenario: &Scenario, mode: &RunMode, fixtures: &Fixtures) -> Result<CallLog, String> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| scenario.run(mode, fixtures).0));
    result.map_err(|_| {
        let panics = std::mem::take(&mut *PANICS.lock().expect("panics"));
        format!("{}: {mode:?}:\n  {}", scenario.name, panics.join("\n  "))
    })
}

//! One case: a scenario under a plan of faults, and what must hold when it is over.

use crate::case::{Case, Done};
use crate::fixtures::Fixtures;
use bufferlist::fault::{self, CallLog, Plan};
use bufferlist::{Call, Counts, Reason};
use std::collections::BTreeSet;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, OnceLock};

/// Bytes copied, by reason.
type Sums = Vec<(Reason, u64)>;

/// What is done in each case.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) work: fn(&mut Case<'_>) -> Done,
    /// A call that is cut short for ever cannot succeed: an end takes whole blocks only, or small ones fill it.
    pub(crate) needs_whole_calls: bool,
    /// What is copied when nothing fails.
    ordinary: OnceLock<Sums>,
}

/// How a case is run.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
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

    /// The calls that it makes when nothing fails.
    pub(crate) fn learn(&self, fixtures: &Fixtures) -> Vec<(Call, usize)> {
        let untouched = Manner {
            plan: Plan::default(),
            inspects: false,
            may_give_up: false,
        };
        // The first run opens what stays open, whatever that is.
        warm(self, fixtures);
        let (record, counts) = self.run(&untouched, fixtures);
        let _ = self.ordinary.set(sums(&counts));
        record.calls
    }

    /// Whether something is copied for this reason when nothing fails.
    pub(crate) fn copies(&self, reason: Reason) -> bool {
        self.ordinary
            .get()
            .is_some_and(|sums| sums.iter().any(|sum| sum.0 == reason))
    }

    /// Runs one case and checks everything; panics if anything is wrong. Says what was hit, and what was copied.
    fn run(&self, manner: &Manner, fixtures: &Fixtures) -> (CallLog, Vec<Counts>) {
        let before = open_files();
        let mut case = Case::new(fixtures, manner.inspects, manner.may_give_up);
        let (result, record) = fault::with_plan(manner.plan.clone(), || (self.work)(&mut case));
        let finished = result.is_ok();

        for receipt in &case.receipts {
            let parts = receipt.moved() + receipt.copied() + receipt.unknown();
            assert_eq!(parts, receipt.total(), "{receipt:?}");
        }
        // A look of the test's own is a copy, too.
        if finished && !manner.inspects {
            self.copies_are_explicable(&case, record.hits);
        }
        pool_is_clean(&case, &before);
        case.pool.clear();
        let counts = std::mem::take(&mut case.counts);
        drop(case);
        assert_eq!(open_files(), before, "descriptors were leaked");
        (record, counts)
    }

    /// Nothing but what is ordinary may be copied if nothing was hit; and no byte more than twice for any one reason:
    /// once out of a pipe that others hold as well, once on its way to the sink.
    fn copies_are_explicable(&self, case: &Case<'_>, hits: usize) {
        let Some(ordinary) = self.ordinary.get() else { return };
        for (reason, bytes) in sums(&case.counts) {
            let usual = ordinary.iter().find(|sum| sum.0 == reason).map_or(0, |sum| sum.1);
            let most = if hits == 0 { usual } else { usual + 2 * case.volume };
            assert!(
                bytes <= most,
                "{bytes} bytes were copied for {reason:?}; at most {most} can be"
            );
        }
    }
}

/// Runs it once without any check of descriptors.
fn warm(scenario: &Scenario, fixtures: &Fixtures) {
    let mut case = Case::new(fixtures, false, false);
    assert!((scenario.work)(&mut case).is_ok());
    for receipt in &case.receipts {
        // Asks the oracle, which keeps what it finds.
        assert!(receipt.moved() <= receipt.total());
    }
}

fn sums(counts: &[Counts]) -> Sums {
    let mut sums = Sums::new();
    for count in counts.iter().flat_map(Counts::iter) {
        match sums.iter_mut().find(|sum| sum.0 == count.reason) {
            Some(sum) => sum.1 += count.bytes,
            None => sums.push((count.reason, count.bytes)),
        }
    }
    sums
}

/// The numbers of the open descriptors.
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

/// All pipes are back in the pool, or closed, and those in the pool are empty: asked of the kernel, not of the pool.
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

/// What panicked since it was last asked, and where. In a static, since a look at a list is made by another thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects panics instead of printing each: there may be thousands of one cause.
pub(crate) fn collect_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANICS.lock().expect("panics").push(info.to_string());
    }));
}

/// Prints panics again, as is usual.
pub(crate) fn print_panics() {
    let _ = std::panic::take_hook();
}

/// Runs a case and tells what is wrong with it, if anything.
pub(crate) fn attempt(scenario: &Scenario, manner: &Manner, fixtures: &Fixtures) -> Result<CallLog, String> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| scenario.run(manner, fixtures).0));
    result.map_err(|_| {
        let panics = std::mem::take(&mut *PANICS.lock().expect("panics"));
        format!("{}: {manner:?}:\n  {}", scenario.name, panics.join("\n  "))
    })
}

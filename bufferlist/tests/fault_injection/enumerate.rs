//! The faults that are visited.

use crate::fixtures::Fixtures;
use crate::harness::{RunMode, Scenario, attempt, collect_panics, print_panics};
use crate::{scenarios, sharing};
use bufferlist::Call;
use bufferlist::fault::{Fault, Plan};
use rustix::io::Errno;
use std::time::Instant;

/// Maximum number of failed cases shown per scenario.
const MOST_SHOWN: usize = 3;

/// Number of cases.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) cases: u64,
    hit: u64,
    broken: Vec<String>,
    broken_count: u64,
}

impl Totals {
    fn add(&mut self, scenario: &Scenario, mode: &RunMode, fixtures: &Fixtures) {
        self.cases += 1;
        match attempt(scenario, mode, fixtures) {
            Ok(record) => self.hit += u64::from(record.hits > 0),
            Err(what) => {
                self.broken_count += 1;
                let shown = self.broken.iter().filter(|shown| shown.starts_with(scenario.name));
                if shown.count() < MOST_SHOWN {
                    self.broken.push(what);
                }
            }
        }
    }

    pub(crate) fn report(&self) {
        println!("fault injection: {} cases, {} of them hit", self.cases, self.hit);
        assert!(
            self.broken.is_empty(),
            "{} cases are broken, the first of them:\n{}",
            self.broken_count,
            self.broken.join("\n")
        );
    }
}

/// Pairs of faults that are visited, besides all single faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pairs {
    /// All pairs.
    All,
    /// Pairs in which the second fault hits a call that follows the first: the fallback path.
    Near,
}

const fn refused(errno: Errno) -> Fault {
    Fault::Error(errno.raw_os_error())
}

/// Returns the ways in which a call can fail or return short.
fn faults(call: Call) -> Vec<Fault> {
    let errnos: &[Errno] = match call {
        Call::Splice | Call::Tee | Call::Vmsplice | Call::Sendfile => &[
            Errno::INTR,
            Errno::AGAIN,
            Errno::PERM,
            Errno::INVAL,
            Errno::PIPE,
            Errno::NOSPC,
            Errno::IO,
            Errno::NOSYS,
            Errno::OPNOTSUPP,
            Errno::NOMEM,
        ],
        Call::Read | Call::Pread | Call::Write | Call::Pwrite | Call::Send => &[
            Errno::INTR,
            Errno::AGAIN,
            Errno::PERM,
            Errno::INVAL,
            Errno::PIPE,
            Errno::NOSPC,
            Errno::IO,
            Errno::NOMEM,
        ],
        Call::Pipe | Call::Open | Call::Memfd => &[
            Errno::INTR,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::PERM,
            Errno::NOSYS,
        ],
        _ => &[Errno::INTR, Errno::PERM, Errno::INVAL, Errno::NOMEM, Errno::IO],
    };
    let mut faults: Vec<_> = errnos.iter().copied().map(refused).collect();
    if moves_bytes(call) {
        faults.extend([Fault::OneByte, Fault::AllButOne, Fault::Half]);
    }
    faults
}

fn moves_bytes(call: Call) -> bool {
    matches!(
        call,
        Call::Splice
            | Call::Tee
            | Call::Vmsplice
            | Call::Sendfile
            | Call::Read
            | Call::Pread
            | Call::Write
            | Call::Pwrite
            | Call::Send
    )
}

/// Returns whether a fault can be the first of a pair: it makes the library fall back, or stop.
const FIRST: [Fault; 5] = [
    refused(Errno::INVAL),
    refused(Errno::PERM),
    refused(Errno::MFILE),
    Fault::OneByte,
    Fault::Half,
];

/// Returns whether a fault can be the second of a pair, on the fallback path.
const SECOND: [Fault; 5] = [
    refused(Errno::INVAL),
    refused(Errno::IO),
    refused(Errno::AGAIN),
    refused(Errno::MFILE),
    Fault::OneByte,
];

/// Returns whether a persistent fault can make success impossible.
fn is_final(scenario: &Scenario, call: Call, fault: Fault) -> bool {
    let Fault::Error(errno) = fault else {
        return scenario.needs_whole_calls;
    };
    match (call, Errno::from_raw_os_error(errno)) {
        // Forbidden or impossible: bytes go through memory instead. But a direct file returns
        // EINVAL for misaligned requests, and no other path avoids that. Every other error is
        // returned to the caller.
        (call @ (Call::Splice | Call::Sendfile), errno) => {
            let goes_otherwise = matches!(errno, Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP);
            !goes_otherwise || (call == Call::Splice && errno == Errno::INVAL && scenario.needs_whole_calls)
        }
        // A pipe that cannot be shared is read; pages that cannot be passed by vmsplice are
        // written; a pipe that cannot be created, enlarged, measured or returned is not used.
        (call, _) => !matches!(
            call,
            Call::Tee | Call::Vmsplice | Call::Pipe | Call::GetPipeSize | Call::SetPipeSize | Call::BytesReadable
        ),
    }
}

/// Visits all faults of a scenario.
pub(crate) fn inject_all(
    scenario: &Scenario,
    calls: &[(Call, usize)],
    pairs: Pairs,
    fixtures: &Fixtures,
    totals: &mut Totals,
) {
    collect_panics();
    let begun = (Instant::now(), totals.cases, totals.hit);
    for (at, &(call, _)) in calls.iter().enumerate() {
        for fault in faults(call) {
            // Once unchanged, once with a peek at the list after each error.
            for inspects in [false, true] {
                let plan = Plan {
                    single: vec![(at, fault)],
                    persistent: None,
                };
                let mode = RunMode {
                    plan,
                    inspects,
                    may_give_up: false,
                };
                totals.add(scenario, &mode, fixtures);
            }
        }
    }
    inject_persistent(scenario, calls, fixtures, totals);
    inject_partial_then_failure(scenario, calls, fixtures, totals);
    inject_pairs(scenario, calls, pairs, fixtures, totals);
    print_panics();
    println!(
        "{:>30}: {:>3} calls, {:>6} cases, {:>6} hit, {:>5} ms",
        scenario.name,
        calls.len(),
        totals.cases - begun.1,
        totals.hit - begun.2,
        begun.0.elapsed().as_millis()
    );
}

/// Calls of one name that fail from the n-th on.
fn inject_persistent(scenario: &Scenario, calls: &[(Call, usize)], fixtures: &Fixtures, totals: &mut Totals) {
    for (at, &(call, _)) in calls.iter().enumerate() {
        let is_first = !calls[..at].iter().any(|earlier| earlier.0 == call);
        for fault in faults(call) {
            // A call that is interrupted forever is repeated forever, and byte by byte once is
            // enough.
            if fault == refused(Errno::INTR) || (fault == Fault::OneByte && !is_first) {
                continue;
            }
            let plan = Plan {
                single: Vec::new(),
                persistent: Some((at, call, fault)),
            };
            let mode = RunMode {
                plan,
                inspects: false,
                may_give_up: is_final(scenario, call, fault),
            };
            totals.add(scenario, &mode, fixtures);
        }
    }
}

/// A call that does part of its work, after which neither the next call nor its fallback works.
fn inject_partial_then_failure(scenario: &Scenario, calls: &[(Call, usize)], fixtures: &Fixtures, totals: &mut Totals) {
    for (at, &(call, _)) in calls.iter().enumerate() {
        if !moves_bytes(call) {
            continue;
        }
        for cut in [Fault::OneByte, Fault::Half] {
            for inspects in [false, true] {
                let then = refused(Errno::IO);
                let plan = Plan {
                    single: vec![(at, cut), (at + 1, then), (at + 2, then)],
                    persistent: None,
                };
                let mode = RunMode {
                    plan,
                    inspects,
                    may_give_up: false,
                };
                totals.add(scenario, &mode, fixtures);
            }
        }
    }
}

/// Two faults in one run.
fn inject_pairs(scenario: &Scenario, calls: &[(Call, usize)], pairs: Pairs, fixtures: &Fixtures, totals: &mut Totals) {
    for (first, &(call, _)) in calls.iter().enumerate() {
        let last = match pairs {
            // The second may also hit a call that is made only because of the first.
            Pairs::All => calls.len() + 1,
            Pairs::Near => first + 3,
        };
        for second in first + 1..=last {
            for one in FIRST {
                if !moves_bytes(call) && matches!(one, Fault::OneByte | Fault::Half) {
                    continue;
                }
                for other in SECOND {
                    let plan = Plan {
                        single: vec![(first, one), (second, other)],
                        persistent: None,
                    };
                    let mode = RunMode {
                        plan,
                        inspects: (first + second) % 2 == 0,
                        may_give_up: false,
                    };
                    totals.add(scenario, &mode, fixtures);
                }
            }
        }
    }
}

/// Faults of opening /dev/null, which happens once per process: visited before it has happened.
pub(crate) fn without_warm_up(fixtures: &Fixtures, totals: &mut Totals) {
    // Opens the descriptors that stay open, without discarding any bytes.
    Scenario::new("warm", scenarios::file_to_socket).record_calls(fixtures);
    let scenario = Scenario::new("slices without a drain", sharing::slices_until_the_cell_splits);
    let hit = totals.hit;
    collect_panics();
    for fault in faults(Call::Open) {
        if fault == refused(Errno::INTR) {
            continue;
        }
        let plan = Plan {
            single: Vec::new(),
            persistent: Some((0, Call::Open, fault)),
        };
        let mode = RunMode {
            plan,
            // A peek from another thread, which has no fault plan, would open it.
            inspects: false,
            may_give_up: false,
        };
        totals.add(&scenario, &mode, fixtures);
    }
    print_panics();
    assert!(totals.hit > hit, "the drain was open already");
}

//! Which faults are visited.

use crate::fixtures::Fixtures;
use crate::harness::{Manner, Scenario, attempt, collect_panics, print_panics};
use crate::{scenarios, sharing};
use bufferlist::Call;
use bufferlist::fault::{Fault, Plan};
use rustix::io::Errno;
use std::time::Instant;

/// So many broken cases of a scenario are shown; more say nothing new.
const MOST_SHOWN: usize = 3;

/// How many cases there were.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) cases: u64,
    hit: u64,
    broken: Vec<String>,
    broken_count: u64,
}

impl Totals {
    fn add(&mut self, scenario: &Scenario, manner: &Manner, fixtures: &Fixtures) {
        self.cases += 1;
        match attempt(scenario, manner, fixtures) {
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

/// Which pairs of faults are visited, besides all the single ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pairs {
    /// All.
    All,
    /// Those where the second hits one of the calls that follow the first: the way that is taken instead.
    Near,
}

const fn refused(errno: Errno) -> Fault {
    Fault::Error(errno.raw_os_error())
}

/// The ways in which a call can fail, or fall short.
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

/// The first of a pair: what makes the library take another way, or stop.
const FIRST: [Fault; 5] = [
    refused(Errno::INVAL),
    refused(Errno::PERM),
    refused(Errno::MFILE),
    Fault::OneByte,
    Fault::Half,
];

/// The second of a pair: what meets it there.
const SECOND: [Fault; 5] = [
    refused(Errno::INVAL),
    refused(Errno::IO),
    refused(Errno::AGAIN),
    refused(Errno::MFILE),
    Fault::OneByte,
];

/// Whether there may be no way around a fault that lasts.
fn is_final(scenario: &Scenario, call: Call, fault: Fault) -> bool {
    let Fault::Error(errno) = fault else {
        return scenario.needs_whole_calls;
    };
    match (call, Errno::from_raw_os_error(errno)) {
        // Forbidden or impossible: bytes go through memory instead; but a direct file says EINVAL to what is not
        // aligned, and no other way can mend that. All else is told to the caller.
        (call @ (Call::Splice | Call::Sendfile), errno) => {
            let goes_otherwise = matches!(errno, Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP);
            !goes_otherwise || (call == Call::Splice && errno == Errno::INVAL && scenario.needs_whole_calls)
        }
        // A pipe that cannot be shared is read; pages that cannot be lent are written; a pipe that cannot be had,
        // enlarged, measured or taken back is done without.
        (call, _) => !matches!(
            call,
            Call::Tee | Call::Vmsplice | Call::Pipe | Call::GetPipeSize | Call::SetPipeSize | Call::BytesReadable
        ),
    }
}

/// Visits all the faults of a scenario.
pub(crate) fn visit(
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
            // Once as it is, once with a look at the list after each error.
            for inspects in [false, true] {
                let plan = Plan {
                    single: vec![(at, fault)],
                    persistent: None,
                };
                let manner = Manner {
                    plan,
                    inspects,
                    may_give_up: false,
                };
                totals.add(scenario, &manner, fixtures);
            }
        }
    }
    lasting(scenario, calls, fixtures, totals);
    halted(scenario, calls, fixtures, totals);
    two(scenario, calls, pairs, fixtures, totals);
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

/// Calls of one name that fail from one of them on.
fn lasting(scenario: &Scenario, calls: &[(Call, usize)], fixtures: &Fixtures, totals: &mut Totals) {
    for (at, &(call, _)) in calls.iter().enumerate() {
        let is_first = !calls[..at].iter().any(|earlier| earlier.0 == call);
        for fault in faults(call) {
            // A call that is interrupted for ever is repeated for ever, and byte by byte once is enough.
            if fault == refused(Errno::INTR) || (fault == Fault::OneByte && !is_first) {
                continue;
            }
            let plan = Plan {
                single: Vec::new(),
                persistent: Some((at, call, fault)),
            };
            let manner = Manner {
                plan,
                inspects: false,
                may_give_up: is_final(scenario, call, fault),
            };
            totals.add(scenario, &manner, fixtures);
        }
    }
}

/// A call that does part of its work, and then neither the next nor what is done instead of it.
fn halted(scenario: &Scenario, calls: &[(Call, usize)], fixtures: &Fixtures, totals: &mut Totals) {
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
                let manner = Manner {
                    plan,
                    inspects,
                    may_give_up: false,
                };
                totals.add(scenario, &manner, fixtures);
            }
        }
    }
}

/// Two faults in one run.
fn two(scenario: &Scenario, calls: &[(Call, usize)], pairs: Pairs, fixtures: &Fixtures, totals: &mut Totals) {
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
                    let manner = Manner {
                        plan,
                        inspects: (first + second) % 2 == 0,
                        may_give_up: false,
                    };
                    totals.add(scenario, &manner, fixtures);
                }
            }
        }
    }
}

/// The faults of opening the drain, which happens once in the life of the process: visited before it has happened.
pub(crate) fn cold(fixtures: &Fixtures, totals: &mut Totals) {
    // Opens what stays open, without throwing anything away.
    Scenario::new("warm", scenarios::file_to_socket).learn(fixtures);
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
        let manner = Manner {
            plan,
            // A look from another thread, which has no plan, would open it.
            inspects: false,
            may_give_up: false,
        };
        totals.add(&scenario, &manner, fixtures);
    }
    print_panics();
    assert!(totals.hit > hit, "the drain was open already");
}

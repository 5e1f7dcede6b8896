//! `CLOCK_MONOTONIC` for who asks often: by the CPU's own counter, between two questions to the kernel.
//!
//! The vDSO's answer costs 20 ns in a loop and 35 ns behind a system call, for it waits for all that came before; the counter
//! costs 8 ns. What matters is that a record's time lies between the end of its system call, as the kernel notes it, and
//! the end of the thread's next one. So a reading of the counter is believed for a millisecond after it was compared with the
//! clock: in that time the two part by less than 100 ns, and if the clock is being slewed, which adjtimex(2) does by 500 ppm at
//! most, by 0.5 µs. Where a counter is not what it should be (they differ between CPUs, the machine was moved to another
//! host), the next comparison shows it, and the thread uses it no more.

use crate::sys::monotonic_ns;
use std::sync::OnceLock;

/// How long the counter is believed.
const GOOD_FOR_NS: u64 = 1_000_000;
/// The rate is measured over no shorter and no longer a time than this.
const RATE_OVER_NS: std::ops::RangeInclusive<u64> = GOOD_FOR_NS..=1_000_000_000;
/// Rates that are one: counters run at some GHz, or at some ten MHz.
const RATES: std::ops::RangeInclusive<u64> = 1 << 28..=1 << 40;
/// Between two readings of the counter on both sides of the clock's, at most. More, and the thread was interrupted there, or
/// the clock is none that is made of the counter.
const MOST_TICKS: u64 = 1000;
/// What the counter may be wrong by when it is compared: so much, and a thousandth of the time since the last comparison.
const MOST_WRONG_NS: u64 = 2000;

/// A comparison of the counter with the clock.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    ticks: u64,
    /// 0: there was none yet.
    ns: u64,
    /// Nanoseconds in a tick, times 2^32; 0 while that is not known.
    rate: u64,
    /// Ticks for which it is believed.
    good_for: u64,
    /// The counter was wrong.
    refused: bool,
}

/// One thread's clock.
#[derive(Debug)]
pub(super) struct Clock(Anchor);

impl Clock {
    pub(super) const fn new() -> Self {
        Self(Anchor {
            ticks: 0,
            ns: 0,
            rate: 0,
            good_for: 0,
            refused: false,
        })
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    #[inline]
    pub(super) fn now(&mut self) -> u64 {
        if self.0.good_for > 0 {
            let ticks = read().wrapping_sub(self.0.ticks);
            if ticks < self.0.good_for {
                return self.0.reckon(ticks);
            }
        }
        self.ask()
    }

    /// Asks the kernel, and compares the counter with its answer.
    #[cold]
    fn ask(&mut self) -> u64 {
        if self.0.refused || !is_steady() {
            return monotonic_ns();
        }
        let before = read();
        let ns = monotonic_ns();
        let took = read().wrapping_sub(before);
        if took <= MOST_TICKS {
            self.0 = self.0.then(before.wrapping_add(took / 2), ns);
        }
        ns
    }
}

impl Anchor {
    /// The time, so many ticks later.
    #[inline]
    fn reckon(&self, ticks: u64) -> u64 {
        let passed = (u128::from(ticks) * u128::from(self.rate)) >> 32;
        self.ns.wrapping_add(passed as u64)
    }

    /// What is to be believed after the next comparison.
    fn then(self, ticks: u64, ns: u64) -> Self {
        let first = Self { ticks, ns, ..self };
        if self.ns == 0 {
            return first;
        }
        let (passed, ticked) = (ns.wrapping_sub(self.ns), ticks.wrapping_sub(self.ticks));
        if !RATE_OVER_NS.contains(&passed) {
            return match self.rate {
                // Too soon to know it: it will be measured from the last time on.
                0 if passed < *RATE_OVER_NS.start() => self,
                _ => first,
            };
        }
        let rate = (passed << 32).checked_div(ticked).unwrap_or(0);
        let wrong_ns = self.reckon(ticked).abs_diff(ns);
        let is_wrong = self.rate > 0 && wrong_ns > MOST_WRONG_NS + passed / 1000;
        if is_wrong || !RATES.contains(&rate) {
            return Self {
                good_for: 0,
                refused: true,
                ..self
            };
        }
        Self {
            ticks,
            ns,
            rate,
            good_for: (GOOD_FOR_NS << 32) / rate,
            refused: false,
        }
    }
}

/// Reads the counter.
#[cfg(target_arch = "x86_64")]
#[inline]
fn read() -> u64 {
    // SAFETY: every x86-64 has the instruction. Where a process may not use it (prctl(2), `PR_SET_TSC`) the vDSO, which is
    // asked first, may not either.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Whether the CPU's counter has one rate for ever, whatever the CPU does.
#[cfg(target_arch = "x86_64")]
#[allow(
    unused_unsafe,
    reason = "`__cpuid` is unsafe in older versions of Rust than this one may be"
)]
fn is_steady() -> bool {
    use std::arch::x86_64::__cpuid;
    const EXTENDED: u32 = 0x8000_0000;
    /// "Invariant TSC" (Intel SDM volume 2, CPUID; AMD APM volume 3, E.4.7), in EDX.
    const LEAF: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    // In a virtual machine the instruction is a way out of it, of a microsecond and more.
    static STEADY: OnceLock<bool> = OnceLock::new();
    *STEADY.get_or_init(|| {
        // SAFETY: every x86-64 has the instruction.
        let invariant = || unsafe { __cpuid(EXTENDED).eax >= LEAF && __cpuid(LEAF).edx & INVARIANT != 0 };
        // The interpreter that looks for undefined behaviour has no counter.
        !cfg!(miri) && invariant()
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn read() -> u64 {
    0
}

#[cfg(not(target_arch = "x86_64"))]
fn is_steady() -> bool {
    false
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    const FRESH: Anchor = Anchor {
        ticks: 0,
        ns: 0,
        rate: 0,
        good_for: 0,
        refused: false,
    };
    const MS: u64 = 1_000_000;

    /// A counter of 2 GHz that began at 0.
    fn believed() -> Anchor {
        FRESH.then(0, 10 * MS).then(2 * MS, 11 * MS)
    }

    #[test]
    fn journal_clock_learns_the_rate_over_a_millisecond() {
        let soon = FRESH.then(0, 10 * MS).then(MS, 10 * MS + MS / 2);
        assert_eq!((soon.ns, soon.good_for), (10 * MS, 0));
        let anchor = soon.then(2 * MS, 11 * MS);
        assert_eq!((anchor.rate, anchor.good_for, anchor.refused), (1 << 31, 2 * MS, false));
        assert_eq!(anchor.reckon(1000), 11 * MS + 500);
        // Over a longer time than a second it cannot be measured, and is what it was.
        let later = anchor.then(4_000 * MS, 5_000 * MS);
        assert_eq!((later.rate, later.good_for, later.ns), (1 << 31, 2 * MS, 5_000 * MS));
    }

    #[test]
    fn journal_clock_believes_no_counter_that_was_wrong() {
        // Slewed by the most that adjtimex(2) does.
        let slewed = believed().then(4 * MS, 12 * MS + 500);
        assert!(!slewed.refused && slewed.good_for > 0);
        // Another CPU's counter, which is ahead by 5 µs, or behind; one that stands still.
        for ticks in [4 * MS + 10_000, 4 * MS - 10_000, 2 * MS, 0] {
            let wrong = believed().then(ticks, 12 * MS);
            assert!(wrong.refused && wrong.good_for == 0, "{ticks}: {wrong:?}");
        }
    }

    #[test]
    fn journal_clock_is_never_far_from_the_kernels() {
        let mut clock = Clock::new();
        for _ in 0..200_000 {
            let before = monotonic_ns();
            let now = clock.now();
            let after = monotonic_ns();
            assert!(
                now + MOST_WRONG_NS >= before && now <= after + MOST_WRONG_NS,
                "{before} {now} {after}"
            );
        }
        let anchor = clock.0;
        assert!(
            !is_steady() || anchor.rate > 0 || anchor.refused,
            "the counter was never used: {anchor:?}"
        );
    }
}

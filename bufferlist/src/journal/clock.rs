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
const VALID_NS: u64 = 1_000_000;
/// The rate is measured over no shorter and no longer a time than this.
const CALIBRATION_NS: std::ops::RangeInclusive<u64> = VALID_NS..=1_000_000_000;
/// Rates that are one: counters run at some GHz, or at some ten MHz.
const PLAUSIBLE_RATES: std::ops::RangeInclusive<u64> = 1 << 28..=1 << 40;
/// Between two readings of the counter on both sides of the clock's, at most. More, and the thread was interrupted there, or
/// the clock is none that is made of the counter.
const MAX_READ_TICKS: u64 = 1000;
/// What the counter may be wrong by when it is compared: so much, and a thousandth of the time since the last comparison.
const MAX_ERROR_NS: u64 = 2000;

/// A comparison of the counter with the clock.
#[derive(Clone, Copy, Debug)]
struct Calibration {
    ticks: u64,
    /// 0: there was none yet.
    ns: u64,
    /// Nanoseconds in a tick, times 2^32; 0 while that is not known.
    rate: u64,
    /// Ticks for which it is believed.
    valid_ticks: u64,
    /// The counter was wrong.
    untrusted: bool,
}

/// One thread's clock.
#[derive(Debug)]
pub(super) struct Clock(Calibration);

impl Clock {
    pub(super) const fn new() -> Self {
        Self(Calibration {
            ticks: 0,
            ns: 0,
            rate: 0,
            valid_ticks: 0,
            untrusted: false,
        })
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    #[inline]
    pub(super) fn now(&mut self) -> u64 {
        if self.0.valid_ticks > 0 {
            let ticks = read().wrapping_sub(self.0.ticks);
            if ticks < self.0.valid_ticks {
                return self.0.extrapolate(ticks);
            }
        }
        self.resync()
    }

    /// Asks the kernel, and compares the counter with its answer.
    #[cold]
    fn resync(&mut self) -> u64 {
        if self.0.untrusted || !is_steady() {
            return monotonic_ns();
        }
        let before = read();
        let ns = monotonic_ns();
        let took = read().wrapping_sub(before);
        if took <= MAX_READ_TICKS {
            self.0 = self.0.recalibrated(before.wrapping_add(took / 2), ns);
        }
        ns
    }
}

impl Calibration {
    /// The time, so many ticks later.
    #[inline]
    fn extrapolate(&self, ticks: u64) -> u64 {
        let passed = (u128::from(ticks) * u128::from(self.rate)) >> 32;
        self.ns.wrapping_add(passed as u64)
    }

    /// What is to be believed after the next comparison.
    fn recalibrated(self, ticks: u64, ns: u64) -> Self {
        let first = Self { ticks, ns, ..self };
        if self.ns == 0 {
            return first;
        }
        let (passed, ticked) = (ns.wrapping_sub(self.ns), ticks.wrapping_sub(self.ticks));
        if !CALIBRATION_NS.contains(&passed) {
            return match self.rate {
                // Too soon to know it: it will be measured from the last time on.
                0 if passed < *CALIBRATION_NS.start() => self,
                _ => first,
            };
        }
        let rate = (passed << 32).checked_div(ticked).unwrap_or(0);
        let wrong_ns = self.extrapolate(ticked).abs_diff(ns);
        let is_wrong = self.rate > 0 && wrong_ns > MAX_ERROR_NS + passed / 1000;
        if is_wrong || !PLAUSIBLE_RATES.contains(&rate) {
            return Self {
                valid_ticks: 0,
                untrusted: true,
                ..self
            };
        }
        Self {
            ticks,
            ns,
            rate,
            valid_ticks: (VALID_NS << 32) / rate,
            untrusted: false,
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

    const FRESH: Calibration = Calibration {
        ticks: 0,
        ns: 0,
        rate: 0,
        valid_ticks: 0,
        untrusted: false,
    };
    const MS: u64 = 1_000_000;

    /// A counter of 2 GHz that began at 0.
    fn calibrated() -> Calibration {
        FRESH.recalibrated(0, 10 * MS).recalibrated(2 * MS, 11 * MS)
    }

    #[test]
    fn journal_clock_learns_the_rate_over_a_millisecond() {
        let soon = FRESH.recalibrated(0, 10 * MS).recalibrated(MS, 10 * MS + MS / 2);
        assert_eq!((soon.ns, soon.valid_ticks), (10 * MS, 0));
        let calibration = soon.recalibrated(2 * MS, 11 * MS);
        assert_eq!(
            (calibration.rate, calibration.valid_ticks, calibration.untrusted),
            (1 << 31, 2 * MS, false)
        );
        assert_eq!(calibration.extrapolate(1000), 11 * MS + 500);
        // Over a longer time than a second it cannot be measured, and is what it was.
        let later = calibration.recalibrated(4_000 * MS, 5_000 * MS);
        assert_eq!((later.rate, later.valid_ticks, later.ns), (1 << 31, 2 * MS, 5_000 * MS));
    }

    #[test]
    fn journal_clock_rejects_a_wrong_counter() {
        // Slewed by the most that adjtimex(2) does.
        let slewed = calibrated().recalibrated(4 * MS, 12 * MS + 500);
        assert!(!slewed.untrusted && slewed.valid_ticks > 0);
        // Another CPU's counter, which is ahead by 5 µs, or behind; one that stands still.
        for ticks in [4 * MS + 10_000, 4 * MS - 10_000, 2 * MS, 0] {
            let wrong = calibrated().recalibrated(ticks, 12 * MS);
            assert!(wrong.untrusted && wrong.valid_ticks == 0, "{ticks}: {wrong:?}");
        }
    }

    #[test]
    fn journal_clock_stays_close_to_clock_monotonic() {
        let mut clock = Clock::new();
        for _ in 0..200_000 {
            let before = monotonic_ns();
            let now = clock.now();
            let after = monotonic_ns();
            assert!(
                now + MAX_ERROR_NS >= before && now <= after + MAX_ERROR_NS,
                "{before} {now} {after}"
            );
        }
        let calibration = clock.0;
        assert!(
            !is_steady() || calibration.rate > 0 || calibration.untrusted,
            "the counter was never used: {calibration:?}"
        );
    }
}

//! `CLOCK_MONOTONIC` for frequent readers: extrapolated from the CPU's counter between readings of
//! the kernel's clock.
//!
//! The vDSO takes 20 ns in a loop and 35 ns after a system call, because it waits for preceding
//! instructions; the counter takes 8 ns. An entry's time must lie between the end of its system
//! call, as the kernel records it, and the end of the thread's next one. A calibration is therefore
//! used for a millisecond. In that time, counter and clock diverge by less than 100 ns, and by 0.5
//! µs while the clock is slewed, which adjtimex(2) does by at most 500 ppm. If the counter
//! misbehaves (counters differ between CPUs, or the machine was migrated to another host), the next
//! calibration detects it, and the thread stops using the counter.

use crate::sys::monotonic_ns;
use std::sync::OnceLock;

/// Time for which a calibration is used, in nanoseconds.
const VALID_NS: u64 = 1_000_000;
/// Interval over which the counter's rate is measured, in nanoseconds.
const CALIBRATION_NS: std::ops::RangeInclusive<u64> = VALID_NS..=1_000_000_000;
/// Plausible rates: counters run at some GHz, or at some ten MHz.
const PLAUSIBLE_RATES: std::ops::RangeInclusive<u64> = 1 << 28..=1 << 40;
/// Maximum number of ticks between two readings of the counter around one of the clock. More means
/// that the thread was interrupted there, or that the clock is not derived from the counter.
const MAX_READ_TICKS: u64 = 1000;
/// Maximum error of the counter at a calibration, plus a thousandth of the time since the last one.
const MAX_ERROR_NS: u64 = 2000;

/// Reading of the counter and the clock at one time, with the rate between them.
#[derive(Clone, Copy, Debug)]
struct Calibration {
    ticks: u64,
    /// Clock in nanoseconds; 0 before the first reading.
    ns: u64,
    /// Nanoseconds per tick, times 2^32; 0 while unknown.
    rate: u64,
    /// Number of ticks for which this calibration is used.
    valid_ticks: u64,
    /// The counter was found to be wrong.
    untrusted: bool,
}

/// Clock of one thread.
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

    /// Returns the nanoseconds of `CLOCK_MONOTONIC`.
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

    /// Reads the kernel's clock, and calibrates the counter with it.
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
    /// Returns the time `ticks` after the calibration.
    #[inline]
    fn extrapolate(&self, ticks: u64) -> u64 {
        let passed = (u128::from(ticks) * u128::from(self.rate)) >> 32;
        self.ns.wrapping_add(passed as u64)
    }

    /// Returns the calibration that follows from another reading of counter and clock.
    fn recalibrated(self, ticks: u64, ns: u64) -> Self {
        let first = Self { ticks, ns, ..self };
        if self.ns == 0 {
            return first;
        }
        let (passed, ticked) = (ns.wrapping_sub(self.ns), ticks.wrapping_sub(self.ticks));
        if !CALIBRATION_NS.contains(&passed) {
            return match self.rate {
                // Too early to measure the rate: the next measurement starts at the previous
                // reading.
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
    // SAFETY: `_rdtsc` requires the instruction, which every x86-64 CPU has. Where the kernel
    // forbids it to a process (prctl(2), `PR_SET_TSC`), it also forbids it to the vDSO, which was
    // called before.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Returns whether the CPU's counter has a constant rate in all power states.
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
    // Cached, because in a virtual machine the instruction causes an exit, which takes a
    // microsecond or more.
    static STEADY: OnceLock<bool> = OnceLock::new();
    *STEADY.get_or_init(|| {
        // SAFETY: `__cpuid` requires the instruction, which every x86-64 CPU has.
        let invariant = || unsafe { __cpuid(EXTENDED).eax >= LEAF && __cpuid(LEAF).edx & INVARIANT != 0 };
        // Miri has no counter.
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

    /// Calibration of a counter of 2 GHz that began at 0.
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
        // The interval is too long to measure the rate, which is kept.
        let later = calibration.recalibrated(4_000 * MS, 5_000 * MS);
        assert_eq!((later.rate, later.valid_ticks, later.ns), (1 << 31, 2 * MS, 5_000 * MS));
    }

    #[test]
    fn journal_clock_rejects_a_wrong_counter() {
        // Slewed by the maximum of adjtimex(2).
        let slewed = calibrated().recalibrated(4 * MS, 12 * MS + 500);
        assert!(!slewed.untrusted && slewed.valid_ticks > 0);
        // Counters of other CPUs, which are ahead or behind by 5 µs; a counter that stands still.
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

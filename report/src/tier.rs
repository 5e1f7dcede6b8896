//! Instrumentation tiers: the mechanism that produced an observation.

use super::open_enum::open_enum;

open_enum! {
    /// Mechanism by which bytes were observed. A higher tier observes more, and needs more of the
    /// kernel and more privileges.
    pub enum Tier {
        /// The library's own account, without privileges and without probes.
        L = "L",
        /// Raw tracepoints.
        T0 = "T0",
        /// Raw tracepoints, and fentry and fexit programs.
        T1 = "T1",
        /// The mechanisms of T1, and kprobes and hardware breakpoints.
        T2 = "T2",
    }
}

impl Tier {
    /// Returns whether probes in the kernel observe pages at this tier. Every moved byte then needs
    /// a certificate.
    ///
    /// Returns false for a tier that a newer version defines, because only that version defines
    /// what the tier must prove.
    pub const fn observes_pages(&self) -> bool {
        matches!(self, Self::T0 | Self::T1 | Self::T2)
    }

    /// Returns the tier that claims less. A result that several tiers observed together claims no
    /// more than the lowest of them.
    ///
    /// ```
    /// use zctrace_report::Tier;
    /// assert_eq!(Tier::T1.or_lesser(&Tier::L), Tier::L);
    /// ```
    #[must_use]
    pub fn or_lesser(&self, other: &Self) -> Self {
        if self.rank() <= other.rank() {
            self.clone()
        } else {
            other.clone()
        }
    }

    /// Returns the rank of a tier. A tier that this version does not define has the lowest rank,
    /// because it proves nothing here.
    const fn rank(&self) -> u8 {
        match self {
            Self::Other(_) => 0,
            Self::L => 1,
            Self::T0 => 2,
            Self::T1 => 3,
            Self::T2 => 4,
        }
    }
}

//! Who saw it: the tiers of watching.

use super::open_enum::open_enum;

open_enum! {
    /// By what means bytes were watched. A higher tier sees more, and needs more of the kernel and of privileges.
    pub enum Tier {
        /// The library's own account, without privileges and without probes.
        L = "L",
        /// Raw tracepoints.
        T0 = "T0",
        /// Raw tracepoints, and fentry/fexit programs.
        T1 = "T1",
        /// As T1, and kprobes and hardware breakpoints.
        T2 = "T2",
    }
}

impl Tier {
    /// Whether pages were seen by probes in the kernel, so that every moved byte must have a certificate.
    ///
    /// False for a tier of a newer version: what it must show is for that version to say.
    pub const fn observes_pages(&self) -> bool {
        matches!(self, Self::T0 | Self::T1 | Self::T2)
    }

    /// The one that claims less. What several tiers saw together is worth no more than the least of them.
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

    /// A tier that this version does not know ranks lowest: it backs no claim here.
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

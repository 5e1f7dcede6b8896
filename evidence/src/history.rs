//! Histories: the hops that bytes have behind them, each with its outcome.

use zctrace_contract::Reason;

use crate::collections::fast_map::FastMap;
use crate::decode::endpoints::EndpointId;
use crate::sender::Sender;

/// Outcome of one hop for bytes. *Moved* requires identity or DMA, *copied* a witness; the rest is
/// *unknown*.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Outcome {
    /// Identity: one page was observed at the stations before and after the hop.
    Identity,
    /// A device read or wrote the page itself.
    Dma,
    /// The zero page stands for the bytes.
    Zero,
    /// The bytes were discarded.
    Discarded,
    /// Two files share the extents that hold the bytes.
    Cloned,
    /// A witness shows a copy.
    Copied(Reason),
    /// Neither identity nor a witness was observed.
    Unknown(Reason),
}

/// One step of a path: the call that brought bytes to an endpoint, and the outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Hop {
    /// System call number.
    pub(crate) nr: u32,
    /// Process ID.
    pub(crate) tgid: u32,
    /// Instruction pointer of the caller, for bytes that did not move; otherwise 0.
    pub(crate) user_ip: u64,
    /// Endpoint that the call delivered the bytes to. All pipes are one endpoint, so that different
    /// pipes do not make different flows.
    pub(crate) to: EndpointId,
    /// Outcome of the hop.
    pub(crate) outcome: Outcome,
}

impl Hop {
    /// Returns the hop by which a call's bytes reached its sink.
    ///
    /// The call site is kept for copied and unknown bytes only, so that moved bytes have few
    /// histories.
    pub(crate) fn of(outcome: Outcome, by: &Sender) -> Self {
        let needs_call_site = matches!(outcome, Outcome::Copied(_) | Outcome::Unknown(_));
        Self {
            nr: by.edge.nr,
            tgid: by.edge.tgid,
            user_ip: if needs_call_site { by.user_ip } else { 0 },
            to: by.edge.to,
            outcome,
        }
    }
}

/// Number of an interned history.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HistoryId(u32);

/// Interned histories. Bytes are many and histories are few, so each different history is kept
/// once.
#[derive(Clone, Debug)]
pub(crate) struct Histories {
    all: Vec<HistoryNode>,
    by_hop: FastMap<(HistoryId, Hop), HistoryId>,
    /// Latest lookup: consecutive spans usually have the same history.
    latest: Option<(HistoryId, Hop, HistoryId)>,
}

#[derive(Clone, Debug)]
struct HistoryNode {
    before: HistoryId,
    hop: Option<Hop>,
}

/// Hops of one history. A program can pass bytes from pipe to pipe forever; histories beyond this
/// length are not distinguished.
const MAX_HOPS: usize = 32;
/// Histories that are kept. Bytes beyond continue with a history whose outcome is unknown.
const MAX_HISTORIES: usize = 65_536;

impl Histories {
    /// The history of bytes that no observed call moved.
    pub(crate) const START: HistoryId = HistoryId(0);

    pub(crate) fn new() -> Self {
        Self {
            all: vec![HistoryNode {
                before: Self::START,
                hop: None,
            }],
            by_hop: FastMap::default(),
            latest: None,
        }
    }

    /// Returns the history that continues `history` with a hop.
    pub(crate) fn with(&mut self, history: HistoryId, hop: Hop) -> HistoryId {
        if let Some((before, latest, next)) = self.latest
            && (before, latest) == (history, hop)
        {
            return next;
        }
        let next = self.find(history, hop);
        self.latest = Some((history, hop, next));
        next
    }

    fn find(&mut self, history: HistoryId, hop: Hop) -> HistoryId {
        let full = self.all.len() >= MAX_HISTORIES || self.hops(history).count() >= MAX_HOPS;
        let (history, hop) = if full {
            let lost = Hop {
                nr: hop.nr,
                tgid: 0,
                user_ip: 0,
                to: EndpointId::PIPE,
                outcome: Outcome::Unknown(Reason::NotObserved),
            };
            (Self::START, lost)
        } else {
            (history, hop)
        };
        let next = HistoryId(self.all.len() as u32);
        *self.by_hop.entry((history, hop)).or_insert_with(|| {
            self.all.push(HistoryNode {
                before: history,
                hop: Some(hop),
            });
            next
        })
    }

    /// Returns the history without its latest hop.
    pub(crate) fn before(&self, history: HistoryId) -> HistoryId {
        self.all[history.0 as usize].before
    }

    /// Returns the hops, the latest first.
    pub(crate) fn hops(&self, history: HistoryId) -> impl Iterator<Item = Hop> + '_ {
        let mut at = history;
        std::iter::from_fn(move || {
            let here = &self.all[at.0 as usize];
            at = here.before;
            here.hop
        })
    }

    /// Returns the outcome of all hops together: copied if any hop copied, else unknown if any hop
    /// is unknown, else excluded if any hop is, else moved.
    pub(crate) fn outcome(&self, history: HistoryId) -> Outcome {
        self.hops(history)
            .map(|hop| hop.outcome)
            .max_by_key(|outcome| match outcome {
                Outcome::Identity => 0,
                Outcome::Dma => 1,
                Outcome::Zero => 2,
                Outcome::Discarded => 3,
                Outcome::Cloned => 4,
                Outcome::Unknown(_) => 5,
                Outcome::Copied(_) => 6,
            })
            .unwrap_or(Outcome::Unknown(Reason::NotObserved))
    }

    /// Returns whether the bytes are a duplicate made by tee(2).
    pub(crate) fn is_teed(&self, history: HistoryId) -> bool {
        self.hops(history).any(|hop| hop.nr == zctrace_records::nr::TEE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(outcome: Outcome) -> Hop {
        Hop {
            nr: 275,
            tgid: 1,
            user_ip: 0,
            to: EndpointId::PIPE,
            outcome,
        }
    }

    #[test]
    fn worst_hop_is_the_verdict_and_copied_is_worse_than_unknown() {
        let mut histories = Histories::new();
        let one = histories.with(Histories::START, hop(Outcome::Identity));
        assert_eq!(histories.outcome(one), Outcome::Identity);
        let unknown = histories.with(one, hop(Outcome::Unknown(Reason::LostRecords)));
        assert_eq!(histories.outcome(unknown), Outcome::Unknown(Reason::LostRecords));
        let copied = histories.with(unknown, hop(Outcome::Copied(Reason::IntoMemory)));
        assert_eq!(histories.outcome(copied), Outcome::Copied(Reason::IntoMemory));
        let after = histories.with(copied, hop(Outcome::Identity));
        assert_eq!(histories.outcome(after), Outcome::Copied(Reason::IntoMemory));
        assert_eq!(histories.hops(after).count(), 4);
        assert_eq!(
            histories.with(Histories::START, hop(Outcome::Identity)),
            one,
            "kept once"
        );
    }

    #[test]
    fn history_without_hops_is_not_moved() {
        assert_eq!(
            Histories::new().outcome(Histories::START),
            Outcome::Unknown(Reason::NotObserved)
        );
    }

    #[test]
    fn endless_path_becomes_unknown_and_never_moved() {
        let mut histories = Histories::new();
        let mut history = Histories::START;
        for n in 0..200_000_u32 {
            let mut hop = hop(Outcome::Identity);
            hop.user_ip = u64::from(n);
            history = histories.with(history, hop);
        }
        assert!(histories.all.len() <= MAX_HISTORIES + 2);
        // A restarted history must contain an unknown hop.
        assert!(matches!(histories.outcome(history), Outcome::Unknown(_)));
    }
}

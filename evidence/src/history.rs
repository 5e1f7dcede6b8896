//! What happened to bytes on their way: one verdict per edge, and the history that edges make.

use zctrace_contract::Reason;

use crate::collections::fast_map::FastMap;
use crate::decode::endpoints::EndpointId;
use crate::sender::Sender;

/// What an edge did to a byte. Three-valued: moved needs identity, copied needs a witness, the rest is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Outcome {
    /// The same page was seen before and after.
    Identity,
    /// A device wrote or read the very page.
    Dma,
    /// The zero page stands for it.
    Zero,
    /// It was thrown away.
    Discarded,
    /// A witness of a copy was seen.
    Copied(Reason),
    /// Neither.
    Unknown(Reason),
}

/// A station that a byte reached, and how.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Hop {
    /// The call, by number; 0 for a packet's way.
    pub(crate) nr: u32,
    /// The process.
    pub(crate) tgid: u32,
    /// Where in the program, for what is not moved.
    pub(crate) user_ip: u64,
    /// What the call gave the bytes to. Pipes are all one: which of them does not make another flow.
    pub(crate) to: EndpointId,
    /// What became of them.
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

/// A history, by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HistoryId(u32);

/// Histories are few and bytes are many: each different one is kept once.
#[derive(Clone, Debug)]
pub(crate) struct Histories {
    all: Vec<HistoryNode>,
    by_hop: FastMap<(HistoryId, Hop), HistoryId>,
    /// The latest answer: most spans go where the one before them went.
    latest: Option<(HistoryId, Hop, HistoryId)>,
}

#[derive(Clone, Debug)]
struct HistoryNode {
    before: HistoryId,
    hop: Option<Hop>,
}

/// A program can pass bytes from pipe to pipe for ever; what comes after so many steps is not told apart.
const MAX_HOPS: usize = 32;
/// Different histories that are kept. Beyond that bytes go on under a history that says that they are unknown.
const MAX_HISTORIES: usize = 65_536;

impl Histories {
    /// Nothing happened yet.
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

    /// The history that goes on with a step.
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

    /// The steps, the last one first.
    pub(crate) fn hops(&self, history: HistoryId) -> impl Iterator<Item = Hop> + '_ {
        let mut at = history;
        std::iter::from_fn(move || {
            let here = &self.all[at.0 as usize];
            at = here.before;
            here.hop
        })
    }

    /// What became of the bytes in all: copied if any edge copied, else unknown if any edge is unknown.
    pub(crate) fn outcome(&self, history: HistoryId) -> Outcome {
        self.hops(history)
            .map(|hop| hop.outcome)
            .max_by_key(|outcome| match outcome {
                Outcome::Identity => 0,
                Outcome::Dma => 1,
                Outcome::Zero => 2,
                Outcome::Discarded => 3,
                Outcome::Unknown(_) => 4,
                Outcome::Copied(_) => 5,
            })
            .unwrap_or(Outcome::Unknown(Reason::NotObserved))
    }

    /// Whether the bytes are a duplicate that tee(2) made.
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
    fn the_worst_edge_is_the_verdict_and_a_copy_is_worse_than_a_doubt() {
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
    fn nothing_on_the_way_is_not_moved() {
        assert_eq!(
            Histories::new().outcome(Histories::START),
            Outcome::Unknown(Reason::NotObserved)
        );
    }

    #[test]
    fn an_endless_way_ends_in_a_doubt_and_never_in_moved() {
        let mut histories = Histories::new();
        let mut history = Histories::START;
        for n in 0..200_000_u32 {
            let mut hop = hop(Outcome::Identity);
            hop.user_ip = u64::from(n);
            history = histories.with(history, hop);
        }
        assert!(histories.all.len() <= MAX_HISTORIES + 2);
        // The very last one may have begun anew, but never without its doubt.
        assert!(matches!(histories.outcome(history), Outcome::Unknown(_)));
    }
}

//! What happened to bytes on their way: one verdict per edge, and the trail that edges make.

use zctrace_contract::Reason;

use super::ends::EndId;
use crate::fast_map::Map;

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
pub(crate) struct Step {
    /// The call, by number; 0 for a packet's way.
    pub(crate) nr: u32,
    /// The process.
    pub(crate) tgid: u32,
    /// Where in the program, for what is not moved.
    pub(crate) user_ip: u64,
    /// What the call gave the bytes to. Pipes are all one: which of them does not make another flow.
    pub(crate) to: EndId,
    /// What became of them.
    pub(crate) outcome: Outcome,
}

/// A trail, by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TrailId(u32);

/// Trails are few and bytes are many: each different one is kept once.
#[derive(Clone, Debug)]
pub(crate) struct Trails {
    all: Vec<Trail>,
    by_step: Map<(TrailId, Step), TrailId>,
    /// The latest answer: most parcels go where the one before them went.
    latest: Option<(TrailId, Step, TrailId)>,
}

#[derive(Clone, Debug)]
struct Trail {
    before: TrailId,
    step: Option<Step>,
}

/// A program can pass bytes from pipe to pipe for ever; what comes after so many steps is not told apart.
const LONGEST: usize = 32;
/// Different trails that are kept. Beyond that bytes go on under a trail that says that they are unknown.
const MOST: usize = 65_536;

impl Trails {
    /// Nothing happened yet.
    pub(crate) const START: TrailId = TrailId(0);

    pub(crate) fn new() -> Self {
        Self {
            all: vec![Trail {
                before: Self::START,
                step: None,
            }],
            by_step: Map::default(),
            latest: None,
        }
    }

    /// The trail that goes on with a step.
    pub(crate) fn with(&mut self, trail: TrailId, step: Step) -> TrailId {
        if let Some((before, latest, next)) = self.latest
            && (before, latest) == (trail, step)
        {
            return next;
        }
        let next = self.find(trail, step);
        self.latest = Some((trail, step, next));
        next
    }

    fn find(&mut self, trail: TrailId, step: Step) -> TrailId {
        let full = self.all.len() >= MOST || self.steps(trail).count() >= LONGEST;
        let (trail, step) = if full {
            let lost = Step {
                nr: step.nr,
                tgid: 0,
                user_ip: 0,
                to: EndId::PIPE,
                outcome: Outcome::Unknown(Reason::NotObserved),
            };
            (Self::START, lost)
        } else {
            (trail, step)
        };
        let next = TrailId(self.all.len() as u32);
        *self.by_step.entry((trail, step)).or_insert_with(|| {
            self.all.push(Trail {
                before: trail,
                step: Some(step),
            });
            next
        })
    }

    /// The steps, the last one first.
    pub(crate) fn steps(&self, trail: TrailId) -> impl Iterator<Item = Step> + '_ {
        let mut at = trail;
        std::iter::from_fn(move || {
            let here = &self.all[at.0 as usize];
            at = here.before;
            here.step
        })
    }

    /// What became of the bytes in all: copied if any edge copied, else unknown if any edge is unknown.
    pub(crate) fn outcome(&self, trail: TrailId) -> Outcome {
        self.steps(trail)
            .map(|step| step.outcome)
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
    pub(crate) fn is_teed(&self, trail: TrailId) -> bool {
        self.steps(trail).any(|step| step.nr == zctrace_records::nr::TEE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(outcome: Outcome) -> Step {
        Step {
            nr: 275,
            tgid: 1,
            user_ip: 0,
            to: EndId::PIPE,
            outcome,
        }
    }

    #[test]
    fn the_worst_edge_is_the_verdict_and_a_copy_is_worse_than_a_doubt() {
        let mut trails = Trails::new();
        let one = trails.with(Trails::START, step(Outcome::Identity));
        assert_eq!(trails.outcome(one), Outcome::Identity);
        let unknown = trails.with(one, step(Outcome::Unknown(Reason::LostRecords)));
        assert_eq!(trails.outcome(unknown), Outcome::Unknown(Reason::LostRecords));
        let copied = trails.with(unknown, step(Outcome::Copied(Reason::IntoMemory)));
        assert_eq!(trails.outcome(copied), Outcome::Copied(Reason::IntoMemory));
        let after = trails.with(copied, step(Outcome::Identity));
        assert_eq!(trails.outcome(after), Outcome::Copied(Reason::IntoMemory));
        assert_eq!(trails.steps(after).count(), 4);
        assert_eq!(trails.with(Trails::START, step(Outcome::Identity)), one, "kept once");
    }

    #[test]
    fn nothing_on_the_way_is_not_moved() {
        assert_eq!(
            Trails::new().outcome(Trails::START),
            Outcome::Unknown(Reason::NotObserved)
        );
    }

    #[test]
    fn an_endless_way_ends_in_a_doubt_and_never_in_moved() {
        let mut trails = Trails::new();
        let mut trail = Trails::START;
        for n in 0..200_000_u32 {
            let mut step = step(Outcome::Identity);
            step.user_ip = u64::from(n);
            trail = trails.with(trail, step);
        }
        assert!(trails.all.len() <= MOST + 2);
        // The very last one may have begun anew, but never without its doubt.
        assert!(matches!(trails.outcome(trail), Outcome::Unknown(_)));
    }
}

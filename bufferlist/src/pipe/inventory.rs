//! The stock of a pool: what is idle, how much is out, and who may have more. No system calls, so that it can be checked
//! by a model of all the ways in which threads can meet.

use crate::sync::{Mutex, lock};

/// What a shelf needs to know of the things on it.
pub(super) trait Weighted {
    /// How much of the shared bound it takes.
    fn weight(&self) -> u64;
}

/// After a refusal of the system, so many requests are refused without asking it again, unless something is given back
/// before: a process at its limit of open files would otherwise pay three failing system calls for each chunk.
const BACKOFF_REQUESTS: u32 = 64;

/// Things of a kind, at most so many, at most so heavy, idle or out.
#[derive(Debug)]
pub(super) struct Inventory<T> {
    state: Mutex<State<T>>,
    max_count: usize,
    max_weight: u64,
    /// What a thing weighs when it is made.
    default_weight: u64,
}

#[derive(Debug)]
struct State<T> {
    idle: Vec<T>,
    /// Things that live, idle and out, and places that are promised to a maker.
    count: usize,
    weight: u64,
    backoff: u32,
}

impl<T: Weighted> State<T> {
    /// The heaviest of those that are idle, if it weighs `need` at least.
    fn heaviest(&mut self, need: u64) -> Option<T> {
        let at = (0..self.idle.len()).max_by_key(|&at| self.idle[at].weight())?;
        (self.idle[at].weight() >= need).then(|| self.idle.swap_remove(at))
    }
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lease<T> {
    /// Here is one.
    Idle(T),
    /// Make one, for which so much weight is promised, and say so by [`Shelf::made`] or [`Shelf::not_made`].
    Create(u64),
    /// There is none to be had.
    Exhausted,
}

/// How much lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    pub(super) idle: usize,
    pub(super) count: usize,
    pub(super) weight: u64,
}

impl<T: Weighted> Inventory<T> {
    pub(super) fn new(max_count: usize, max_weight: u64, default_weight: u64) -> Self {
        let state = State {
            idle: Vec::new(),
            count: 0,
            weight: 0,
            backoff: 0,
        };
        Self {
            state: Mutex::new(state),
            max_count,
            max_weight,
            default_weight,
        }
    }

    /// Asks for one that weighs `want`, or if that is not to be had at least `need`. A idle one that weighs enough is
    /// preferred to a new one, and the lightest of them, so that the heavy ones are there for who needs them; the heaviest
    /// of those that weigh too little to none at all.
    pub(super) fn lease(&self, want: u64, need: u64) -> Lease<T> {
        let mut state = lock(&self.state);
        let enough = (0..state.idle.len()).filter(|&at| state.idle[at].weight() >= want);
        if let Some(at) = enough.min_by_key(|&at| state.idle[at].weight()) {
            return Lease::Idle(state.idle.swap_remove(at));
        }
        let reserved = need.max(self.default_weight);
        let room = state.count < self.max_count && state.weight + reserved <= self.max_weight;
        if room && state.backoff == 0 {
            state.count += 1;
            state.weight += reserved;
            return Lease::Create(reserved);
        }
        state.backoff = state.backoff.saturating_sub(1);
        state.heaviest(need).map_or(Lease::Exhausted, Lease::Idle)
    }

    /// A idle one that weighs `need` at least, without making one.
    pub(super) fn take_idle(&self, need: u64) -> Option<T> {
        lock(&self.state).heaviest(need)
    }

    /// Promises that a thing that is out may become as heavy as `to`, if the bounds allow it. What became of it is to be
    /// said by [`reweighed`](Self::reweighed), from `to`.
    pub(super) fn reserve_growth(&self, from: u64, to: u64) -> bool {
        let mut state = lock(&self.state);
        let grown = state.weight - from + to;
        let allowed = grown <= self.max_weight;
        if allowed {
            state.weight = grown;
        }
        allowed
    }

    /// One was made, for which `promise` was promised, and weighs `weight`.
    pub(super) fn created(&self, reserved: u64, weight: u64) {
        let mut state = lock(&self.state);
        state.weight = state.weight - reserved + weight;
        state.backoff = 0;
    }

    /// One that is out has changed its weight.
    pub(super) fn reweigh(&self, from: u64, to: u64) {
        let mut state = lock(&self.state);
        state.weight = state.weight - from + to;
    }

    /// None could be made, for which `weight` was promised, or one that weighs so much and is of no use.
    pub(super) fn creation_failed(&self, weight: u64) {
        let mut state = lock(&self.state);
        state.count -= 1;
        state.weight -= weight;
        state.backoff = BACKOFF_REQUESTS;
    }

    /// Gives one back for others to use.
    pub(super) fn put(&self, item: T) {
        let mut state = lock(&self.state);
        state.idle.push(item);
        state.backoff = 0;
    }

    /// One that was out is no more.
    pub(super) fn removed(&self, weight: u64) {
        let mut state = lock(&self.state);
        state.count -= 1;
        state.weight -= weight;
        state.backoff = 0;
    }

    /// Takes all that are idle off the shelf.
    pub(super) fn clear(&self) -> Vec<T> {
        let mut state = lock(&self.state);
        let idle = std::mem::take(&mut state.idle);
        state.count -= idle.len();
        state.weight -= idle.iter().map(Weighted::weight).sum::<u64>();
        idle
    }

    pub(super) fn usage(&self) -> Usage {
        let state = lock(&self.state);
        Usage {
            idle: state.idle.len(),
            count: state.count,
            weight: state.weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Box(u64);

    impl Weighted for Box {
        fn weight(&self) -> u64 {
            self.0
        }
    }

    #[cfg(not(model))]
    #[test]
    fn inventory_is_bounded_in_count_and_weight() {
        let inventory = Inventory::new(2, 48, 16);
        assert_eq!(inventory.lease(16, 1), Lease::<Box>::Create(16));
        inventory.created(16, 16);
        assert_eq!(inventory.lease(16, 16), Lease::Create(16));
        inventory.created(16, 16);
        assert_eq!(inventory.lease(16, 1), Lease::Exhausted, "two is the bound");
        inventory.put(Box(16));
        assert_eq!(
            inventory.lease(64, 1),
            Lease::Idle(Box(16)),
            "better a small one than none"
        );
        inventory.removed(16);
        assert_eq!(inventory.lease(33, 33), Lease::Exhausted, "16 + 33 is over the weight");
        assert!(
            inventory.reserve_growth(16, 48) && !inventory.reserve_growth(48, 64),
            "48 is the bound"
        );
        inventory.reweigh(48, 16);
        assert_eq!(
            inventory.usage(),
            Usage {
                idle: 0,
                count: 1,
                weight: 16
            }
        );
    }

    #[cfg(not(model))]
    #[test]
    fn creation_is_not_retried_during_backoff() {
        let inventory = Inventory::<Box>::new(10, 1000, 16);
        assert_eq!(inventory.lease(16, 1), Lease::Create(16));
        inventory.creation_failed(16);
        for _ in 0..BACKOFF_REQUESTS {
            assert_eq!(inventory.lease(16, 1), Lease::Exhausted);
        }
        assert_eq!(inventory.lease(16, 1), Lease::Create(16));
        inventory.creation_failed(16);
        inventory.put(Box(16));
        assert_eq!(
            inventory.lease(32, 17),
            Lease::Create(17),
            "something came back, so it is asked again"
        );
    }

    /// Three threads take, make, give back and destroy: in no meeting of them does one thing have two owners, nor are
    /// the bounds broken, nor is a place on the shelf lost.
    #[cfg(model)]
    #[test]
    fn loom_inventory_keeps_its_bounds() {
        use loom::sync::Arc;
        use loom::sync::atomic::{AtomicUsize, Ordering};

        loom::model(|| {
            let inventory = Arc::new(Inventory::<Box>::new(1, 16, 16));
            let alive = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..2)
                .map(|number| {
                    let (inventory, alive) = (Arc::clone(&inventory), Arc::clone(&alive));
                    loom::thread::spawn(move || {
                        let item = match inventory.lease(16, 16) {
                            Lease::Idle(item) => item,
                            Lease::Create(reserved) if number == 1 => {
                                inventory.creation_failed(reserved);
                                return;
                            }
                            Lease::Create(reserved) => {
                                assert_eq!(alive.fetch_add(1, Ordering::SeqCst), 0, "one is the bound");
                                inventory.created(reserved, 16);
                                Box(16)
                            }
                            Lease::Exhausted => return,
                        };
                        inventory.put(item);
                    })
                })
                .collect();
            match inventory.lease(16, 16) {
                Lease::Idle(item) => {
                    alive.fetch_sub(1, Ordering::SeqCst);
                    inventory.removed(item.weight());
                }
                Lease::Create(reserved) => inventory.creation_failed(reserved),
                Lease::Exhausted => {}
            }
            for thread in threads {
                thread.join().expect("thread");
            }
            let usage = inventory.usage();
            assert!(usage.count <= 1 && usage.weight <= 16, "{level:?}");
            assert_eq!(
                usage.idle, usage.count,
                "what lives is on the shelf when nobody holds it"
            );
        });
    }
    /// Two threads grow what they hold at the same time: together they keep to the bound.
    #[cfg(model)]
    #[test]
    fn loom_concurrent_growth_keeps_the_bound() {
        use loom::sync::Arc;

        loom::model(|| {
            let inventory = Arc::new(Inventory::<Box>::new(2, 48, 16));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let inventory = Arc::clone(&inventory);
                    loom::thread::spawn(move || {
                        let Lease::Create(reserved) = inventory.lease(16, 16) else {
                            unreachable!("there is room for two")
                        };
                        inventory.created(reserved, 16);
                        let grown = inventory.reserve_growth(16, 32);
                        assert!(inventory.usage().weight <= 48);
                        grown
                    })
                })
                .collect();
            let grown = threads.into_iter().map(|thread| thread.join().expect("thread"));
            assert_eq!(
                grown.filter(|&grown| grown).count(),
                1,
                "48 is room for one of them to grow"
            );
        });
    }
}

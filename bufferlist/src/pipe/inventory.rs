//! Inventory of a pool: the idle items, the number and weight of all items, and who may create
//! more.
//!
//! Makes no system calls, so that the model checker can explore all interleavings of threads.

use crate::sync::{Mutex, lock};

/// Item of an inventory.
pub(super) trait Weighted {
    /// Returns the share of the inventory's weight bound that the item takes.
    fn weight(&self) -> u64;
}

/// Requests that are refused after a failed creation without trying again, unless an item is
/// returned first. A process at its limit of open files would otherwise pay three failing system
/// calls for each chunk.
const BACKOFF_REQUESTS: u32 = 64;

/// Items of one kind, idle or in use, bounded in number and in total weight.
#[derive(Debug)]
pub(super) struct Inventory<T> {
    state: Mutex<State<T>>,
    max_count: usize,
    max_weight: u64,
    /// Weight of a new item.
    default_weight: u64,
}

#[derive(Debug)]
struct State<T> {
    idle: Vec<T>,
    /// Number of live items, idle and in use, and of reservations for items being created.
    count: usize,
    weight: u64,
    backoff: u32,
}

impl<T: Weighted> State<T> {
    /// Takes the heaviest idle item, if its weight is at least `need`.
    fn heaviest(&mut self, need: u64) -> Option<T> {
        let at = (0..self.idle.len()).max_by_key(|&at| self.idle[at].weight())?;
        (self.idle[at].weight() >= need).then(|| self.idle.swap_remove(at))
    }
}

/// Answer to a request for an item.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lease<T> {
    /// An idle item.
    Idle(T),
    /// Permission to create an item, with the weight reserved for it. The caller reports the result
    /// by [`Inventory::created`] or [`Inventory::creation_failed`].
    Create(u64),
    /// No item is available.
    Exhausted,
}

/// Number and weight of the live items.
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

    /// Requests an item of weight `want`, or of weight `need` at least.
    ///
    /// Prefers an idle item that is heavy enough to a new one, and the lightest such item, so that
    /// heavy items stay available for large requests. If no item can be created, returns the
    /// heaviest idle item of weight `need` at least.
    pub(super) fn lease(&self, want: u64, need: u64) -> Lease<T> {
        let mut state = lock(&self.state);
        let enough = (0..state.idle.len()).filter(|&at| state.idle[at].weight() >= want);
        if let Some(at) = enough.min_by_key(|&at| state.idle[at].weight()) {
            return Lease::Idle(state.idle.swap_remove(at));
        }
        let reserved = need.max(self.default_weight);
        let has_room = state.count < self.max_count && state.weight + reserved <= self.max_weight;
        if has_room && state.backoff == 0 {
            state.count += 1;
            state.weight += reserved;
            return Lease::Create(reserved);
        }
        state.backoff = state.backoff.saturating_sub(1);
        state.heaviest(need).map_or(Lease::Exhausted, Lease::Idle)
    }

    /// Takes an idle item of weight `need` at least, without creating one.
    pub(super) fn take_idle(&self, need: u64) -> Option<T> {
        lock(&self.state).heaviest(need)
    }

    /// Reserves the growth of an item in use from weight `from` to `to`, and returns whether the
    /// bounds allow it. The caller reports the result by [`reweigh`](Self::reweigh), from `to`.
    pub(super) fn reserve_growth(&self, from: u64, to: u64) -> bool {
        let mut state = lock(&self.state);
        let grown = state.weight - from + to;
        let allowed = grown <= self.max_weight;
        if allowed {
            state.weight = grown;
        }
        allowed
    }

    /// Records that an item was created, with weight `weight`, on a reservation of `reserved`.
    pub(super) fn created(&self, reserved: u64, weight: u64) {
        let mut state = lock(&self.state);
        state.weight = state.weight - reserved + weight;
        state.backoff = 0;
    }

    /// Records that an item in use has changed its weight.
    pub(super) fn reweigh(&self, from: u64, to: u64) {
        let mut state = lock(&self.state);
        state.weight = state.weight - from + to;
    }

    /// Records that an item was not created, and releases its reservation; or that one of this
    /// weight was created and closed because it was too small.
    pub(super) fn creation_failed(&self, weight: u64) {
        let mut state = lock(&self.state);
        state.count -= 1;
        state.weight -= weight;
        state.backoff = BACKOFF_REQUESTS;
    }

    /// Returns an item for reuse.
    pub(super) fn put(&self, item: T) {
        let mut state = lock(&self.state);
        state.idle.push(item);
        state.backoff = 0;
    }

    /// Records that an item in use no longer exists.
    pub(super) fn removed(&self, weight: u64) {
        let mut state = lock(&self.state);
        state.count -= 1;
        state.weight -= weight;
        state.backoff = 0;
    }

    /// Removes all idle items.
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
            "an item was returned, so creation is tried again"
        );
    }

    /// Three threads lease, create, return and destroy. In every interleaving, no item has two
    /// owners, the bounds hold, and no reservation is lost.
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
            assert!(usage.count <= 1 && usage.weight <= 16, "{usage:?}");
            assert_eq!(usage.idle, usage.count, "all live items are idle when none is in use");
        });
    }
    /// Two threads grow their items concurrently. Together they keep the bound.
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

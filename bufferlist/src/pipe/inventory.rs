//! The stock of a pool: what is free, how much is out, and who may have more. No system calls, so that it can be checked
//! by a model of all the ways in which threads can meet.

use crate::sync::{Mutex, lock};

/// What a shelf needs to know of the things on it.
pub(super) trait Stocked {
    /// How much of the shared bound it takes.
    fn weight(&self) -> u64;
}

/// After a refusal of the system, so many requests are refused without asking it again, unless something is given back
/// before: a process at its limit of open files would otherwise pay three failing system calls for each chunk.
const SULK: u32 = 64;

/// Things of a kind, at most so many, at most so heavy, free or out.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    state: Mutex<State<T>>,
    max_things: usize,
    max_weight: u64,
    /// What a thing weighs when it is made.
    newborn: u64,
}

#[derive(Debug)]
struct State<T> {
    free: Vec<T>,
    /// Things that live, free and out, and places that are promised to a maker.
    things: usize,
    weight: u64,
    sulk: u32,
}

impl<T: Stocked> State<T> {
    /// The heaviest of those that are free, if it weighs `need` at least.
    fn heaviest(&mut self, need: u64) -> Option<T> {
        let at = (0..self.free.len()).max_by_key(|&at| self.free[at].weight())?;
        (self.free[at].weight() >= need).then(|| self.free.swap_remove(at))
    }
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given<T> {
    /// Here is one.
    One(T),
    /// Make one, for which so much weight is promised, and say so by [`Shelf::made`] or [`Shelf::not_made`].
    Make(u64),
    /// There is none to be had.
    None,
}

/// How much lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Level {
    pub(super) free: usize,
    pub(super) things: usize,
    pub(super) weight: u64,
}

impl<T: Stocked> Shelf<T> {
    pub(super) fn new(max_things: usize, max_weight: u64, newborn: u64) -> Self {
        let state = State {
            free: Vec::new(),
            things: 0,
            weight: 0,
            sulk: 0,
        };
        Self {
            state: Mutex::new(state),
            max_things,
            max_weight,
            newborn,
        }
    }

    /// Asks for one that weighs `want`, or if that is not to be had at least `need`. A free one that weighs enough is
    /// preferred to a new one, and the lightest of them, so that the heavy ones are there for who needs them; the heaviest
    /// of those that weigh too little to none at all.
    pub(super) fn take(&self, want: u64, need: u64) -> Given<T> {
        let mut state = lock(&self.state);
        let enough = (0..state.free.len()).filter(|&at| state.free[at].weight() >= want);
        if let Some(at) = enough.min_by_key(|&at| state.free[at].weight()) {
            return Given::One(state.free.swap_remove(at));
        }
        let promise = need.max(self.newborn);
        let room = state.things < self.max_things && state.weight + promise <= self.max_weight;
        if room && state.sulk == 0 {
            state.things += 1;
            state.weight += promise;
            return Given::Make(promise);
        }
        state.sulk = state.sulk.saturating_sub(1);
        state.heaviest(need).map_or(Given::None, Given::One)
    }

    /// A free one that weighs `need` at least, without making one.
    pub(super) fn take_free(&self, need: u64) -> Option<T> {
        lock(&self.state).heaviest(need)
    }

    /// Promises that a thing that is out may become as heavy as `to`, if the bounds allow it. What became of it is to be
    /// said by [`reweighed`](Self::reweighed), from `to`.
    pub(super) fn may_grow(&self, from: u64, to: u64) -> bool {
        let mut state = lock(&self.state);
        let grown = state.weight - from + to;
        let allowed = grown <= self.max_weight;
        if allowed {
            state.weight = grown;
        }
        allowed
    }

    /// One was made, for which `promise` was promised, and weighs `weight`.
    pub(super) fn made(&self, promise: u64, weight: u64) {
        let mut state = lock(&self.state);
        state.weight = state.weight - promise + weight;
        state.sulk = 0;
    }

    /// One that is out has changed its weight.
    pub(super) fn reweighed(&self, from: u64, to: u64) {
        let mut state = lock(&self.state);
        state.weight = state.weight - from + to;
    }

    /// None could be made, for which `weight` was promised, or one that weighs so much and is of no use.
    pub(super) fn not_made(&self, weight: u64) {
        let mut state = lock(&self.state);
        state.things -= 1;
        state.weight -= weight;
        state.sulk = SULK;
    }

    /// Gives one back for others to use.
    pub(super) fn put(&self, thing: T) {
        let mut state = lock(&self.state);
        state.free.push(thing);
        state.sulk = 0;
    }

    /// One that was out is no more.
    pub(super) fn gone(&self, weight: u64) {
        let mut state = lock(&self.state);
        state.things -= 1;
        state.weight -= weight;
        state.sulk = 0;
    }

    /// Takes all that are free off the shelf.
    pub(super) fn clear(&self) -> Vec<T> {
        let mut state = lock(&self.state);
        let free = std::mem::take(&mut state.free);
        state.things -= free.len();
        state.weight -= free.iter().map(Stocked::weight).sum::<u64>();
        free
    }

    pub(super) fn level(&self) -> Level {
        let state = lock(&self.state);
        Level {
            free: state.free.len(),
            things: state.things,
            weight: state.weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Box(u64);

    impl Stocked for Box {
        fn weight(&self) -> u64 {
            self.0
        }
    }

    #[cfg(not(model))]
    #[test]
    fn a_shelf_is_bounded_in_number_and_weight() {
        let shelf = Shelf::new(2, 48, 16);
        assert_eq!(shelf.take(16, 1), Given::<Box>::Make(16));
        shelf.made(16, 16);
        assert_eq!(shelf.take(16, 16), Given::Make(16));
        shelf.made(16, 16);
        assert_eq!(shelf.take(16, 1), Given::None, "two is the bound");
        shelf.put(Box(16));
        assert_eq!(shelf.take(64, 1), Given::One(Box(16)), "better a small one than none");
        shelf.gone(16);
        assert_eq!(shelf.take(33, 33), Given::None, "16 + 33 is over the weight");
        assert!(shelf.may_grow(16, 48) && !shelf.may_grow(48, 64), "48 is the bound");
        shelf.reweighed(48, 16);
        assert_eq!(
            shelf.level(),
            Level {
                free: 0,
                things: 1,
                weight: 16
            }
        );
    }

    #[cfg(not(model))]
    #[test]
    fn after_a_refusal_the_system_is_left_alone_for_a_while() {
        let shelf = Shelf::<Box>::new(10, 1000, 16);
        assert_eq!(shelf.take(16, 1), Given::Make(16));
        shelf.not_made(16);
        for _ in 0..SULK {
            assert_eq!(shelf.take(16, 1), Given::None);
        }
        assert_eq!(shelf.take(16, 1), Given::Make(16));
        shelf.not_made(16);
        shelf.put(Box(16));
        assert_eq!(
            shelf.take(32, 17),
            Given::Make(17),
            "something came back, so it is asked again"
        );
    }

    /// Three threads take, make, give back and destroy: in no meeting of them does one thing have two owners, nor are
    /// the bounds broken, nor is a place on the shelf lost.
    #[cfg(model)]
    #[test]
    fn loom_shelf_keeps_its_bounds() {
        use loom::sync::Arc;
        use loom::sync::atomic::{AtomicUsize, Ordering};

        loom::model(|| {
            let shelf = Arc::new(Shelf::<Box>::new(1, 16, 16));
            let alive = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..2)
                .map(|number| {
                    let (shelf, alive) = (Arc::clone(&shelf), Arc::clone(&alive));
                    loom::thread::spawn(move || {
                        let thing = match shelf.take(16, 16) {
                            Given::One(thing) => thing,
                            Given::Make(promise) if number == 1 => {
                                shelf.not_made(promise);
                                return;
                            }
                            Given::Make(promise) => {
                                assert_eq!(alive.fetch_add(1, Ordering::SeqCst), 0, "one is the bound");
                                shelf.made(promise, 16);
                                Box(16)
                            }
                            Given::None => return,
                        };
                        shelf.put(thing);
                    })
                })
                .collect();
            match shelf.take(16, 16) {
                Given::One(thing) => {
                    alive.fetch_sub(1, Ordering::SeqCst);
                    shelf.gone(thing.weight());
                }
                Given::Make(promise) => shelf.not_made(promise),
                Given::None => {}
            }
            for thread in threads {
                thread.join().expect("thread");
            }
            let level = shelf.level();
            assert!(level.things <= 1 && level.weight <= 16, "{level:?}");
            assert_eq!(
                level.free, level.things,
                "what lives is on the shelf when nobody holds it"
            );
        });
    }
    /// Two threads grow what they hold at the same time: together they keep to the bound.
    #[cfg(model)]
    #[test]
    fn loom_growth_keeps_to_the_bound() {
        use loom::sync::Arc;

        loom::model(|| {
            let shelf = Arc::new(Shelf::<Box>::new(2, 48, 16));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let shelf = Arc::clone(&shelf);
                    loom::thread::spawn(move || {
                        let Given::Make(promise) = shelf.take(16, 16) else {
                            unreachable!("there is room for two")
                        };
                        shelf.made(promise, 16);
                        let grown = shelf.may_grow(16, 32);
                        assert!(shelf.level().weight <= 48);
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

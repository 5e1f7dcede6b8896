//! A plan of faults for the calling thread: which system call fails, or is cut short, and how.
//!
//! Only for tests, behind the private feature `__fault`. A plan counts the calls of its thread from zero; at the
//! positions that it names, the call is refused (nothing is done) or shortened (done in part). It also records every
//! call, so that a test can first run a scenario untouched and then visit each of its calls in turn.

use super::{Call, Sys};
use rustix::io::Errno;
use std::cell::RefCell;

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is refused with this errno, and does nothing.
    Error(i32),
    /// It may move one byte at most.
    OneByte,
    /// It may move all but one byte.
    AllButOne,
    /// It may move half of what was asked.
    Half,
}

/// Which calls are hit.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Single calls, by position.
    pub single: Vec<(usize, Fault)>,
    /// Every call of this name from this position on.
    pub persistent: Option<(usize, Call, Fault)>,
}

#[derive(Default)]
struct State {
    plan: Plan,
    calls: Vec<(Call, usize)>,
    hits: usize,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
    static OFF_BY_ONE: RefCell<bool> = const { RefCell::new(false) };
}

/// What a run under a plan has shown.
#[derive(Clone, Debug, Default)]
pub struct CallLog {
    /// The calls in order, with the length that each was asked for.
    pub calls: Vec<(Call, usize)>,
    /// How many were hit.
    pub hits: usize,
}

/// Runs `work` under `plan`, on this thread, and returns what it did besides its result.
///
/// # Panics
///
/// If a plan is in force already.
pub fn with_plan<T>(plan: Plan, work: impl FnOnce() -> T) -> (T, CallLog) {
    /// Ends the plan when the work panics, too.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            STATE.with(|state| *state.borrow_mut() = None);
        }
    }
    STATE.with(|state| {
        let old = state.borrow_mut().replace(State {
            plan,
            ..State::default()
        });
        assert!(old.is_none(), "one plan of faults at a time");
    });
    let guard = Guard;
    let result = work();
    let record = STATE.with(|state| {
        let state = state.borrow_mut().take().unwrap_or_default();
        CallLog {
            calls: state.calls,
            hits: state.hits,
        }
    });
    drop(guard);
    (result, record)
}

/// Plants an off-by-one into the splitting of pipe segments while `work` runs on this thread. The property test must
/// find it: a test that cannot fail proves nothing.
pub fn with_injected_off_by_one<T>(work: impl FnOnce() -> T) -> T {
    /// Takes the plant out when the work panics, too.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            OFF_BY_ONE.with(|off_by_one| *off_by_one.borrow_mut() = false);
        }
    }
    OFF_BY_ONE.with(|off_by_one| *off_by_one.borrow_mut() = true);
    let _guard = Guard;
    work()
}

/// One where the off-by-one is planted, else zero.
pub(crate) fn injected_off_by_one() -> u64 {
    OFF_BY_ONE.with(|off_by_one| u64::from(*off_by_one.borrow()))
}

/// Asks the plan about a call of `len` bytes: how many it may move, or how it fails.
pub(super) fn enter(call: Call, len: usize) -> Sys<usize> {
    STATE.with(|state| {
        let mut state = state.borrow_mut();
        let Some(state) = state.as_mut() else {
            return Ok(len);
        };
        let position = state.calls.len();
        state.calls.push((call, len));
        let single = state
            .plan
            .single
            .iter()
            .find(|(at, _)| *at == position)
            .map(|(_, fault)| *fault);
        let lasting = state
            .plan
            .persistent
            .filter(|(from, name, _)| position >= *from && *name == call)
            .map(|(_, _, fault)| fault);
        let Some(fault) = single.or(lasting) else {
            return Ok(len);
        };
        state.hits += 1;
        match fault {
            Fault::Error(errno) => Err(Errno::from_raw_os_error(errno)),
            Fault::OneByte => Ok(len.min(1)),
            Fault::AllButOne => Ok(len.saturating_sub(1).max(1).min(len)),
            Fault::Half => Ok((len / 2).max(1).min(len)),
        }
    })
}

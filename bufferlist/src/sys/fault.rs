//! Fault injection for the calling thread: which system call fails or is shortened, and how.
//!
//! For tests only, behind the private feature `__fault`. A plan counts the thread's calls from
//! zero. At the positions that it lists, a call fails (it is not made) or is shortened (it is made
//! for fewer bytes). All calls are logged, so that a test can run a scenario once without faults
//! and then visit each of its calls in turn.

use super::{Call, Sys};
use rustix::io::Errno;
use std::cell::RefCell;

/// Fault of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The call is not made, and fails with this error number.
    Error(i32),
    /// The call may move one byte at most.
    OneByte,
    /// The call may move all but one byte.
    AllButOne,
    /// The call may move half of the requested bytes.
    Half,
}

/// Calls to inject faults into.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Single calls, by position.
    pub single: Vec<(usize, Fault)>,
    /// Every call with this name from this position on.
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

/// Log of a run under a plan.
#[derive(Clone, Debug, Default)]
pub struct CallLog {
    /// Calls in order, each with the requested length.
    pub calls: Vec<(Call, usize)>,
    /// Number of calls that a fault was injected into.
    pub hits: usize,
}

/// Runs `work` under `plan` on this thread, and returns its result and the log.
///
/// # Panics
///
/// Panics if a plan is already active.
pub fn with_plan<T>(plan: Plan, work: impl FnOnce() -> T) -> (T, CallLog) {
    /// Ends the plan, even if the work panics.
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

/// Injects an off-by-one into the splitting of pipe segments while `work` runs on this thread. The
/// property test must find it: a test that cannot fail proves nothing.
pub fn with_injected_off_by_one<T>(work: impl FnOnce() -> T) -> T {
    /// Ends the injection, even if the work panics.
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

/// Returns one while the off-by-one is injected, and zero otherwise.
pub(crate) fn injected_off_by_one() -> u64 {
    OFF_BY_ONE.with(|off_by_one| u64::from(*off_by_one.borrow()))
}

/// Applies the plan to a call of `len` bytes: returns how many it may move, or its error.
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

//! The locks and counters of the pool, from `std` or, in the model checker's build, from `loom`.

#[cfg(model)]
pub(crate) use loom::sync::Mutex;
#[cfg(not(model))]
pub(crate) use std::sync::Mutex;

/// Takes a lock whose owner may have panicked: what our locks guard is consistent between any two statements.
#[cfg(not(model))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As above; loom's locks are never poisoned.
#[cfg(model)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().expect("loom does not poison")
}

//! The locks of the pool and the words of the journal, from `std` or, in the model checker's build, from `loom`.

#[cfg(model)]
pub(crate) use loom::sync::Mutex;
#[cfg(model)]
pub(crate) use loom::sync::atomic::{AtomicU64, fence};
#[cfg(not(model))]
pub(crate) use std::sync::Mutex;
#[cfg(not(model))]
pub(crate) use std::sync::atomic::{AtomicU64, fence};

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

//! Locks of the pool and words of the journal: from `std`, or from `loom` in the model checker's
//! build.

#[cfg(model)]
pub(crate) use loom::sync::Mutex;
#[cfg(model)]
pub(crate) use loom::sync::atomic::{AtomicU64, fence};
#[cfg(not(model))]
pub(crate) use std::sync::Mutex;
#[cfg(not(model))]
pub(crate) use std::sync::atomic::{AtomicU64, fence};

/// Locks a mutex whose previous holder may have panicked. Data guarded by the crate's locks is
/// consistent between any two statements.
#[cfg(not(model))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Locks a mutex. Loom's locks are never poisoned.
#[cfg(model)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().expect("loom does not poison")
}

//! Values of eBPF maps.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Key or value of a map, in the form that aya reads.
#[repr(transparent)]
#[derive(Clone, Copy, Default)]
pub(super) struct Pod<T>(pub(super) T);

#[allow(unsafe_code)]
// SAFETY: aya reads a value from the bytes that the kernel returns, and passes the bytes of a key
// to the kernel. Every sequence of bytes is a `T` because it is `FromBytes`; all bytes of a `T` are
// initialized because it is `IntoBytes`, and cannot change behind a reference because it is
// `Immutable`. `Pod<T>` has the layout of `T` because it is `repr(transparent)`.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Pod<T> {}

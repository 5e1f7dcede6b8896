//! Reading memory that may not be there.

use aya_ebpf::helpers::generated;
use core::mem::{MaybeUninit, size_of};

use zctrace_records::{Pod, RDONLY_CAST_PLACEHOLDER};
use zerocopy::{FromZeros, IntoBytes};

use crate::offsets::{Offset, RDONLY_CAST};

/// What lies at an address of the kernel; zero if nothing does.
#[inline(always)]
pub(crate) fn kernel<T: Pod>(address: u64) -> T {
    if RDONLY_CAST.load() == 1 {
        // SAFETY: what the kernel's `bpf_rdonly_cast` returns may be read anywhere: an address at which nothing is gives zeros
        // (PROBE_MEM, arch/x86/net/bpf_jit_comp.c).
        return unsafe { cast(address).cast::<T>().read_volatile() };
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper fills the value on every path, with zeros if the address cannot be read
    // (bpf_probe_read_kernel_common, kernel/trace/bpf_trace.c), and all bytes are valid ones.
    unsafe {
        generated::bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        value.assume_init()
    }
}

/// The address as a pointer that may be read through: `bpf_rdonly_cast` to `void` (kernel/bpf/helpers.c, since 6.17), at no
/// cost. The user side puts the kernel's number of it in the place of [`RDONLY_CAST_PLACEHOLDER`], or takes the call out.
///
/// It may be read through only where [`DIRECT`] says so.
#[inline(always)]
fn cast(address: u64) -> *const u8 {
    // SAFETY: how helpers are called: the address of the function is their number.
    let cast: extern "C" fn(u64, u64) -> *const u8 = unsafe { core::mem::transmute(RDONLY_CAST_PLACEHOLDER) };
    cast(address, 0)
}

/// A member of a structure of the kernel; zero if it cannot be read. A chain of such reads from a null pointer is all
/// zero.
#[inline(always)]
pub(crate) fn member<T: Pod>(base: u64, offset: &Offset) -> T {
    kernel(base.wrapping_add(u64::from(offset.load())))
}

/// What lies at an address of the program; zero if it is not in memory right now.
#[inline(always)]
pub(crate) fn user<T: Pod>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as above (bpf_probe_read_user_common).
    unsafe {
        generated::bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        value.assume_init()
    }
}

/// Hides from the compiler what it knows of a value, so that a mask that the verifier needs is not removed as useless.
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Reads `len` bytes of the kernel to `to`, which has room for `MASK` and lies in a map.
///
/// # Safety
///
/// `to` must be valid for writes of `MASK` bytes; `MASK` is a power of two less one.
#[inline(always)]
pub(crate) unsafe fn kernel_bytes<const MASK: u64>(to: *mut u8, len: u64, address: u64) {
    // SAFETY: the caller's promise; the length is masked to it.
    unsafe { generated::bpf_probe_read_kernel(to.cast(), (opaque(len) & MASK) as u32, address as *const _) };
}

/// Adds to a word that other CPUs add to as well. (The target has these instructions, but `core` offers no atomics for
/// it.)
///
/// # Safety
///
/// `word` must be aligned and valid for reads and writes, and be accessed atomically by all.
#[inline(always)]
pub(crate) unsafe fn atomic_add(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) value, options(nostack)) };
}

/// As [`add`], and tells what was there before. The kernel has it since 5.12.
///
/// # Safety
///
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn atomic_fetch_add(word: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            "{1} = atomic_fetch_add((u64 *)({0} + 0), {1})",
            in(reg) word,
            inout(reg) value,
            options(nostack)
        );
    };
    value
}

/// Fills a value with zeros, word by word: the target's `memset` goes byte by byte.
///
/// # Safety
///
/// `value` must be aligned to 8 bytes and valid for writes.
#[inline(always)]
pub(crate) unsafe fn zero<T: FromZeros>(value: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let words = value.cast::<u64>();
    let mut index = 0;
    while index < size_of::<T>() / 8 {
        // SAFETY: the caller's promise. Volatile, as the compiler would make a call of `memset` out of it again.
        unsafe { words.add(index).write_volatile(0) };
        index += 1;
    }
}

/// Copies a value, word by word: the compiler makes a call of the target's `memmove` of an assignment, even of two words, and
/// that goes byte by byte.
///
/// # Safety
///
/// `from` must be valid for reads and `to` for writes, both aligned to 8 bytes.
#[inline(always)]
pub(crate) unsafe fn copy<T: Copy + IntoBytes>(to: *mut T, from: *const T) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let (to, from) = (to.cast::<u64>(), from.cast::<u64>());
    let mut index = 0;
    while index < size_of::<T>() / 8 {
        // SAFETY: the caller's promise. Volatile, for the same reason as above.
        unsafe { to.add(index).write_volatile(from.add(index).read()) };
        index += 1;
    }
}

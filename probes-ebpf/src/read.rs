//! Reads of memory that may not be mapped, and word-wise operations on memory of the programs.

use aya_ebpf::helpers::generated;
use core::mem::{MaybeUninit, size_of};

use zctrace_records::{Pod, RDONLY_CAST_PLACEHOLDER};
use zerocopy::{FromZeros, IntoBytes};

use crate::offsets::{Offset, RDONLY_CAST};

/// Reads a value of kernel memory, or zeros if the address cannot be read.
#[inline(always)]
pub(crate) fn kernel<T: Pod>(address: u64) -> T {
    if RDONLY_CAST.load() == 1 {
        // SAFETY: reading requires a pointer that is valid for reads. The verifier accepts a
        // pointer from `bpf_rdonly_cast` at any address, and a read of an unmapped address yields
        // zeros (PROBE_MEM, arch/x86/net/bpf_jit_comp.c). `Pod` accepts every bit pattern.
        return unsafe { cast(address).cast::<T>().read_volatile() };
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: `assume_init` requires an initialized value. The helper fills the value on every
    // path, with zeros if the address cannot be read (bpf_probe_read_kernel_common,
    // kernel/trace/bpf_trace.c). `Pod` accepts every bit pattern.
    unsafe {
        generated::bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        value.assume_init()
    }
}

/// Returns a kernel address as a pointer that the verifier allows to read through.
///
/// Calls `bpf_rdonly_cast` to `void` (kernel/bpf/helpers.c, since Linux 6.17), which compiles to
/// nothing. The loader replaces [`RDONLY_CAST_PLACEHOLDER`] by the kernel's number of that
/// function, or removes the call. The pointer may be read only if the global [`RDONLY_CAST`] is 1.
#[inline(always)]
fn cast(address: u64) -> *const u8 {
    // SAFETY: `transmute` requires the same size and a valid function pointer. A helper is called
    // through an address that equals its number, and the verifier resolves this number.
    let cast: extern "C" fn(u64, u64) -> *const u8 = unsafe { core::mem::transmute(RDONLY_CAST_PLACEHOLDER) };
    cast(address, 0)
}

/// Reads a member of a kernel structure, or zeros if it cannot be read. A chain of such reads from
/// a null pointer yields zeros.
#[inline(always)]
pub(crate) fn member<T: Pod>(base: u64, offset: &Offset) -> T {
    kernel(base.wrapping_add(u64::from(offset.load())))
}

/// Reads a value of the process's memory, or zeros if the page is not present.
#[inline(always)]
pub(crate) fn user<T: Pod>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: `assume_init` requires an initialized value. The helper fills the value on every
    // path, with zeros if the address cannot be read (bpf_probe_read_user_common,
    // kernel/trace/bpf_trace.c). `Pod` accepts every bit pattern.
    unsafe {
        generated::bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        value.assume_init()
    }
}

/// Hides a value's range from the compiler, so that it does not remove a mask that the verifier
/// needs.
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: inline assembly requires that its options and operands are correct. This one has no
    // instruction and changes nothing.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Reads `len` bytes of kernel memory to `to`, which lies in a map.
///
/// # Safety
///
/// `to` must be valid for writes of `MASK` bytes, and `MASK` must be a power of two minus one.
#[inline(always)]
pub(crate) unsafe fn kernel_bytes<const MASK: u64>(to: *mut u8, len: u64, address: u64) {
    // SAFETY: the helper requires a buffer of the given length. The mask limits the length to
    // `MASK`, and the caller guarantees that many bytes.
    unsafe { generated::bpf_probe_read_kernel(to.cast(), (opaque(len) & MASK) as u32, address as *const _) };
}

/// Adds to a word that other CPUs also add to. The target has an instruction for this, but `core`
/// offers no atomics for the target.
///
/// # Safety
///
/// `word` must be aligned and valid for reads and writes, and all access to it must be atomic.
#[inline(always)]
pub(crate) unsafe fn atomic_add(word: *mut u64, value: u64) {
    // SAFETY: the instruction requires an aligned and valid word, which the caller guarantees.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) value, options(nostack)) };
}

/// Adds to a word that other CPUs also add to, and returns the previous value. Requires Linux 5.12.
///
/// # Safety
///
/// The preconditions of [`atomic_add`] apply.
#[inline(always)]
pub(crate) unsafe fn atomic_fetch_add(word: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: the instruction requires an aligned and valid word, which the caller guarantees.
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

/// Fills a value with zeros, word by word, because the target's `memset` works byte by byte.
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
        // SAFETY: writing requires an aligned and valid pointer, which the caller guarantees, and
        // an index in bounds, which the loop's condition ensures. The write is volatile, because
        // the compiler would otherwise emit a call of `memset`.
        unsafe { words.add(index).write_volatile(0) };
        index += 1;
    }
}

/// Copies a value, word by word. For an assignment, even of two words, the compiler emits a call of
/// the target's `memmove`, which works byte by byte.
///
/// # Safety
///
/// `from` must be valid for reads and `to` for writes, and both must be aligned to 8 bytes.
#[inline(always)]
pub(crate) unsafe fn copy<T: Copy + IntoBytes>(to: *mut T, from: *const T) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let (to, from) = (to.cast::<u64>(), from.cast::<u64>());
    let mut index = 0;
    while index < size_of::<T>() / 8 {
        // SAFETY: access requires aligned and valid pointers, which the caller guarantees, and an
        // index in bounds, which the loop's condition ensures. The write is volatile, because the
        // compiler would otherwise emit a call of `memmove`.
        unsafe { to.add(index).write_volatile(from.add(index).read()) };
        index += 1;
    }
}

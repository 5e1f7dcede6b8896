//! Direct reads of kernel memory, where the kernel has them.
//!
//! `bpf_rdonly_cast(address, 0)` makes an address a pointer that a program may read through, which costs nothing, where
//! `bpf_probe_read_kernel` is a call. The kernel takes 0 for the type since 6.17 (`void`: read as what you like). It is a function
//! of the kernel's own, called by its number in the kernel's BTF, and the loader does not know such calls: the object has
//! a call of a helper that does not exist ([`RDONLY_CAST_PLACEHOLDER`]) in these places, and here it becomes the right one.

use zctrace_records::RDONLY_CAST_PLACEHOLDER;

use crate::layout::btf::Btf;

/// `BPF_JMP | BPF_CALL` (include/uapi/linux/bpf.h).
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL`, as the source register in the upper half of the second byte.
const FUNCTION: u8 = 2 << 4;
/// `BPF_ALU64 | BPF_MOV | BPF_X`: `r0 = r1`, which is what the function is. Where it cannot be called, nobody comes here.
const MOVE: [u8; 8] = [0xbf, 1 << 4, 0, 0, 0, 0, 0, 0];

/// The number of the function in this kernel.
pub(super) fn function(btf: &Btf) -> Option<u32> {
    btf.function("bpf_rdonly_cast")
}

/// The object with its calls of [`RDONLY_CAST_PLACEHOLDER`] made calls of `function`, or taken out; and how many there were.
pub(super) fn patched(object: &[u8], function: Option<u32>) -> (Vec<u8>, usize) {
    let call = function.map_or(MOVE, |number| {
        let mut call = [CALL, FUNCTION, 0, 0, 0, 0, 0, 0];
        call[4..].copy_from_slice(&number.to_ne_bytes());
        call
    });
    let mut wanted = [CALL, 0, 0, 0, 0, 0, 0, 0];
    wanted[4..].copy_from_slice(&(RDONLY_CAST_PLACEHOLDER as u32).to_ne_bytes());
    let mut object = object.to_vec();
    let mut count = 0;
    // Instructions have 8 bytes, and sections of them begin at multiples of 8.
    for instruction in object.chunks_exact_mut(8) {
        if instruction == wanted {
            instruction.copy_from_slice(&call);
            count += 1;
        }
    }
    (object, count)
}

//! Direct reads of kernel memory, on kernels that support them.
//!
//! `bpf_rdonly_cast(address, 0)` turns an address into a pointer that a program may read through.
//! This is free, whereas `bpf_probe_read_kernel` is a call. The kernel accepts type 0 (`void`,
//! readable as any type) since 6.17. The function is a kfunc, called by its ID in the kernel's BTF,
//! and the loader does not support such calls. Therefore the object calls a helper that does not
//! exist ([`RDONLY_CAST_PLACEHOLDER`]), and this module replaces those calls.

use zctrace_records::RDONLY_CAST_PLACEHOLDER;

use crate::layout::btf::Btf;

/// `BPF_JMP | BPF_CALL` (include/uapi/linux/bpf.h).
const BPF_CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL` as the source register, in the upper half of the second byte.
const PSEUDO_KFUNC_CALL: u8 = 2 << 4;
/// `r0 = r1` (`BPF_ALU64 | BPF_MOV | BPF_X`). Replaces the call on kernels without the kfunc, where
/// the branch that contains it is dead.
const MOV_R0_R1: [u8; 8] = [0xbf, 1 << 4, 0, 0, 0, 0, 0, 0];

/// Returns the ID of the kfunc in this kernel.
pub(super) fn btf_id(btf: &Btf) -> Option<u32> {
    btf.function_id("bpf_rdonly_cast")
}

/// Returns the object with each call of [`RDONLY_CAST_PLACEHOLDER`] replaced by a call of
/// `function` or, with `None`, by a move; and the number of replacements.
pub(super) fn patch_calls(object: &[u8], function: Option<u32>) -> (Vec<u8>, usize) {
    let call = function.map_or(MOV_R0_R1, |number| {
        let mut call = [BPF_CALL, PSEUDO_KFUNC_CALL, 0, 0, 0, 0, 0, 0];
        call[4..].copy_from_slice(&number.to_ne_bytes());
        call
    });
    let mut wanted = [BPF_CALL, 0, 0, 0, 0, 0, 0, 0];
    wanted[4..].copy_from_slice(&(RDONLY_CAST_PLACEHOLDER as u32).to_ne_bytes());
    let mut object = object.to_vec();
    let mut count = 0;
    // Instructions have 8 bytes, and their sections begin at multiples of 8.
    for instruction in object.chunks_exact_mut(8) {
        if instruction == wanted {
            instruction.copy_from_slice(&call);
            count += 1;
        }
    }
    (object, count)
}

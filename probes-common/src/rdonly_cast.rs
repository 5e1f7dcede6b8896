//! Placeholder that the loader replaces by a call of `bpf_rdonly_cast`.

/// Helper number that marks calls of `bpf_rdonly_cast` in the object. No kernel has a helper with
/// this number. The loader replaces it by the running kernel's number of the function.
pub const RDONLY_CAST_PLACEHOLDER: usize = 0x7a63_0001;

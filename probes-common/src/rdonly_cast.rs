//! The place in the object that the user side fills with a call of `bpf_rdonly_cast`.

/// Where the object calls `bpf_rdonly_cast`, before it is loaded: a helper's number that no kernel has. The user side puts
/// the kernel's own number of that function there.
pub const RDONLY_CAST_PLACEHOLDER: usize = 0x7a63_0001;

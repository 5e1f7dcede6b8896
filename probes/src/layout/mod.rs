//! Layout of kernel structures, read from the kernel's own type information (BTF) and never
//! assumed.

pub mod btf;
pub mod offsets;

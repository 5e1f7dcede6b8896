//! Where things are in this kernel's structures: read from the kernel's own type information, never assumed.

pub mod btf;
pub mod plan;

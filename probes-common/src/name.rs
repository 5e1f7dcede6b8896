//! What people call an end, sent the first time that it is met.

use core::mem::size_of;

use crate::call::EndState;
use crate::header::{RecordHeader, RecordKind};

/// Bytes of one component of a path that are kept, its final zero included (`NAME_MAX` is 255).
pub const COMPONENT: usize = 64;
/// Components of a path that are kept, from the last one upwards.
pub const COMPONENTS: usize = 12;

/// Bits of [`Name::flags`].
pub mod name_flag {
    /// The path goes on above the last component that is here.
    pub const GOES_ON: u32 = 1;
    /// The last component is the root of its mount.
    pub const ROOT: u32 = 2;
    /// It was open before watching began.
    pub const FOUND: u32 = 4;
}

/// The name of a file, pipe or socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The head.
    pub header: RecordHeader,
    /// The end, as it was at that moment.
    pub end: EndState,
    /// How many components follow.
    pub count: u32,
    /// Bits of [`name_flag`].
    pub flags: u32,
    /// The path from its last component up: zero-terminated names of dentries.
    pub components: [[u8; COMPONENT]; COMPONENTS],
}

impl Name {
    /// What its header says it is.
    pub const KIND: RecordKind = RecordKind(3);
}

const _: () = assert!(size_of::<Name>() == 32 + size_of::<EndState>() + 8 + COMPONENT * COMPONENTS);

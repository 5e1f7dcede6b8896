//! Where records hold addresses of the kernel: what a recording must not reveal.

use crate::header::RecordKind;

/// An address of the kernel in a record, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The address of an object: `struct file`, `struct sock`, `address_space` and so on.
    Object(usize),
    /// The same if the `u32` at offset `tag` has this value; otherwise the field is a number.
    ObjectIf {
        /// Offset of the address.
        offset: usize,
        /// Offset of what decides.
        tag: usize,
        /// The value with which the field is an address.
        value: u32,
    },
    /// The address of an `address_space`, or [`MAPPING_NOT_READ`](crate::MAPPING_NOT_READ), which is none.
    Mapping(usize),
    /// The address of a `struct page`.
    Page(usize),
    /// An [`EndpointState`](crate::EndpointState), whose kind decides which of its fields are addresses.
    Endpoint(usize),
}

/// The addresses in one kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Those at fixed offsets.
    pub fixed: &'static [Address],
    /// Offset and size of the elements at the record's end. `None` if there are none.
    pub elements: Option<(usize, usize)>,
    /// Those of each element, by offset in the element.
    pub of_element: &'static [Address],
}

impl Addresses {
    /// The addresses of a record without elements.
    #[must_use]
    pub const fn fixed(fixed: &'static [Address]) -> Self {
        Self {
            fixed,
            elements: None,
            of_element: &[],
        }
    }
}

macro_rules! addresses {
    ($($(#[$doc:meta])* $variant:ident, $name:ident: $type:ident;)*) => {
        /// The addresses in a record of this kind. `None` if the kind is not known: then anything may be one.
        #[must_use]
        pub const fn addresses(kind: RecordKind) -> Option<&'static Addresses> {
            Some(match kind {
                $(crate::$type::KIND => &crate::$type::ADDRESSES,)*
                crate::PageRecord::KIND => &crate::PageRecord::ADDRESSES,
                crate::PageRun::KIND => &crate::PageRun::ADDRESSES,
                _ => return None,
            })
        }
    };
}
for_each_record!(addresses);

//! Offsets of kernel addresses in records. A recording replaces these addresses, because it must
//! not reveal them.

use crate::header::RecordKind;

/// Field of a record that holds a kernel address, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Address of an object, such as `struct file`, `struct sock` or `address_space`.
    Object(usize),
    /// Address of an object if the `u32` at offset `tag` equals `value`; a number otherwise.
    ObjectIf {
        /// Offset of the address.
        offset: usize,
        /// Offset of the `u32` that decides.
        tag: usize,
        /// Value of the tag that makes the field an address.
        value: u32,
    },
    /// Address of an `address_space`, or [`MAPPING_NOT_READ`](crate::MAPPING_NOT_READ), which is
    /// not an address.
    Mapping(usize),
    /// Address of a `struct page`.
    Page(usize),
    /// An [`EndpointState`](crate::EndpointState), whose kind decides which of its fields are
    /// addresses.
    Endpoint(usize),
}

/// Address fields of one kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Address fields at fixed offsets of the record.
    pub fixed: &'static [Address],
    /// Offset and size of the elements at the end of the record; `None` if it has no elements.
    pub elements: Option<(usize, usize)>,
    /// Address fields of each element, by offset in the element.
    pub of_element: &'static [Address],
}

impl Addresses {
    /// Returns the address fields of a record without elements.
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
        /// Returns the address fields of a kind of record.
        ///
        /// Returns `None` if the kind is unknown. Any field of such a record can be an address.
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

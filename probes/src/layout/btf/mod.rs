//! A reader of BTF, the kernel's description of its own types (Documentation/bpf/btf.rst).
//!
//! Rust eBPF programs have no relocations for structure members, so the offsets that they need are looked up here when
//! they are loaded. What is looked up is members, through anonymous structs and unions and arrays, with their sizes and
//! bitfields; sizes of types; values of enumerators; and the arguments of tracepoints. Input is not trusted: whatever the
//! bytes are, the answer is a value or an error, never a panic, an endless loop or an answer out of thin air.
//!
//! ```no_run
//! use zctrace_probes::layout::btf::Btf;
//!
//! let btf = Btf::of_this_kernel()?;
//! let head = btf.field("pipe_inode_info", "head")?;
//! println!("head is {} bytes at {}", head.size, head.offset);
//! # Ok::<_, zctrace_probes::layout::btf::BtfError>(())
//! ```

mod error;
mod field;
mod table;

pub use error::BtfError;
pub use field::{Bits, Field};

use std::path::Path;
use table::{Kind, Table, TypeId};

/// Where the kernel shows its own types (since 5.4, with `CONFIG_DEBUG_INFO_BTF`).
pub const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Type information of one kernel.
#[derive(Debug)]
pub struct Btf {
    table: Table,
}

impl Btf {
    /// Reads the types from bytes as `/sys/kernel/btf/vmlinux` has them.
    ///
    /// # Errors
    ///
    /// [`BtfError`] says what is wrong with them.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        Ok(Self {
            table: Table::parse(bytes)?,
        })
    }

    /// Reads a file of BTF.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and if it cannot be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, BtfError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| BtfError::Unreadable {
            path: path.to_path_buf(),
            error,
        })?;
        Self::parse(bytes)
    }

    /// The types of the running kernel.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn of_this_kernel() -> Result<Self, BtfError> {
        Self::from_file(KERNEL)
    }

    /// How many types there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a struct or union of this name is described.
    #[must_use]
    pub fn has_struct(&self, name: &str) -> bool {
        self.composite(name).is_ok()
    }

    /// Whether a function of this name is described. That it is says nothing of whether it can be traced.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.table.named(name, |kind| kind == Kind::Func).next().is_some()
    }

    /// The size in bytes of a struct, union or typedef.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoType`] if there is none of that name.
    pub fn size_of(&self, name: &str) -> Result<u32, BtfError> {
        self.table.size(self.composite(name)?, 0)
    }

    /// A member of a struct or union: `"head"`, or with its own members `"bi_iter.bi_size"`. Anonymous structs and unions
    /// are looked through; an array is its first element when a member of it is asked for.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoType`] or [`BtfError::NoField`] if this kernel has none of that name.
    pub fn field(&self, of: &str, path: &str) -> Result<Field, BtfError> {
        let missing = || BtfError::NoField {
            of: of.to_owned(),
            field: path.to_owned(),
        };
        let mut at = self.composite(of)?;
        let mut bits: u64 = 0;
        let mut found = None;
        for name in path.split('.') {
            let member = self.table.member(at, name)?.ok_or_else(missing)?;
            bits = bits
                .checked_add(member.bit_offset)
                .ok_or(BtfError::Malformed("a member's offset overflows"))?;
            at = self.table.element(member.type_id)?;
            found = Some(member);
        }
        let member = found.ok_or_else(missing)?;
        field::describe(&self.table, &member, bits)
    }

    /// The first of several names that this kernel has: fields are renamed, `index` became `__folio_index`.
    ///
    /// # Errors
    ///
    /// The error of the last name if there is none.
    pub fn any_field(&self, candidates: &[(&str, &str)]) -> Result<Field, BtfError> {
        let mut last = BtfError::NoField {
            of: String::new(),
            field: String::new(),
        };
        for (of, path) in candidates {
            match self.field(of, path) {
                Ok(field) => return Ok(field),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The value of an enumerator, whichever enum it is in.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoEnumerator`] if no enum has it.
    pub fn enumerator(&self, name: &str) -> Result<i64, BtfError> {
        self.table
            .enumerator(name)?
            .ok_or_else(|| BtfError::NoEnumerator { name: name.to_owned() })
    }

    /// The number of a function of the kernel, by which programs call it.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.table.named(name, |kind| kind == Kind::Func).next()
    }

    /// How many arguments a raw tracepoint passes (`btf_trace_NAME`), without the first, which is the tracer's own.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoType`] if this kernel has no such tracepoint.
    pub fn tracepoint_arguments(&self, name: &str) -> Result<usize, BtfError> {
        let name = format!("btf_trace_{name}");
        let missing = || BtfError::NoType { name: name.clone() };
        let typedef = self
            .table
            .named(&name, |kind| kind == Kind::Typedef)
            .next()
            .ok_or_else(missing)?;
        let pointer = self.table.resolve(typedef)?;
        let proto = self.table.resolve(self.table.points_to(pointer)?)?;
        let count = self.table.parameters(proto)?;
        count
            .checked_sub(1)
            .ok_or(BtfError::Malformed("a tracepoint without its first argument"))
    }

    /// A struct or union by its tag or by a typedef's name.
    fn composite(&self, name: &str) -> Result<TypeId, BtfError> {
        let tagged = self.table.named(name, Kind::is_composite).next();
        if let Some(id) = tagged {
            return Ok(id);
        }
        let typedef = self.table.named(name, |kind| kind == Kind::Typedef).next();
        let id = typedef.ok_or_else(|| BtfError::NoType { name: name.to_owned() })?;
        let id = self.table.resolve(id)?;
        Ok(id)
    }
}

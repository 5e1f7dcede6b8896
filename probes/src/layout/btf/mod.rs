//! Reader of BTF, the kernel's description of its own types (Documentation/bpf/btf.rst).
//!
//! Rust eBPF programs have no relocations for structure members, so their offsets are looked up
//! here when the programs are loaded. The reader finds members (through anonymous structures,
//! unions and arrays) with size and bitfield, sizes of types, values of enumerators, and argument
//! counts of tracepoints.
//!
//! The input is not trusted. Whatever the bytes are, the result is a value or an error, and never a
//! panic, an endless loop or an invented value.
//!
//! ```no_run
//! use zctrace_probes::layout::btf::Btf;
//!
//! let btf = Btf::from_running_kernel()?;
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
use table::{Kind, TypeId, TypeTable};

/// File in which the kernel shows its own types (since 5.4, with `CONFIG_DEBUG_INFO_BTF`).
pub const KERNEL_BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Type information of one kernel.
#[derive(Debug)]
pub struct Btf {
    table: TypeTable,
}

impl Btf {
    /// Parses bytes in the form of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    ///
    /// [`BtfError`] if the bytes are not BTF or are damaged.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        Ok(Self {
            table: TypeTable::parse(bytes)?,
        })
    }

    /// Reads a BTF file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, and as [`parse`](Self::parse).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, BtfError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| BtfError::Unreadable {
            path: path.to_path_buf(),
            error,
        })?;
        Self::parse(bytes)
    }

    /// Reads the types of the running kernel.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_running_kernel() -> Result<Self, BtfError> {
        Self::from_file(KERNEL_BTF_PATH)
    }

    /// Returns the number of types.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns whether there are no types.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether a structure or union of this name exists.
    #[must_use]
    pub fn has_struct(&self, name: &str) -> bool {
        self.composite(name).is_ok()
    }

    /// Returns whether a function of this name exists. This does not imply that it can be traced.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.table
            .find_by_name(name, |kind| kind == Kind::Func)
            .next()
            .is_some()
    }

    /// Returns the size of a structure, union or typedef, in bytes.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoType`] if this kernel has no such type.
    pub fn size_of(&self, name: &str) -> Result<u32, BtfError> {
        self.table.size_of(self.composite(name)?, 0)
    }

    /// Finds a member of a structure or union, such as `"head"` or, through members,
    /// `"bi_iter.bi_size"`. The search includes anonymous structures and unions. A member of an
    /// array is that of its first element.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoType`] or [`BtfError::NoField`] if this kernel has no such type or member.
    pub fn field(&self, of: &str, path: &str) -> Result<Field, BtfError> {
        let missing = || BtfError::NoField {
            type_name: of.to_owned(),
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
            at = self.table.element_type(member.type_id)?;
            found = Some(member);
        }
        let member = found.ok_or_else(missing)?;
        field::describe(&self.table, &member, bits)
    }

    /// Finds the first of several candidates that this kernel has, because members are renamed:
    /// `index` became `__folio_index`.
    ///
    /// # Errors
    ///
    /// The error of the last candidate if this kernel has none of them.
    pub fn first_field_of(&self, candidates: &[(&str, &str)]) -> Result<Field, BtfError> {
        let mut last = BtfError::NoField {
            type_name: String::new(),
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

    /// Returns the value of an enumerator of any enum.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoEnumerator`] if no enum has it.
    pub fn enumerator(&self, name: &str) -> Result<i64, BtfError> {
        self.table
            .enumerator(name)?
            .ok_or_else(|| BtfError::NoEnumerator { name: name.to_owned() })
    }

    /// Returns the BTF ID of a kernel function, by which programs call it.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.table.find_by_name(name, |kind| kind == Kind::Func).next()
    }

    /// Returns the number of arguments that a raw tracepoint passes (`btf_trace_NAME`), without the
    /// first, which is the tracer's own data pointer.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoType`] if this kernel has no such tracepoint.
    pub fn tracepoint_argument_count(&self, name: &str) -> Result<usize, BtfError> {
        let name = format!("btf_trace_{name}");
        let missing = || BtfError::NoType { name: name.clone() };
        let typedef = self
            .table
            .find_by_name(&name, |kind| kind == Kind::Typedef)
            .next()
            .ok_or_else(missing)?;
        let pointer = self.table.resolve(typedef)?;
        let proto = self.table.resolve(self.table.pointee(pointer)?)?;
        let count = self.table.parameter_count(proto)?;
        count
            .checked_sub(1)
            .ok_or(BtfError::Malformed("a tracepoint without its first argument"))
    }

    /// Finds a structure or union by tag, or else by the name of a typedef.
    fn composite(&self, name: &str) -> Result<TypeId, BtfError> {
        let tagged = self.table.find_by_name(name, Kind::is_composite).next();
        if let Some(id) = tagged {
            return Ok(id);
        }
        let typedef = self.table.find_by_name(name, |kind| kind == Kind::Typedef).next();
        let id = typedef.ok_or_else(|| BtfError::NoType { name: name.to_owned() })?;
        let id = self.table.resolve(id)?;
        Ok(id)
    }
}

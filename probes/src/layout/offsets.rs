//! Structure members that the eBPF programs read, and their offsets in one kernel.
//!
//! [`KERNEL_MEMBERS`] lists the members. A renamed member is searched under all of its
//! names. A member whose size differs from what the programs read counts as missing.

use std::fmt;

pub use zctrace_records::ProbeGroup;
use zctrace_records::{FIXED_OFFSETS, FIXED_SIZES, KERNEL_MEMBERS, KernelMember};

use super::btf::{Btf, BtfError};

/// Member, size or enumerator that the programs cannot use.
#[derive(Debug)]
pub struct MissingMember {
    /// Group of probes that needs it.
    pub group: ProbeGroup,
    /// Reason why the programs cannot use it.
    pub reason: MissingReason,
}

/// Reason why the programs cannot use a member.
#[derive(Debug)]
pub enum MissingReason {
    /// The kernel's types do not contain it.
    Absent(BtfError),
    /// The kernel has it with another size or offset than the programs expect.
    Different {
        /// Structure and member.
        what: String,
        /// Value that the programs expect.
        expected: u32,
        /// Value in this kernel.
        found: u32,
    },
}

impl fmt::Display for MissingMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            MissingReason::Absent(error) => error.fmt(f),
            MissingReason::Different { what, expected, found } => {
                write!(
                    f,
                    "this kernel's `{what}` has {found} where the programs expect {expected}"
                )
            }
        }
    }
}

/// Values of the programs' globals for one kernel.
#[derive(Debug, Default)]
pub struct KernelOffsets {
    /// Global and value.
    pub values: Vec<(&'static str, u32)>,
    /// Members that this kernel lacks or has in another form.
    pub missing: Vec<MissingMember>,
}

impl KernelOffsets {
    /// Looks up every member that the programs need.
    ///
    /// # Errors
    ///
    /// If the types cannot be read. A missing member is no error and is listed in
    /// [`missing`](Self::missing).
    pub fn from_btf(btf: &Btf) -> Result<Self, BtfError> {
        let mut plan = Self::default();
        for member in KERNEL_MEMBERS {
            plan.resolve_member(btf, member)?;
        }
        for &(part, of, names, offset) in FIXED_OFFSETS {
            let names: Vec<_> = names.iter().map(|name| (of, *name)).collect();
            let found = btf.first_field_of(&names).map(|field| field.offset);
            let what = || format!("{of}.{}", names[0].1);
            plan.check_value(part, what, offset, found)?;
        }
        for &(part, of, size) in FIXED_SIZES {
            plan.check_value(part, || of.to_owned(), size, btf.size_of(of))?;
        }
        plan.check_submitter(btf)?;
        match btf.enumerator("PG_head") {
            Ok(bit) => plan.values.push(("PAGE_HEAD_BIT", bit as u32)),
            Err(error) => plan.record_absent(ProbeGroup::Dirty, error)?,
        }
        match btf.enumerator("PG_uptodate") {
            Ok(bit) => plan.values.push(("PAGE_UPTODATE_BIT", bit as u32)),
            Err(error) => plan.record_absent(ProbeGroup::Calls, error)?,
        }
        Ok(plan)
    }

    /// Returns the first missing member that a group needs.
    pub fn missing_for(&self, part: ProbeGroup) -> Option<&MissingMember> {
        // Messages and packets are both `struct sk_buff`. Page descriptions belong to `Calls`.
        let wanted = if part == ProbeGroup::Unix {
            ProbeGroup::Packets
        } else {
            part
        };
        self.missing.iter().find(|missing| missing.group == wanted)
    }

    /// Returns the first value that differs from another kernel's: member, value here, value there.
    /// If there is one, each kernel's programs would read wrong offsets on the other kernel.
    pub fn first_difference(&self, other: &Self) -> Option<(String, Option<u32>, Option<u32>)> {
        let of = |plan: &Self, name: &str| plan.values.iter().find(|(have, _)| *have == name).map(|(_, at)| *at);
        let names = self.values.iter().chain(&other.values).map(|(name, _)| *name);
        names
            .map(|name| (name, of(self, name), of(other, name)))
            .find(|(_, here, there)| here != there)
            .map(|(name, here, there)| (member_name(name), here, there))
    }

    fn resolve_member(&mut self, btf: &Btf, member: &KernelMember) -> Result<(), BtfError> {
        let (of, path) = member.name;
        let mut names = vec![member.name];
        names.extend(member.other_names);
        match btf.first_field_of(&names) {
            // `frags` and `cb` are arrays of which only the start is needed; their size varies.
            Ok(field) if member.size == 0 || (field.size == member.size && field.bits.is_none()) => {
                self.values.push((member.global, field.offset));
            }
            Ok(field) => self.missing.push(MissingMember {
                group: member.group,
                reason: MissingReason::Different {
                    what: format!("{of}.{path}"),
                    expected: member.size,
                    found: field.size,
                },
            }),
            Err(error) => self.record_absent(member.group, error)?,
        }
        Ok(())
    }

    /// Checks that the programs can follow a request of `io_uring` to its submitter: a request that
    /// names a context (since Linux 6.13) instead of a task requires the context's task.
    fn check_submitter(&mut self, btf: &Btf) -> Result<(), BtfError> {
        if btf.first_field_of(&[("io_kiocb", "tctx")]).is_err() {
            return Ok(());
        }
        match btf.first_field_of(&[("io_uring_task", "task")]) {
            Ok(_) => Ok(()),
            Err(error) => self.record_absent(ProbeGroup::IoUring, error),
        }
    }

    fn check_value(
        &mut self,
        part: ProbeGroup,
        what: impl Fn() -> String,
        expected: u32,
        found: Result<u32, BtfError>,
    ) -> Result<(), BtfError> {
        match found {
            Ok(found) if found == expected => Ok(()),
            Ok(found) => {
                let what = what();
                self.missing.push(MissingMember {
                    group: part,
                    reason: MissingReason::Different { what, expected, found },
                });
                Ok(())
            }
            Err(error) => self.record_absent(part, error),
        }
    }

    fn record_absent(&mut self, part: ProbeGroup, error: BtfError) -> Result<(), BtfError> {
        if !error.is_missing() {
            return Err(error);
        }
        self.missing.push(MissingMember {
            group: part,
            reason: MissingReason::Absent(error),
        });
        Ok(())
    }
}

/// Returns the structure and member that a global holds the offset of.
fn member_name(global: &str) -> String {
    let member = KERNEL_MEMBERS.iter().find(|member| member.global == global);
    member.map_or_else(
        || global.to_owned(),
        |member| format!("{}.{}", member.name.0, member.name.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_difference_is_named() {
        let plan = |at| KernelOffsets {
            values: vec![("TASK_FILES", 8), ("FILE_POS", at), ("PAGE_HEAD_BIT", 6)],
            missing: Vec::new(),
        };
        assert_eq!(plan(16).first_difference(&plan(16)), None);
        let moved = plan(16).first_difference(&plan(24));
        assert_eq!(moved, Some(("file.f_pos".to_owned(), Some(16), Some(24))));
        let mut less = plan(16);
        less.values.pop();
        let gone = less.first_difference(&plan(16));
        assert_eq!(gone, Some(("PAGE_HEAD_BIT".to_owned(), None, Some(6))));
    }
}

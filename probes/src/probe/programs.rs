//! Programs that a kernel cannot run.

use zctrace_records::{Arguments, ProbeGroup, ProgramSpec};

use crate::layout::btf::Btf;
use crate::layout::offsets::KernelOffsets;

/// Returns why this kernel does not support the program; `None` if it does.
pub(super) fn unsupported_reason(spec: &ProgramSpec, btf: &Btf, offsets: &KernelOffsets) -> Option<String> {
    if let Some(missing) = offsets
        .missing_for(spec.group)
        .filter(|_| spec.group != ProbeGroup::Always)
    {
        return Some(missing.to_string());
    }
    match btf.tracepoint_argument_count(spec.tracepoint) {
        Ok(found) => {
            let (fits, wanted) = match spec.arguments {
                Arguments::AtLeast(least) => (found >= least, least.to_string()),
                Arguments::OneOf(numbers) => {
                    let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                    (numbers.contains(&found), all.join(" or "))
                }
            };
            let mismatch = || format!("the tracepoint {} has {found} arguments, not {wanted}", spec.tracepoint);
            (!fits).then(mismatch)
        }
        Err(error) => Some(error.to_string()),
    }
}

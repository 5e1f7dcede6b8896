//! `zctrace explain`: explains reason codes.

use zctrace_contract::Reason;
use zctrace_contract::reason::Class;
use zctrace_report::format::printable;

use crate::render::text::wrap;
use crate::{exit_code, terminal_io};

/// Explains the codes, or lists all of them if none is given.
pub(crate) fn run(codes: &[String]) -> u8 {
    let mut text = String::new();
    if codes.is_empty() {
        for reason in Reason::all() {
            wrap(
                &mut text,
                &format!("{}  {:<8}  ", reason.code(), class_name(reason)),
                reason.description(),
            );
        }
        text.push_str("\nFor a hint: zctrace explain CODE\n");
        return terminal_io::print(&text, exit_code::SUCCESS);
    }
    for code in codes {
        let Some(reason) = Reason::from_code(code) else {
            terminal_io::eprint(&format!(
                "unknown reason code {:?}; `zctrace explain` lists all codes",
                printable(code)
            ));
            return exit_code::USAGE;
        };
        write_explanation(&mut text, reason);
    }
    terminal_io::print(&text, exit_code::SUCCESS)
}

/// Writes code, description and advice, as below every table.
pub(crate) fn write_explanation(text: &mut String, reason: Reason) {
    wrap(text, &format!("  {}  ", reason.code()), reason.description());
    wrap(text, "        → ", reason.advice());
}

/// Returns the verdict that a reason explains.
fn class_name(reason: Reason) -> &'static str {
    match reason.class() {
        Class::Copy => "copied",
        Class::Unknown => "unknown",
    }
}

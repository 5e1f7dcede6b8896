//! `zctrace explain`: what a reason code means, and what to do about it.

use zctrace_contract::Reason;
use zctrace_contract::reason::Class;
use zctrace_report::text::printable;

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
        text.push_str("\nWhat to do about one of them: zctrace explain CODE\n");
        return terminal_io::print(&text, exit_code::SUCCESS);
    }
    for code in codes {
        let Some(reason) = Reason::from_code(code) else {
            terminal_io::eprint(&format!(
                "there is no reason {:?}; `zctrace explain` without a code lists them all",
                printable(code)
            ));
            return exit_code::USAGE;
        };
        write_explanation(&mut text, reason);
    }
    terminal_io::print(&text, exit_code::SUCCESS)
}

/// Code, sentence and advice, as they stand below every table.
pub(crate) fn write_explanation(text: &mut String, reason: Reason) {
    wrap(text, &format!("  {}  ", reason.code()), reason.description());
    wrap(text, "        → ", reason.advice());
}

/// The word for what a reason explains.
fn class_name(reason: Reason) -> &'static str {
    match reason.class() {
        Class::Copy => "copied",
        Class::Unknown => "unknown",
    }
}

//! A list of flows, for a row that represents several.

use std::fmt::Write as _;

use zctrace_report::Flow;
use zctrace_report::format::{count, size};

use crate::render;
use crate::render::text::{TextBuffer, wrap};

/// Maximum number of listed flows.
const MAX_LISTED_FLOWS: usize = 50;

/// Returns one line per flow, the largest first.
pub(super) fn write(text: &mut TextBuffer, title: &str, flows: &[&Flow]) {
    let mut flows: Vec<&Flow> = flows.to_vec();
    flows.sort_by_key(|flow| (std::cmp::Reverse(flow.payload), flow.id));
    let _ = writeln!(text, "{title}");
    for flow in flows.iter().take(MAX_LISTED_FLOWS) {
        let account = &flow.account;
        let many = if flow.folded > 1 {
            format!(" ×{}", count(flow.folded))
        } else {
            String::new()
        };
        let mut line = format!("{} → {}{many}: {}", flow.from, flow.to, size(flow.payload));
        for (bytes, word) in [
            (account.moved, "moved"),
            (account.copied, "copied"),
            (account.unknown, "unknown"),
            (account.excluded.total(), "excluded"),
        ] {
            if bytes > 0 && bytes < flow.payload {
                let _ = write!(line, ", {} {word}", size(bytes));
            } else if bytes > 0 {
                let _ = write!(line, " {word}");
            }
        }
        let codes = render::main_reason(flow);
        if !codes.is_empty() {
            let _ = write!(line, ", {codes}");
        }
        wrap(text, &format!("{}  ", flow.mark()), &line);
    }
    if flows.len() > MAX_LISTED_FLOWS {
        let _ = writeln!(text, "   and {} more", count((flows.len() - MAX_LISTED_FLOWS) as u64));
    }
}

//! What can be shown of a report: the screen, one flow's certificate, and `JUnit` XML. All of it comes from the report alone.

mod certificate;
mod junit;
mod notes;
mod report;
mod segments;
mod table;
mod why;

pub(crate) use certificate::{certificate, write_certificate};
pub(crate) use junit::junit;
pub(crate) use report::{body, report, scope, trust};
pub(crate) use segments::names;
pub(crate) use table::{end, reasons};
pub(crate) use why::{who, why, why_one};

#[cfg(test)]
pub(crate) mod samples;

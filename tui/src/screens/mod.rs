//! What can be shown of a report: the screen, one flow's certificate, and `JUnit` XML. All of it comes from the report alone.

mod certificate;
mod junit;
mod notes;
mod report;
mod segments;
mod table;
mod why;

pub(crate) use certificate::certificate;
pub(crate) use junit::junit;
pub(crate) use report::{body, report, trust};
pub(crate) use why::why;

#[cfg(test)]
pub(crate) mod samples;

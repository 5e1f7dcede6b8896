//! `zctrace assert`: runs a command and judges the bytes that arrived at the named ends, from wherever they came.

mod baseline;
mod judge;
mod run;
mod screen;
mod terms;

pub(crate) use run::{Options, run};
pub(crate) use terms::{Limit, Terms};

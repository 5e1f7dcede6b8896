//! `zctrace assert`: runs a command and judges the bytes that were delivered to the given
//! endpoints.

mod baseline;
mod command;
mod complete;
mod criteria;
mod files;
mod judge;
mod render;

pub(crate) use command::{Options, run};
pub(crate) use criteria::{Criteria, Limit};
pub(crate) use files::Files;

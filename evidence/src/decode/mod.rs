//! Stage 1: from records to calls, endpoints and observations.

pub(crate) mod endpoints;
pub(crate) mod observations;
pub(crate) mod page_address;

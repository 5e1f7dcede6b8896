//! Stage 1, decode: from wire records to calls, endpoints and observations.
//!
//! No later stage reads wire records or depends on the meaning of their members for each kind of
//! endpoint or station.

pub(crate) mod call;
pub(crate) mod endpoint;
pub(crate) mod endpoints;
pub(crate) mod excluded;
pub(crate) mod observation;
pub(crate) mod observations;
pub(crate) mod page_address;
pub(crate) mod page_record;
pub(crate) mod pipe_event;
pub(crate) mod process_names;
pub(crate) mod socket_pair;

//! Containers that the stages share.

pub(crate) mod cached_map;
pub(crate) mod fast_map;
pub(crate) mod position_map;
pub(crate) mod range_set;

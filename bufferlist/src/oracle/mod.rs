//! stub
use crate::ends::kind::End;
use crate::reason::Reason;
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    Moved,
    Copied(Reason),
    Unknown(Reason),
}
pub(crate) fn finding(_from: End, _to: End) -> Finding {
    Finding::Unknown(Reason::NotShown)
}

//! Names of processes, from the events that announce them.

use zctrace_records::{ProcessEvent, process_event_kind};

use crate::collections::fast_map::FastMap;

/// Names that are kept.
const MAX_NAMES: usize = 65_536;

/// Names of processes, by process ID.
#[derive(Debug, Default)]
pub(crate) struct ProcessNames {
    names: FastMap<u32, String>,
}

impl ProcessNames {
    /// Records the name that a process has after an event.
    pub(crate) fn observe(&mut self, event: &ProcessEvent) {
        let tgid = if event.event == process_event_kind::FORK {
            event.child
        } else {
            event.header.tgid
        };
        let end = event.comm.iter().position(|&byte| byte == 0);
        let name = &event.comm[..end.unwrap_or(event.comm.len())];
        if self.names.len() < MAX_NAMES {
            self.names.insert(tgid, String::from_utf8_lossy(name).into_owned());
        }
    }

    /// Returns the name of a process, if it is known.
    pub(crate) fn get(&self, tgid: u32) -> Option<&String> {
        self.names.get(&tgid)
    }

    /// Returns the name of a process; empty if it is not known.
    pub(crate) fn name(&self, tgid: u32) -> String {
        self.get(tgid).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
impl FromIterator<(u32, String)> for ProcessNames {
    fn from_iter<I: IntoIterator<Item = (u32, String)>>(names: I) -> Self {
        Self {
            names: names.into_iter().collect(),
        }
    }
}

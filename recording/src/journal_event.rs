//! JSON form of journal events.
//!
//! Operations and API calls are stored as numbers, which never change their meaning.

use serde::{Deserialize, Serialize};
use zctrace_contract::LibraryReason;
use zctrace_contract::journal::{ApiCall, Entry, Operation};

use zctrace_evidence::{EventKind, JournalEvent};

/// JSON form of a [`JournalEvent`].
#[derive(Serialize, Deserialize)]
pub(super) struct JournalEventJson {
    pid: u32,
    what: EventKindJson,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EventKindJson {
    Found {
        device: u32,
        since_ns: u64,
        clock: (u64, u64),
    },
    Line {
        number: u8,
        file: String,
        line: u32,
    },
    Thread {
        thread: u32,
        name: String,
    },
    Entry {
        time_ns: u64,
        segment: u64,
        at: u64,
        stream: u64,
        len: u64,
        pipe: u64,
        thread: u32,
        caller: u8,
        operation: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doing: Option<u8>,
    },
    Lost(u64),
    None(String),
    Ended,
}

impl From<&JournalEvent> for JournalEventJson {
    fn from(event: &JournalEvent) -> Self {
        let what = match &event.kind {
            EventKind::Found {
                device,
                since_ns,
                clock,
            } => EventKindJson::Found {
                device: *device,
                since_ns: *since_ns,
                clock: *clock,
            },
            EventKind::Line { number, file, line } => EventKindJson::Line {
                number: *number,
                file: file.clone(),
                line: *line,
            },
            EventKind::Thread { thread, name } => EventKindJson::Thread {
                thread: *thread,
                name: name.clone(),
            },
            EventKind::Entry(entry) => EventKindJson::Entry {
                time_ns: entry.time_ns,
                segment: entry.segment,
                at: entry.segment_offset,
                stream: entry.pipe_offset,
                len: entry.len,
                pipe: entry.pipe,
                thread: entry.thread,
                caller: entry.caller,
                operation: entry.operation as u8,
                reason: entry.reason.map(|reason| reason.code().to_owned()),
                doing: entry.api_call.map(|call| call as u8),
            },
            EventKind::Lost(records) => EventKindJson::Lost(*records),
            EventKind::None(reason) => EventKindJson::None(reason.clone()),
            EventKind::Ended => EventKindJson::Ended,
        };
        Self { pid: event.pid, what }
    }
}

impl JournalEventJson {
    /// Converts back to the event. Returns `None` if it has an unknown operation, reason or call.
    pub(super) fn into_event(self) -> Option<JournalEvent> {
        let what = match self.what {
            EventKindJson::Found {
                device,
                since_ns,
                clock,
            } => EventKind::Found {
                device,
                since_ns,
                clock,
            },
            EventKindJson::Line { number, file, line } => EventKind::Line { number, file, line },
            EventKindJson::Thread { thread, name } => EventKind::Thread { thread, name },
            EventKindJson::Entry {
                time_ns,
                segment,
                at,
                stream,
                len,
                pipe,
                thread,
                caller,
                operation,
                reason,
                doing,
            } => EventKind::Entry(Entry {
                position: 0,
                time_ns,
                segment,
                segment_offset: at,
                pipe_offset: stream,
                len,
                pipe,
                thread,
                caller,
                operation: Operation::from_code(operation)?,
                reason: match reason {
                    Some(code) => Some(LibraryReason::from_code(&code)?),
                    None => None,
                },
                api_call: match doing {
                    Some(code) => Some(ApiCall::from_code(code)?),
                    None => None,
                },
            }),
            EventKindJson::Lost(records) => EventKind::Lost(records),
            EventKindJson::None(reason) => EventKind::None(reason),
            EventKindJson::Ended => EventKind::Ended,
        };
        Some(JournalEvent {
            pid: self.pid,
            kind: what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_keeps_events() {
        let entry = Entry {
            position: 0,
            time_ns: 1,
            segment: 2,
            segment_offset: 3,
            pipe_offset: 4,
            len: 5,
            pipe: 6,
            thread: 7,
            caller: 8,
            operation: Operation::Peek,
            reason: Some(LibraryReason::Peeked),
            api_call: Some(ApiCall::Peek),
        };
        let bare = Entry {
            reason: None,
            api_call: None,
            operation: Operation::Fill,
            ..entry
        };
        let all = [
            EventKind::Found {
                device: 1,
                since_ns: 2,
                clock: (3, u64::MAX),
            },
            EventKind::Line {
                number: 255,
                file: "src/a \"b\".rs".to_owned(),
                line: 7,
            },
            EventKind::Thread {
                thread: 3,
                name: "ü".to_owned(),
            },
            EventKind::Entry(entry),
            EventKind::Entry(bare),
            EventKind::Lost(9),
            EventKind::None("it is not there".to_owned()),
            EventKind::Ended,
        ];
        for kind in all {
            let event = JournalEvent { pid: 12, kind };
            let json = serde_json::to_string(&JournalEventJson::from(&event)).unwrap();
            let parsed: JournalEventJson = serde_json::from_str(&json).unwrap();
            assert_eq!(parsed.into_event(), Some(event), "{json}");
        }
    }

    #[test]
    fn unknown_operation_code_yields_no_event() {
        let json = r#"{"pid":1,"what":{"entry":{"time_ns":1,"segment":1,"at":1,"stream":1,"len":1,"pipe":1,"thread":1,
            "caller":1,"operation":99}}}"#;
        let parsed: JournalEventJson = serde_json::from_str(json).unwrap();
        assert_eq!(parsed.into_event(), None);
    }
}

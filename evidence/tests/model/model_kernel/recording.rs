//! Records of the model kernel: what the probes write when a call returns or a pipe is found.

use zctrace_records::{
    Call, EndpointState, FileId, MAX_RANGES, PageRange, PageRecord, PipeSnapshot, SocketPair, endpoint_kind,
    page_record_flag, station_kind,
};

use super::{Done, ModelKernel, Record, SLOTS};

impl ModelKernel {
    /// Takes a snapshot of a pipe: its state; then its content, at once or when the record is
    /// written; then its state again.
    pub(crate) fn take_snapshot(&mut self, pipe: usize, immediately: bool) -> Done {
        let call = self.call(0, EndpointState::default(), self.pipe_state(pipe));
        let p = &mut self.pipes[pipe];
        for n in 0..p.head.wrapping_sub(p.tail) {
            if let Some(bytes) = &mut p.slots[(p.tail.wrapping_add(n) % SLOTS) as usize] {
                bytes.in_snapshot = bytes.range.len;
            }
        }
        let content = immediately.then(|| self.slots_between(pipe, call.sink.before));
        Done {
            call,
            pushed: None,
            popped_slots: None,
            bios: Vec::new(),
            snapshot: Some((pipe, content)),
        }
    }

    /// Returns the content of the slots from a tail to a head.
    fn slots_between(&self, pipe: usize, at: u64) -> Vec<PageRange> {
        let (head, tail) = ((at >> 32) as u32, at as u32);
        let slot = |n| self.pipes[pipe].slots[(tail.wrapping_add(n) % SLOTS) as usize];
        let count = head.wrapping_sub(tail);
        (0..count)
            .map(|n| slot(n).map_or_else(PageRange::default, |b| b.range))
            .collect()
    }

    /// Records a snapshot.
    fn record_snapshot(&mut self, call: &Call, pipe: usize, content: Option<Vec<PageRange>>) {
        let mut end = call.sink;
        let ranges = content.unwrap_or_else(|| self.slots_between(pipe, end.before));
        let now = self.pipe_state(pipe);
        end.after = now.after;
        end.extra = now.extra;
        end.last_after = now.last_after;
        end.tail_after = self.tail_slot(pipe);
        let mut stations = 0;
        for (part, chunk) in (0..).zip(ranges.chunks(MAX_RANGES)) {
            let mut station = self.station(station_kind::PIPE_SNAPSHOT, 0xf00 + pipe as u64, 0, chunk, part);
            station.call_id = call.call_id;
            self.records.push(Record::Station(station));
            stations += 1;
        }
        self.records.push(Record::Snapshot(PipeSnapshot {
            header: call.header,
            call_id: call.call_id,
            endpoint: end,
            tgid: 100,
            page_records: stations,
        }));
    }

    pub(super) fn station(
        &mut self,
        station: u16,
        object: u64,
        position: u64,
        ranges: &[PageRange],
        part: u32,
    ) -> PageRecord {
        let mut all = [PageRange::default(); MAX_RANGES];
        all[..ranges.len()].copy_from_slice(ranges);
        PageRecord {
            header: self.header(PageRecord::KIND),
            call_id: self.call_id,
            object,
            position,
            file: FileId::default(),
            pair: SocketPair::default(),
            total: ranges.iter().map(|p| p.len).sum(),
            linear: 0,
            flags: 0,
            device: 0,
            station,
            count: ranges.len() as u16,
            part,
            ranges: all,
        }
    }

    /// Returns from a call: the rings are read now, which may be long after the call's effect.
    pub(crate) fn exit(&mut self, done: Done) {
        let Done {
            mut call,
            pushed,
            popped_slots,
            bios,
            snapshot,
        } = done;
        if let Some((pipe, content)) = snapshot {
            return self.record_snapshot(&call, pipe, content);
        }
        for (kind, slots) in [
            (station_kind::PIPE_SOURCE, popped_slots),
            (station_kind::PIPE_SINK, pushed),
        ] {
            let Some((pipe, first, _)) = slots else { continue };
            // Counts as a probe does: from the position at the entry to the present one, whichever
            // call moved it.
            let p = &self.pipes[pipe];
            let count = if kind == station_kind::PIPE_SINK {
                p.head.wrapping_sub(first)
            } else {
                p.tail.wrapping_sub(first).saturating_add(u32::from(p.head != p.tail))
            };
            let split = count > SLOTS;
            // The first slots have been overwritten.
            let first = first.wrapping_add(count.saturating_sub(SLOTS));
            let count = count.min(SLOTS);
            let ranges: Vec<PageRange> = (0..count)
                .map(|k| {
                    self.pipes[pipe].slots[(first.wrapping_add(k) % SLOTS) as usize]
                        .map_or_else(PageRange::default, |b| b.range)
                })
                .collect();
            for (part, chunk) in ranges.chunks(MAX_RANGES).enumerate() {
                let mut station = self.station(kind, 0xf00 + pipe as u64, u64::from(first), chunk, part as u32);
                station.call_id = call.call_id;
                station.flags = if split { page_record_flag::TRUNCATED } else { 0 };
                self.records.push(Record::Station(station));
                call.page_records += 1;
            }
        }
        for chunk in bios.chunks(MAX_RANGES) {
            let mut station = self.station(station_kind::BIO, 0xb10, 0, chunk, 0);
            station.flags = page_record_flag::WRITE;
            station.call_id = call.call_id;
            self.records.push(Record::Station(station));
        }
        // Head and tail at the exit, including the effects of other calls.
        for end in [&mut call.source, &mut call.sink] {
            if end.kind == endpoint_kind::PIPE {
                let pipe = (end.object - 0xf00) as usize;
                let p = &self.pipes[pipe];
                end.after = u64::from(p.head) << 32 | u64::from(p.tail);
                end.extra = p.bufs;
                end.tail_after = self.tail_slot(pipe);
            }
        }
        call.header = self.header(Call::KIND);
        self.records.push(Record::Call(call));
    }
}

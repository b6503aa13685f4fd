//! Records that the disk did not take, in order.

use std::collections::VecDeque;

use crate::frame::Frame;

pub(crate) struct Record {
    pub(crate) frame: Frame,
    /// Whether the tables want it.
    pub(crate) is_news: bool,
    /// Its place among all that was given to the journal, from 1; 0 for what only repeats an earlier one.
    pub(crate) place: u64,
}

/// Knows its size, which is asked for at each call.
#[derive(Default)]
pub(crate) struct Queue {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push_back(&mut self, record: Record) {
        self.bytes += record.frame.len();
        self.records.push_back(Record { frame: record.frame.in_one_piece(), ..record });
    }

    pub(crate) fn push_front(&mut self, record: Record) {
        self.bytes += record.frame.len();
        self.records.push_front(record);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.bytes -= record.frame.len();
        Some(record)
    }
}

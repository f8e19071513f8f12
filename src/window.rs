//! A stretch of event time that a reader asks for.

use std::ops::{Bound, RangeBounds};

use crate::Timestamp;

/// From the first microsecond to the last one, both included; empty when the last lies before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    first_us: i64,
    last_us: i64,
}

impl Window {
    pub fn new(range: &impl RangeBounds<Timestamp>) -> Self {
        const EMPTY: Window = Window { first_us: i64::MAX, last_us: i64::MIN };
        let first_us = match range.start_bound() {
            Bound::Included(from) => Some(from.as_micros()),
            Bound::Excluded(before) => before.as_micros().checked_add(1),
            Bound::Unbounded => Some(i64::MIN),
        };
        let last_us = match range.end_bound() {
            Bound::Included(last) => Some(last.as_micros()),
            Bound::Excluded(to) => to.as_micros().checked_sub(1),
            Bound::Unbounded => Some(i64::MAX),
        };
        match (first_us, last_us) {
            (Some(first_us), Some(last_us)) => Window { first_us, last_us },
            _ => EMPTY,
        }
    }

    pub fn holds(self, time_us: i64) -> bool {
        self.first_us <= time_us && time_us <= self.last_us
    }

    /// Whether events may lie in it whose smallest and largest times these are; none do when the smallest is
    /// above the largest.
    pub fn meets(self, min_us: i64, max_us: i64) -> bool {
        let is_empty = self.first_us > self.last_us || min_us > max_us;
        !is_empty && min_us <= self.last_us && self.first_us <= max_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_range_is_not_in_it_and_the_ends_of_time_are() {
        let at = Timestamp::from_micros;
        let window = Window::new(&(at(10)..at(20)));
        assert!(window.holds(10) && window.holds(19) && !window.holds(9) && !window.holds(20));
        assert!(window.meets(0, 10) && window.meets(19, 30) && window.meets(0, 30) && window.meets(12, 13));
        assert!(!window.meets(20, 30) && !window.meets(0, 9) && !window.meets(i64::MAX, i64::MIN));
        assert!(Window::new(&..).holds(i64::MAX) && Window::new(&..).holds(i64::MIN));
        assert!(!Window::new(&(..at(i64::MIN))).holds(i64::MIN));
        assert!(!Window::new(&(at(20)..at(10))).meets(0, 30));
    }
}

//! How far a long verb has come, on stderr, for a person who waits.

/// A bar over bytes.
#[derive(Debug)]
pub(super) struct Bar;

impl Bar {
    pub(super) fn bytes(_what: &str, _total: u64) -> Bar {
        Bar
    }

    pub(super) fn set(&self, _done: u64) {}

    pub(super) fn finish(self) {}
}

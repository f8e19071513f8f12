//! A log in memory, for tests of handlers: no files, no threads, everything is kept at once.

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog;

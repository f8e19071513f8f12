//! Bugs on purpose, to test the tests: each is one that was made somewhere, in one or two lines of the code it is in.
//!
//! The code asks [`planted`] in its place. That is a constant `false` without the feature `planted-bugs`, which no
//! release has; with it, one bug at a time is chosen by name. `tests/README.md` says which test catches which.

macro_rules! bugs {
    ($($bug:ident, $name:literal, $what:literal;)*) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Bug {
            $(#[doc = $what] $bug,)*
        }

        #[cfg(feature = "planted-bugs")]
        const ALL: &[(Bug, (&str, &str))] = &[$((Bug::$bug, ($name, $what)),)*];
        #[cfg(feature = "planted-bugs")]
        const TOLD: &[(&str, &str)] = &[$(($name, $what),)*];
    };
}

bugs! {
    // An append on its way to the disk.
    AckBeforeSync, "ack-before-sync", "appends are acknowledged without a sync";
    SyncRetried, "sync-retried", "a failed sync is tried again, and its success believed";
    DurableEndBeforeSync, "durable-end-before-sync", "the durable end is published before the sync";
    LockBeforeSync, "lock-before-sync", "LOCK says that events are durable before the sync";
    HintAhead, "hint-ahead", "batches say of written events that they are durable";
    WriteErrorIgnored, "write-error-ignored", "a failed write of a batch is logged and passed over";
    ShortWriteTaken, "short-write-taken", "a write that took half of its bytes is not continued";
    AppendSplit, "append-split", "an append is split over two batches";
    ZerosOverBatches, "zeros-over-batches", "zeros written ahead do not know how far the batches are";
    ClockBack, "clock-back", "the moment an event is recorded goes back with the clock";
    // From one segment to the next.
    RollNotSynced, "roll-not-synced", "a full segment is left behind without a sync";
    HeadNotSynced, "head-not-synced", "a segment gets its name before its head is durable";
    RenameNotSynced, "rename-not-synced", "the directory is not synced when a segment got its name";
    CreationNotSynced, "creation-not-synced", "the directory is not synced when the log was made";
    SealedTooShort, "sealed-too-short", "a sealed file gets its length before its footer and trailer are durable";
    // A log that is opened again.
    AppendBehindTorn, "append-behind-torn", "a torn tail stays, and new batches are put behind it";
    TornNotCleared, "torn-not-cleared", "the rest of a torn tail stays behind the mark in its place";
    TornNotKept, "torn-not-kept", "what is cut is not kept aside";
    RecoveryNotSynced, "recovery-not-synced", "what was found is served without a sync of it";
    BootIgnored, "boot-ignored", "a lost write before a kept one is damage after a power cut too";
    HintsIgnored, "hints-ignored", "what later batches know to be durable is not asked where a batch is not whole";
    VersionsForgotten, "versions-forgotten", "the streams of the active segment are not read when a log is opened";
    LockNotTaken, "lock-not-taken", "a lock that another handle holds counts as taken";
    // What is read.
    ChecksumWithoutLengths, "checksum-without-lengths", "the header's checksum ends where its lengths begin";
    SaltIgnored, "salt-ignored", "batches are not bound to their file";
    LastFileUnverified, "last-file-unverified", "verify leaves out the segment that is written";
    ReadersSeeWritten, "readers-see-written", "readers see events before they are durable";
    ReaderListStale, "reader-list-stale", "a reader in another process does not see new segments";
    BackwardSkips, "backward-skips", "reading backward passes over a batch of one event at the end of a block";
    IndexTrusted, "index-trusted", "an index is believed without its checksum, and without a look at what it is of";
    IndexStale, "index-stale", "the index of the active segment is not fed what came since";
    // Producers and consumers.
    ProducersNotCarried, "producers-not-carried", "producers are forgotten at a roll";
    ResendUnawaited, "resend-unawaited", "a resend is answered before the original is durable";
    CursorInPlace, "cursor-in-place", "a cursor's durable slot is overwritten";
    CursorNotSynced, "cursor-not-synced", "a commit of a cursor is not synced";
    CursorAhead, "cursor-ahead", "a cursor may be ahead of the durable end";
    CursorOfAnyHistory, "cursor-of-any-history", "a cursor is not held against the event before it";
}

/// Whether the code is to have a bug.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub(crate) use chosen::planted;
#[cfg(feature = "planted-bugs")]
pub use chosen::{plant, planted_bugs};

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::{ALL, Bug, TOLD};

    const NONE: u8 = u8::MAX;
    static PLANTED: AtomicU8 = AtomicU8::new(NONE);

    /// Whether the code is to have a bug.
    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }

    /// Gives all logs of this process one bug, in place of the one before; `none` takes it away. False when there is
    /// no bug of that name: then nothing has changed.
    pub fn plant(name: &str) -> bool {
        let bug = match name {
            "none" => Some(NONE),
            _ => ALL.iter().find(|(_, (known, _))| *known == name).map(|(bug, _)| *bug as u8),
        };
        if let Some(bug) = bug {
            PLANTED.store(bug, Ordering::Relaxed);
        }
        bug.is_some()
    }

    /// The names of all bugs, and what each does.
    pub fn planted_bugs() -> &'static [(&'static str, &'static str)] {
        TOLD
    }
}

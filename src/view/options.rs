//! How a view on the disk is opened.

use std::time::Duration;

use crate::disk::BootId;

/// How a view on the disk is opened; the defaults fit most.
#[derive(Debug, Clone)]
pub struct ViewOptions {
    pub(super) cache_bytes: usize,
    pub(super) open_at_most: Duration,
    pub(super) room_bytes: u64,
    pub(super) boot: Option<BootId>,
}

impl Default for ViewOptions {
    fn default() -> Self {
        ViewOptions {
            cache_bytes: 32 * 1024 * 1024,
            open_at_most: Duration::from_secs(60),
            room_bytes: 8 * 1024 * 1024,
            boot: None,
        }
    }
}

impl ViewOptions {
    /// The defaults.
    pub fn new() -> Self {
        ViewOptions::default()
    }

    /// Memory for the store's cache, 32 MiB unless set. sled takes several times as much at times.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How long the store may take to open, a minute unless set; one that takes longer is put aside, and the view
    /// starts empty.
    #[must_use]
    pub fn open_at_most(mut self, at_most: Duration) -> Self {
        self.open_at_most = at_most;
        self
    }

    /// Changes are refused with [`ViewError::Full`](crate::ViewError::Full) when the disk has less room than this
    /// besides the changes, 8 MiB unless set: a store that runs into the end of the disk has to be opened again.
    #[must_use]
    pub fn room_bytes(mut self, bytes: u64) -> Self {
        self.room_bytes = bytes;
        self
    }

    /// Which run of the system this is said to be; for tests.
    #[must_use]
    pub fn boot(mut self, boot: BootId) -> Self {
        self.boot = Some(boot);
        self
    }
}

//! Every limit of a log, in one place; each is checked before anything is allocated or written.

/// Longest name of a stream, type or source, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 1024;

/// Most bytes one batch may hold before compression: its records, names and append table.
///
/// It bounds the largest append, and so the largest event, too.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes of data one event may carry: a batch less room for its names, headers and tables.
pub const DATA_BYTES_MAX: usize = BATCH_BYTES_MAX - 256 * 1024;

/// Most headers one event may carry.
pub const HEADERS_MAX: usize = 64;

/// Most bytes all headers of one event, its id and its content type may take together.
pub const EXTRAS_BYTES_MAX: usize = 64 * 1024;

/// Longest content type, in bytes of UTF-8.
pub const CONTENT_TYPE_BYTES_MAX: usize = 1024;

/// Longest event id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 1024;

/// Most distinct names of one kind (streams, types, sources, producers) in one append.
pub const BATCH_NAMES_MAX: usize = 65_535;

/// Appends of several callers are merged into one batch until it holds this many bytes.
pub const BATCH_BYTES_TARGET: usize = 64 * 1024;

/// Size of the first segment of a log, in bytes. Each next one is twice as large.
pub const SEGMENT_BYTES_FIRST: u32 = 256 * 1024;

/// Largest size of a segment's batches, in bytes, unless a lower one is asked for when opening.
pub const SEGMENT_BYTES_MAX: u32 = 128 * 1024 * 1024;

/// A segment ends early when it holds this many streams: so what is kept in memory of a segment's streams, until
/// it has its indexes, is bounded by some 13 MB.
pub const SEGMENT_STREAMS_MAX: usize = 128 * 1024;

/// Most sources and handlers whose last record is carried from segment to segment.
pub const CARRIED_STREAMS_MAX: usize = 4096;

/// Most producers whose last appends are carried from segment to segment.
pub const CARRIED_PRODUCERS_MAX: usize = 4096;

/// Most bytes that the carried producers may take together; typical ones are as many as can be before it is reached.
/// With the carried sources they fit into one batch.
pub const CARRIED_PRODUCERS_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Appends remembered for each producer, so that a resend is answered and not stored.
pub const CARRIED_APPENDS_MAX: usize = 16;

/// Longest position a source may record, in bytes.
pub const SOURCE_POSITION_BYTES_MAX: usize = 2048;

/// Encoded bytes that may wait for the disk before `append` itself waits.
pub const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Appends acknowledged at [`Durability::Os`](crate::Durability::Os) reach the disk after this many bytes ..
pub const OS_SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// .. or this many milliseconds, whichever comes first.
pub const OS_SYNC_MS: u64 = 200;

/// After this many idle milliseconds a durable mark is written behind the last batch.
pub const IDLE_MARK_MS: u64 = 100;

/// Longest name of a handler, in bytes of UTF-8.
pub const HANDLER_NAME_BYTES_MAX: usize = 200;

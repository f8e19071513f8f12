//! The log's own streams: how they are called, and what of their records is carried from segment to segment.

/// A source's stream holds how far the source was read: all of a record is carried.
pub(crate) const SOURCE_STREAMS: &str = "$source/";
/// A handler's stream holds its commits: their heads are carried.
pub(crate) const HANDLER_STREAMS: &str = "$handler/";
/// What operators ask of a handler: that there is a record is carried.
pub(crate) const CONTROL_STREAMS: &str = "$control/";

/// The stream in which a source's position is kept.
pub(super) fn source_stream(name: &str) -> String {
    format!("{SOURCE_STREAMS}{name}")
}

/// Of the content of a record, what is carried on.
///
/// A handler's commit says at its beginning how long its head is: see `handler/commit.rs`.
pub(crate) fn carried<'d>(stream: &str, data: &'d [u8]) -> &'d [u8] {
    if stream.starts_with(CONTROL_STREAMS) {
        return &[];
    }
    if stream.starts_with(HANDLER_STREAMS) {
        return crate::handler::commit::head_of(data);
    }
    data
}

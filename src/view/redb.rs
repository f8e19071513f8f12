//! State in redb.

/// State in redb.
#[derive(Debug)]
pub struct RedbView;

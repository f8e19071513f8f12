//! State in sled.

/// State in sled.
#[derive(Debug)]
pub struct SledView;

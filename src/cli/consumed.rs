//! How far a source was read: bytes, lines and a hash of them.

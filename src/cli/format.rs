//! How events are shown: text, JSON, raw bytes, hex.

//! Lines of input, bounded.

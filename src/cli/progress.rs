//! Progress on stderr: a bar on a terminal, nothing elsewhere.

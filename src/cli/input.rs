//! The input of import: a file or stdin, plain or zstd by its content.

//! The JSON envelope of an event: what `export` and `--json` write, and `import --format envelope` reads.

//! Many segments as one sequence of events: append, expectations, reading.

mod lock;

//! Many segments as one sequence of events: append, expectations, reading.

mod append;
mod error;
mod layout;
mod lock;

pub use append::{Append, Durability, Expect};
pub use error::{AppendError, Damage, IoFailure, OpenError, ReadError};

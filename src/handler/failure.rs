//! Why an event was not handled, and what becomes of it.

use std::fmt;
use std::time::Duration;

use super::context::RowError;
use super::value::ValueError;

/// What went wrong, as the handler saw it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An event was not handled; nothing that the run changed is kept.
///
/// It is no error type itself, so that `?` makes one of any error.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// To be tried again: its stream is set aside, and taken up after a while that grows, or after the time given.
    /// Other streams go on. Too many in a row park it.
    Retry {
        /// When, if not as the handler's [`Retry`](super::Retry) says.
        after: Option<Duration>,
        /// Why.
        cause: Cause,
    },
    /// Its stream is set aside until somebody decides. Other streams go on.
    Park(Cause),
    /// Passed over, for a reason that is kept.
    Skip(String),
    /// The handler stops here until somebody resumes it.
    Pause(Cause),
}

impl Failure {
    /// To be tried again after a time.
    pub fn retry_after(after: Duration, cause: impl Into<Cause>) -> Self {
        Failure::Retry { after: Some(after), cause: cause.into() }
    }

    /// To be set aside until somebody decides.
    pub fn park(cause: impl Into<Cause>) -> Self {
        Failure::Park(cause.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Retry { cause, .. } | Failure::Park(cause) | Failure::Pause(cause) => cause.fmt(f),
            Failure::Skip(reason) => f.write_str(reason),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    /// An error of decoding parks the event: it would be the same the next time. Any other is tried again.
    fn from(error: E) -> Self {
        let cause: Cause = Box::new(error);
        if is_lasting(&cause) { Failure::Park(cause) } else { Failure::Retry { after: None, cause } }
    }
}

fn is_lasting(cause: &Cause) -> bool {
    #[cfg(feature = "json")]
    if cause.is::<serde_json::Error>() {
        return true;
    }
    let value = cause.downcast_ref::<RowError>().is_some_and(|error| matches!(error, RowError::Value(_)));
    value || cause.is::<ValueError>() || cause.is::<std::str::Utf8Error>() || cause.is::<crate::InvalidEvent>()
}

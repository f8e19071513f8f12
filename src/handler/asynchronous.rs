//! Handlers that await: the same contract, driven by a runtime of tokio's.

use std::future::Future;

use tokio::runtime::Handle;

use super::{Context, Failure, Handler};
use crate::Event;

/// Business logic with state that awaits something on its way. The contract is that of [`Handler`]; dropping the
/// future anywhere is safe, since nothing was committed.
pub trait AsyncHandler: Send + Sync + 'static {
    /// Handles one event; see [`Handler::handle`].
    ///
    /// # Errors
    /// See [`Handler::handle`].
    fn handle<'h>(
        &'h self,
        event: &'h Event,
        cx: &'h mut Context<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'h;

    /// See [`Handler::idempotency_key`].
    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        let _ = event;
        None
    }
}

/// An [`AsyncHandler`] as a [`Handler`]: each event is awaited on the thread that runs the handler, while what it
/// waits for is driven by the runtime. That thread must not be one of the runtime's own workers: run it by
/// `tokio::task::spawn_blocking`, or on a thread of its own.
#[derive(Debug)]
pub struct Async<H> {
    handler: H,
    runtime: Handle,
}

impl<H: AsyncHandler> Async<H> {
    /// Awaits on a runtime.
    pub fn on(runtime: Handle, handler: H) -> Self {
        Async { handler, runtime }
    }
}

impl<H: AsyncHandler> Handler for Async<H> {
    fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
        self.runtime.block_on(self.handler.handle(event, cx))
    }

    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        self.handler.idempotency_key(event)
    }
}

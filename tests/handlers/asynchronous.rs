//! A handler that awaits is held to the same contract.

use annals::{Async, AsyncHandler, Context, Event, Failure, HandlerSpec, Log, MemoryView, Runner};

struct Prices;

impl AsyncHandler for Prices {
    async fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
        // Something that really waits: another task answers.
        let data = event.data().to_vec();
        let len = tokio::spawn(async move {
            tokio::task::yield_now().await;
            data.len() as u64
        });
        let len = len.await.map_err(|error| Failure::park(error.to_string()))?;
        let sum = cx.get_bytes("sum")?.map_or(0, |sum| u64::from_le_bytes(sum[..].try_into().unwrap()));
        cx.put_bytes("sum", (sum + len).to_le_bytes())?;
        if len == 7 {
            return Err(Failure::Skip("seven".into()));
        }
        Ok(())
    }
}

#[test]
fn an_awaiting_handler_commits_as_any_other() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for bytes in 1..=20 {
        drop(log.append(Event::new("s", "T").data(vec![0; bytes])).unwrap());
    }
    log.sync().unwrap();
    let handler = Async::on(runtime.handle().clone(), Prices);
    let view = std::sync::Arc::new(MemoryView::new());
    let mut runner = Runner::open(log, std::sync::Arc::clone(&view), HandlerSpec::new("prices"), handler).unwrap();
    runner.run_to_end().unwrap();
    let sum: u64 = (1..=20).filter(|bytes| *bytes != 7).sum();
    assert_eq!(runner.get_bytes("sum").unwrap().as_deref(), Some(&sum.to_le_bytes()[..]));
}

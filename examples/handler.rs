//! A handler that keeps what each article has sold, and puts out an event at every hundredth: exactly once.

use annals::{Append, Context, Event, Failure, HandlerSpec, Log, Runner, SledView};

fn sold(event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    let pieces: u64 = cx.get(event.stream())?.unwrap_or(0) + 1;
    cx.put(event.stream(), &pieces)?;
    if pieces.is_multiple_of(100) {
        cx.emit(Event::new(format!("reorder-{}", event.stream()), "Reorder"));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::open("data")?;
    let sales = (0..1000).map(|n| Event::new(["lamp", "chair", "table"][n % 3], "Sold"));
    log.append(Append::new().events(sales))?.wait()?;
    let view = SledView::open("state", log.id())?;
    let spec = HandlerSpec::new("sold").on(annals::Filter::new().types(["Sold"]));
    let mut runner = Runner::open(log.clone(), view, spec, sold)?;
    runner.run_to_end()?;
    runner.close()?;
    println!("{} reorders", log.read(..).types(["Reorder"]).count());
    Ok(())
}

//! `annals demo`: a small shop in a log, whose writer is killed while it writes.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use clap::Args;
use serde_json::json;

use crate::{Append, AppendError, Event, Expect, LogReader, NewEvent, Offset, Receipt, Version, verify};

use super::failure::{Exit, Failure};
use super::output::{Out, Style, one_line};
use super::target::{Typed, open_writer};
use super::time::readable;

/// Orders that this process places.
const ORDERS: u64 = 20;
/// Orders of the other process that are acknowledged before it is killed.
const ORDERS_BEFORE_KILL: u64 = 100;
/// Orders the other process has under way at a time.
const ORDERS_IN_FLIGHT: u64 = 8;
/// The other process ends by itself behind so many, should nobody kill it.
const ORDERS_MAX: u64 = 100_000;

/// Streams of a log that was there may be named like orders; larger numbers are none of the demo's.
const ORDER_NUMBER_MAX: u64 = 1 << 48;

const ARTICLES: [(&str, u64); 3] = [("tea", 350), ("mug", 900), ("pot", 2400)];
const CUSTOMERS: [&str; 4] = ["ann", "ben", "cleo", "dan"];

/// Show what a log does: a small shop whose writer is killed while it writes
///
/// Uses a new directory unless one is given; a log that is there gets more orders. No network.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Directory of the log [default: a new one among the temporary files]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl DemoArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let dir = match self.dir {
            Some(dir) => dir,
            None => new_directory()?,
        };
        let mut demo = Demo { dir, out: Out::stdout() };
        let first = demo.orders()?;
        demo.one_stream(first)?;
        let acknowledged = demo.killed_writer(first + ORDERS)?;
        demo.all_there(&acknowledged)?;
        demo.sound()?;
        demo.where_next(first)?;
        Ok(Exit::Done)
    }
}

/// The name of the hidden verb of the process that is killed.
pub(super) const WRITER: &str = "demo-writer";

/// Places orders until it is killed, and says which are acknowledged; `annals demo` runs it.
#[derive(Debug, Args)]
pub(super) struct WriterArgs {
    dir: PathBuf,
    /// Number of its first order
    first: u64,
}

impl WriterArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let log = open_writer(&self.dir)?;
        let mut stdout = io::stdout().lock();
        let mut number = self.first;
        while number < self.first + ORDERS_MAX {
            let burst: Vec<(u64, Receipt)> = (number..number + ORDERS_IN_FLIGHT)
                .map(|number| log.append(order(number)).map(|receipt| (number, receipt)))
                .collect::<Result<_, AppendError>>()?;
            number += ORDERS_IN_FLIGHT;
            for (number, receipt) in burst {
                let appended = receipt.wait()?;
                // A closed pipe: whoever started this is gone, and so it ends.
                writeln!(stdout, "{number} {}", appended.first())
                    .and_then(|()| stdout.flush())
                    .map_err(|error| Failure::io("cannot say what is acknowledged", &error))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// An order that was acknowledged, and the offset of its first event.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    number: u64,
    first: Offset,
}

impl Acknowledged {
    fn parse(line: &str) -> Option<Self> {
        let (number, first) = line.trim_end().split_once(' ')?;
        Some(Acknowledged { number: number.parse().ok()?, first: Offset::from_raw(first.parse().ok()?) })
    }
}

fn article(number: u64) -> (&'static str, u64) {
    ARTICLES.get((number % ARTICLES.len() as u64) as usize).copied().unwrap_or(("tea", 350))
}

fn order_stream(number: u64) -> String {
    format!("order-{number}")
}

fn stock_stream(number: u64) -> String {
    format!("stock-{}", article(number).0)
}

fn json_event(stream: String, event_type: &'static str, data: &serde_json::Value) -> NewEvent<'static> {
    NewEvent::new(stream, event_type).data(data.to_string().into_bytes()).content_type(crate::JSON)
}

/// The events of an order: always the same for the same number, so that anybody can say what should be there.
fn order_events(number: u64) -> [NewEvent<'static>; 3] {
    let (article, pence_each) = article(number);
    let pieces = 1 + number % 3;
    let customer = CUSTOMERS.get((number % CUSTOMERS.len() as u64) as usize).copied().unwrap_or("ann");
    let pence = pieces * pence_each;
    let placed = json!({"customer": customer, "article": article, "pieces": pieces, "pence": pence});
    let reserved = json!({"order": order_stream(number), "pieces": pieces});
    let paid = json!({"order": order_stream(number), "pence": pence});
    [
        json_event(order_stream(number), "OrderPlaced", &placed),
        json_event(stock_stream(number), "StockReserved", &reserved),
        json_event(format!("payment-{number}"), "PaymentAsked", &paid),
    ]
}

/// An order: all three events or none, provided the order is new and the article is known.
fn order(number: u64) -> Append<'static> {
    Append::new()
        .expect(order_stream(number), Expect::None)
        .expect(stock_stream(number), Expect::Exists)
        .events(order_events(number))
}

/// The customer paid: on the payment and on the order, provided the order was not touched since.
fn payment(number: u64) -> Append<'static> {
    let paid = json!({"by": "card"});
    Append::new()
        .expect(order_stream(number), Expect::Version(Version::from_raw(0)))
        .event(json_event(format!("payment-{number}"), "PaymentReceived", &paid))
        .event(json_event(order_stream(number), "OrderPaid", &paid))
}

struct Demo {
    dir: PathBuf,
    out: Out,
}

impl Demo {
    fn heading(&mut self, text: &str) -> Result<(), Failure> {
        let (bold, plain) = (self.out.style(Style::Bold), self.out.style(Style::Plain));
        self.out.line(format_args!("{bold}{text}{plain}"))?;
        self.out.flush()
    }

    fn good(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        let (good, plain) = (self.out.style(Style::Good), self.out.style(Style::Plain));
        self.out.line(format_args!("   {good}{text}{plain}"))?;
        self.out.flush()
    }

    /// Places some orders durably; returns the number of the first.
    fn orders(&mut self) -> Result<u64, Failure> {
        self.heading(&format!("1. A shop in the log {}", self.dir.display()))?;
        let log = open_writer(&self.dir)?;
        let first = next_order(&log.reader())?;
        let (offset, mut events) = (log.tail(), 0);
        let stock: Vec<NewEvent<'_>> = ARTICLES
            .iter()
            .map(|(name, _)| json_event(format!("stock-{name}"), "StockDelivered", &json!({"pieces": 1000})))
            .collect();
        events += stock.len();
        log.append(Append::new().events(stock))?.wait()?;
        let mut receipts = Vec::new();
        for number in first..first + ORDERS {
            for append in [order(number), payment(number)] {
                receipts.push(log.append(append)?);
            }
        }
        for receipt in receipts {
            events += receipt.wait()?.versions().count();
        }
        self.out.line(format_args!(
            "   {events} events about {ORDERS} orders, their payments and the stock, from offset {offset} on. They are on the disk:\n   \
             each append was waited for. An order is one append to three streams, all or none, and expects\n   \
             its own stream to be new and its article's to exist."
        ))?;
        let number = first;
        let refused = match log.append(order(number)) {
            Err(error @ AppendError::WrongVersion { .. }) => error,
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(broken("an order was taken a second time")),
        };
        self.out.line("   The same order once more is refused:")?;
        self.good(refused)?;
        log.close()?;
        Ok(first)
    }

    fn one_stream(&mut self, first: u64) -> Result<(), Failure> {
        let stream = order_stream(shown(first));
        self.heading(&format!("\n2. One stream, read back: {stream}"))?;
        let reader = LogReader::open(&self.dir)?;
        for event in reader.read(..).streams(&stream) {
            let event = event?;
            self.out.line(format_args!(
                "   offset {}  version {}  {}  {:<11}  {}",
                event.offset(),
                event.version(),
                readable(event.recorded()),
                event.event_type(),
                one_line(&String::from_utf8_lossy(event.data()))
            ))?;
        }
        self.out.flush()
    }

    /// Lets another process place orders and kills it; returns those it said are acknowledged.
    fn killed_writer(&mut self, first: u64) -> Result<Vec<Acknowledged>, Failure> {
        self.heading("\n3. Another process writes, and is killed (SIGKILL) while it does")?;
        let program = std::env::current_exe().map_err(|error| Failure::io("cannot find this program", &error))?;
        let mut child = Command::new(program)
            .args([WRITER, "--"])
            .arg(&self.dir)
            .arg(first.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::io("cannot start the other process", &error))?;
        let pid = child.id();
        let heard = hear(&mut child);
        // Whatever was heard, it must not stay.
        let _ = child.kill();
        let ended = child.wait().map_err(|error| Failure::io("cannot wait for the other process", &error))?;
        let (mut acknowledged, mut rest) = heard?;
        // What it could still say before it was killed, it said because it was true. Half a line is none.
        let mut line = String::new();
        while rest.read_line(&mut line).map_err(|error| Failure::io("cannot read the other process", &error))? > 0 {
            acknowledged
                .extend(Some(&line).filter(|line| line.ends_with('\n')).and_then(|line| Acknowledged::parse(line)));
            line.clear();
        }
        if (acknowledged.len() as u64) < ORDERS_BEFORE_KILL {
            return Err(broken(&format!("the other process ended by itself ({ended})")));
        }
        let last = acknowledged.last().map_or(0, |last| last.number);
        self.out.line(format_args!(
            "   process {pid} placed orders from {first} on, {ORDERS_IN_FLIGHT} under way at a time. Until it was killed it had\n   \
             {} orders acknowledged; the last was order-{last}.",
            acknowledged.len(),
        ))?;
        self.out.flush()?;
        Ok(acknowledged)
    }

    fn all_there(&mut self, acknowledged: &[Acknowledged]) -> Result<(), Failure> {
        self.heading("\n4. Opened again: is all there that was acknowledged?")?;
        let log = open_writer(&self.dir)?;
        for order in acknowledged {
            check_order(&log.reader(), *order)?;
        }
        let Some(last) = acknowledged.last() else { return Ok(()) };
        let unheard = whole_orders(&log.reader(), last.first.plus(3), last.number + 1)?;
        self.good(format_args!(
            "yes: all {} orders, {} events, each at its offset and byte for byte",
            acknowledged.len(),
            3 * acknowledged.len()
        ))?;
        self.out.line(match unheard {
            0 => "   Nothing of the orders under way was kept.".to_owned(),
            n => format!(
                "   Of the orders under way {n} were kept too, each whole; their writer did not live to say so."
            ),
        })?;
        log.close()?;
        Ok(())
    }

    fn sound(&mut self) -> Result<(), Failure> {
        self.heading("\n5. Every byte of the log, checked")?;
        let report = verify(&self.dir, &mut |_, _| {})?;
        if let Some(damage) = report.damage.first() {
            return Err(Failure::new(Exit::Damaged, "damaged", damage));
        }
        self.good(format_args!("sound: {} events, {} bytes in {} files", report.events, report.bytes, report.files))
    }

    fn where_next(&mut self, first: u64) -> Result<(), Failure> {
        self.heading("\nLook around:")?;
        let program = std::env::args_os().next().unwrap_or_else(|| OsString::from("annals"));
        let (program, dir) = (program.to_string_lossy(), self.dir.to_string_lossy());
        let (program, dir, stream) = (Typed(&program), Typed(&dir), order_stream(shown(first)));
        for rest in [
            format!("cat {dir} --stream {stream}"),
            format!("cat {dir} --type OrderPaid -n 3 --json"),
            format!("stat {dir}"),
            format!("verify {dir}"),
        ] {
            self.out.line(format_args!("   {program} {rest}"))?;
        }
        self.out.line(format_args!(
            "   echo '{{\"why\":\"too hot\"}}' | {program} append {dir} {stream} --type OrderReturned --expect 1"
        ))?;
        self.out.flush()
    }
}

/// The order that is shown: the seventeenth of a new log.
fn shown(first: u64) -> u64 {
    first + 16
}

/// Hears what the other process says until enough is acknowledged.
fn hear(child: &mut Child) -> Result<(Vec<Acknowledged>, BufReader<ChildStdout>), Failure> {
    let Some(stdout) = child.stdout.take() else { return Err(broken("the other process has no pipe")) };
    let mut stdout = BufReader::new(stdout);
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    while (acknowledged.len() as u64) < ORDERS_BEFORE_KILL {
        line.clear();
        let bytes =
            stdout.read_line(&mut line).map_err(|error| Failure::io("cannot read the other process", &error))?;
        if bytes == 0 {
            break;
        }
        let order = Acknowledged::parse(&line).ok_or_else(|| broken("the other process said what is no order"))?;
        acknowledged.push(order);
    }
    Ok((acknowledged, stdout))
}

/// Whether the events of an order stand at their offsets as they were appended.
fn check_order(reader: &LogReader, order: Acknowledged) -> Result<(), Failure> {
    let mut read = reader.read(order.first..order.first.plus(3));
    for expected in order_events(order.number) {
        match read.next().transpose()? {
            Some(event) if is_that(&event, &expected) => {}
            _ => return Err(broken(&format!("order-{} was acknowledged and is not there", order.number))),
        }
    }
    Ok(())
}

/// Counts the orders from an offset on; all there is must be whole orders in their order.
fn whole_orders(reader: &LogReader, from: Offset, mut number: u64) -> Result<u64, Failure> {
    let mut read = reader.read(from..);
    let mut orders = 0;
    while read.position() < read.end() {
        for expected in order_events(number) {
            match read.next().transpose()? {
                Some(event) if is_that(&event, &expected) => {}
                None if expected.stream == order_stream(number) => return Ok(orders),
                _ => return Err(broken(&format!("a part of order-{number} is there and a part is not"))),
            }
        }
        number += 1;
        orders += 1;
    }
    Ok(orders)
}

fn is_that(event: &Event, expected: &NewEvent<'_>) -> bool {
    event.stream() == expected.stream && event.event_type() == expected.event_type && event.data() == &*expected.data
}

/// The number behind the largest order of the log.
fn next_order(reader: &LogReader) -> Result<u64, Failure> {
    let mut next = 1;
    for event in reader.read(..).streams("order-*") {
        let event = event?;
        let number = event.stream().strip_prefix("order-").and_then(|number| number.parse::<u64>().ok());
        next = next.max(number.filter(|number| *number < ORDER_NUMBER_MAX).map_or(0, |number| number + 1));
    }
    Ok(next)
}

/// A promise of the log that did not hold.
fn broken(what: &str) -> Failure {
    Failure::new(Exit::Damaged, "demo_failed", what)
}

/// A directory that nobody has yet.
fn new_directory() -> Result<PathBuf, Failure> {
    let temporary = std::env::temp_dir();
    for n in 0u32..1000 {
        let dir = temporary.join(format!("annals-demo-{}-{n}", std::process::id()));
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot_make(&dir, &error)),
        }
    }
    Err(cannot_make(&temporary, &io::ErrorKind::AlreadyExists.into()))
}

fn cannot_make(dir: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("cannot make a directory at {}", dir.display()), error).help("give one: `annals demo DIR`")
}

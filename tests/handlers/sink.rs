//! A sink: the cursor is kept in the user's own transaction, so each event is applied once.

use std::path::Path;
use std::process::{Command, Stdio};

use annals::{ConsumerError, Event, Filter, Log, LogReader, Sink, SinkError};
use rusqlite::{Connection, OptionalExtension, params};

/// How much each customer has spent, in SQLite.
struct Spent(Connection);

impl Spent {
    fn open(path: &Path) -> Spent {
        let db = Connection::open(path).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE IF NOT EXISTS spent (customer TEXT PRIMARY KEY, pence INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS cursor (only INTEGER PRIMARY KEY CHECK (only = 0), at TEXT NOT NULL);",
        )
        .unwrap();
        Spent(db)
    }

    fn all(&self) -> Vec<(String, i64)> {
        let mut rows = self.0.prepare("SELECT customer, pence FROM spent ORDER BY customer").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

impl Sink for Spent {
    type Error = rusqlite::Error;

    fn cursor(&mut self) -> rusqlite::Result<Option<String>> {
        self.0.query_row("SELECT at FROM cursor", [], |row| row.get(0)).optional()
    }

    fn apply(&mut self, events: &[Event], before: Option<&str>, cursor: &str) -> rusqlite::Result<()> {
        let tx = self.0.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let stored: Option<String> = tx.query_row("SELECT at FROM cursor", [], |row| row.get(0)).optional()?;
        if stored.as_deref() != before {
            return Err(rusqlite::Error::QueryReturnedNoRows); // another one was faster: read the cursor again
        }
        for event in events {
            tx.execute(
                "INSERT INTO spent VALUES (?1, ?2) ON CONFLICT (customer) DO UPDATE SET pence = pence + ?2",
                params![event.stream(), event.data().len() as i64],
            )?;
        }
        tx.execute("INSERT INTO cursor VALUES (0, ?1) ON CONFLICT (only) DO UPDATE SET at = ?1", [cursor])?;
        tx.commit()
    }
}

fn log_with(dir: &Path, events: u32) -> Log {
    let log = Log::open(dir).unwrap();
    append(&log, 0..events);
    log
}

fn append(log: &Log, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let event = Event::new(format!("customer-{}", n % 13), "Paid").data(vec![b'x'; 1 + n as usize % 5]);
        drop(log.append(event).unwrap());
    }
    log.sync().unwrap();
}

fn expected(events: u32) -> Vec<(String, i64)> {
    let mut spent = std::collections::BTreeMap::new();
    for n in 0..events {
        *spent.entry(format!("customer-{}", n % 13)).or_insert(0) += 1 + i64::from(n) % 5;
    }
    spent.into_iter().collect()
}

#[test]
fn a_sink_goes_on_where_its_own_database_says() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_with(&dir.path().join("log"), 3_000);
    let mut spent = Spent::open(&dir.path().join("spent.db"));
    assert_eq!(log.reader().run_sink("spent", &Filter::new(), &mut spent).unwrap(), 3_000);
    append(&log, 3_000..3_100);
    drop(spent);
    let mut spent = Spent::open(&dir.path().join("spent.db"));
    assert_eq!(log.reader().run_sink("spent", &Filter::new(), &mut spent).unwrap(), 100);
    assert_eq!(spent.all(), expected(3_100));
}

#[test]
fn a_sink_passes_what_its_filter_does_not_want() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_with(&dir.path().join("log"), 2_600);
    let mut spent = Spent::open(&dir.path().join("spent.db"));
    let filter = Filter::new().stream_named("customer-4");
    assert_eq!(log.reader().run_sink("spent", &filter, &mut spent).unwrap(), 200);
    let cursor: annals::SinkCursor = spent.cursor().unwrap().unwrap().parse().unwrap();
    assert_eq!(cursor.next(), log.durable_end());
}

#[test]
fn a_sink_of_another_log_or_ahead_of_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_with(&dir.path().join("log"), 100);
    let mut spent = Spent::open(&dir.path().join("spent.db"));
    log.reader().run_sink("spent", &Filter::new(), &mut spent).unwrap();
    let before = spent.all();

    let other = log_with(&dir.path().join("other"), 200);
    let refused = other.reader().run_sink("spent", &Filter::new(), &mut spent).unwrap_err();
    assert!(matches!(refused, SinkError::Cursor(ConsumerError::WrongLog { .. })), "{refused}");

    let ahead = spent.cursor().unwrap().unwrap().replace(":100:", ":101:");
    spent.0.execute("UPDATE cursor SET at = ?1", [ahead]).unwrap();
    let refused = log.reader().run_sink("spent", &Filter::new(), &mut spent).unwrap_err();
    assert!(matches!(refused, SinkError::Cursor(ConsumerError::CursorAhead { .. })), "{refused}");

    spent.0.execute("UPDATE cursor SET at = 'end'", []).unwrap();
    let refused = log.reader().run_sink("spent", &Filter::new(), &mut spent).unwrap_err();
    assert!(matches!(refused, SinkError::NotACursor(_)), "{refused}");
    assert_eq!(spent.all(), before);
}

/// Names the directory for the process that the next test kills.
const KILLED: &str = "ANNALS_TEST_SINK";

/// What is run in that process; without the variable it has nothing to do.
#[test]
fn a_process_that_is_to_be_killed() {
    let Some(dir) = std::env::var_os(KILLED) else { return };
    let dir = Path::new(&dir);
    let mut spent = Spent::open(&dir.join("spent.db"));
    let reader = LogReader::open(dir.join("log")).unwrap();
    reader.run_sink("spent", &Filter::new(), &mut spent).unwrap();
}

#[test]
fn a_sink_killed_anywhere_applies_each_event_once() {
    const EVENTS: u32 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    drop(log_with(&dir.path().join("log"), EVENTS));
    let run = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "sink::a_process_that_is_to_be_killed", "--nocapture"]);
        command.env(KILLED, dir.path()).stdout(Stdio::null()).spawn().unwrap()
    };
    let mut spent = Spent::open(&dir.path().join("spent.db"));
    let mut kills = 0;
    let mut seen = None;
    let mut child = run();
    while child.try_wait().unwrap().is_none() {
        let now = spent.cursor().unwrap();
        if now != seen && kills < 8 {
            // It has got on: killed at whatever it does now.
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            seen = spent.cursor().unwrap();
            child = run();
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(kills, 8, "it was faster than the kills");
    assert_eq!(spent.all(), expected(EVENTS));
}

//! `annals handle`: events handled by a command, each exactly once, whatever the command does.
//!
//! The commands are in Python; without it these tests say that they are skipped.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use annals::{Event, Log, NewEvent};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::common::{Ran, Running, TestLog, annals, ask, assert_sound, events, eventually, over, run};
use crate::real_data::data;

/// Adds up what events bring, by key, and puts out the sum each time. An event may ask for something else: always, or
/// so often as it says; how often it did is kept in a directory, since the process that did may be gone.
const SUM: &str = r#"
import json, os, signal, sys, time
def again(event):
    path = os.path.join(sys.argv[1], str(event["offset"]))
    tries = len(open(path).read()) if os.path.exists(path) else 0
    open(path, "a").write("x")
    return tries < event["data"].get("times", 1 << 30)
for line in sys.stdin:
    task = json.loads(line)
    events = task.get("events") or [task["event"]]
    total, answer = task["state"] or 0, None
    for event in events:
        what = event["data"].get("do")
        if what and again(event):
            if what == "exit": sys.exit(3)
            if what == "kill": os.kill(os.getpid(), signal.SIGKILL)
            if what == "hang": time.sleep(1000)
            answer = {"retry": {"retry": 0}, "park": {"park": "no price"}, "skip": {"skip": "a test"}}.get(what)
            if what == "garbage": answer = "never mind"
            if what == "twice": answer = "{}\n{}"
            break
        total += event["data"].get("n", 0)
    if answer is None:
        answer = {"state": total, "emit": [{"stream": "sums", "type": "Sum", "data": [task["key"], total]}]}
    print(answer if isinstance(answer, str) else json.dumps(answer))
    if sys.argv[2:] == ["one"]: break
"#;

/// Puts out what it is told of each key.
const SHOW: &str = r#"
import json, sys
for line in sys.stdin:
    task = json.loads(line)
    print(json.dumps({"emit": [{"stream": "shown", "type": "State", "data": [task["key"], task["state"]]}]}))
"#;

fn python() -> bool {
    let found = Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        // Not by `eprintln`, which would only be shown if the test failed.
        let _ = std::io::stderr().write_all(b"\na handler in Python: SKIPPED, there is no python3\n");
    }
    found
}

/// A log, and room for the programs that handle its events.
struct Shop {
    log: TestLog,
    room: tempfile::TempDir,
}

impl Shop {
    /// A log of events with streams and data; `None` without Python.
    fn of(events: &[(&'static str, Value)]) -> Option<Shop> {
        let new = |(stream, data): &(&'static str, Value)| NewEvent::new(*stream, "Sold").json(data).unwrap();
        python().then(|| Shop { log: TestLog::of(events.iter().map(new)), room: tempfile::tempdir().unwrap() })
    }

    /// The command line of a program in Python.
    fn program(&self, name: &str, text: &str) -> String {
        let path = self.room.path().join(name);
        std::fs::write(&path, text).unwrap();
        let tries = self.room.path().join("tries");
        std::fs::create_dir_all(&tries).unwrap();
        format!("python3 {} {}", path.display(), tries.display())
    }

    fn handle(&self, exec: &str, args: &[&str]) -> Ran {
        run(self.handler(exec, args))
    }

    fn handler(&self, exec: &str, args: &[&str]) -> Command {
        let mut command = over(self.log.path(), "handle", &["--name", "sum", "--on", "Sold", "--exec", exec]);
        command.args(args);
        command
    }

    fn sum(&self, args: &[&str]) -> Ran {
        self.handle(&self.program("sum.py", SUM), args)
    }

    /// What was put out.
    fn sums(&self) -> Vec<Value> {
        put_out(self.log.path(), "Sum")
    }

    fn more(&self, events: &[(&'static str, Value)]) {
        let log = Log::open(self.log.path()).unwrap();
        for (stream, data) in events {
            log.append(Event::new(*stream, "Sold").json(data).unwrap()).unwrap().wait().unwrap();
        }
        log.close().unwrap();
    }
}

/// The data of all events of a type.
fn put_out(log: &Path, event_type: &str) -> Vec<Value> {
    let wanted = events(log).into_iter().filter(|event| event.event_type() == event_type);
    wanted.map(|event| event.json().unwrap()).collect()
}

/// Three events of one stream with one of another in between.
fn two_streams(second: Value) -> [(&'static str, Value); 4] {
    [("a", json!({"n": 1})), ("a", second), ("b", json!({"n": 10})), ("a", json!({"n": 3}))]
}

#[test]
fn state_and_outputs_count_each_event_once() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2}))) else { return };
    shop.sum(&[]).done().says("handled 4 events  put out 4 events");
    assert_eq!(shop.sums(), [json!(["a", 1]), json!(["a", 3]), json!(["b", 10]), json!(["a", 6])]);
    shop.sum(&[]).done().says("handled 0 events");
    shop.more(&[("b", json!({"n": 5}))]);
    let said = shop.sum(&["--json"]).done().json();
    assert_eq!((&said["handled"], &said["emitted"], &said["parked"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(shop.sums()[4..], [json!(["b", 15])]);
    assert_sound(shop.log.path());
}

#[test]
fn a_command_is_told_the_envelope_and_its_state_byte_for_byte() {
    let Some(shop) = Shop::of(&[("a", json!({})), ("a", json!({})), ("a", json!({}))]) else { return };
    // The first answer has a state that Python would write otherwise, the second one none, the third takes it away.
    let told = shop.room.path().join("told");
    let exec = format!(
        r#"tee {} | while read -r line; do n=$((n+1)); case $n in 1) echo '{{"state": {{"a": 1.50,  "a":2}} }}';; 2) echo '{{}}';; *) echo '{{"state":null}}';; esac; done"#,
        told.display()
    );
    shop.handle(&exec, &[]).done();
    let lines = std::fs::read_to_string(&told).unwrap();
    let states: Vec<_> = lines.lines().map(|line| line.split_once(r#","state":"#).unwrap().1).collect();
    assert_eq!(states, ["null}", r#"{"a": 1.50,  "a":2}}"#, r#"{"a": 1.50,  "a":2}}"#]);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let shown = shop.log.run("get", &["0", "--json"]).done().json();
    assert_eq!((&first["key"], &first["event"]), (&json!("a"), &shown));
    shop.more(&[("a", json!({}))]);
    shop.handle(&shop.program("show.py", SHOW), &[]).done();
    assert_eq!(put_out(shop.log.path(), "State"), [json!(["a", null])]);
}

#[test]
fn an_event_that_is_to_be_tried_again_holds_up_its_stream_and_no_other() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2, "do": "retry", "times": 3}))) else { return };
    shop.sum(&[]).done();
    assert_eq!(shop.sums(), [json!(["a", 1]), json!(["b", 10]), json!(["a", 3]), json!(["a", 6])]);
}

#[test]
fn a_parked_event_holds_up_its_stream_and_is_the_exit_code() {
    let Some(shop) = Shop::of(&two_streams(json!({"do": "park"}))) else { return };
    shop.sum(&[]).exits(1).says("1 stream set aside");
    assert_eq!(shop.sums(), [json!(["a", 1]), json!(["b", 10])]);
    shop.sum(&[]).exits(1);
    assert_eq!(shop.sums().len(), 2);
}

#[test]
fn a_skipped_event_changes_nothing() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2, "do": "skip"}))) else { return };
    shop.sum(&[]).done();
    assert_eq!(shop.sums(), [json!(["a", 1]), json!(["b", 10]), json!(["a", 4])]);
}

#[test]
fn an_event_that_ends_the_command_five_times_is_parked() {
    let Some(shop) = Shop::of(&two_streams(json!({"do": "exit"}))) else { return };
    shop.sum(&[]).exits(1).says("1 stream set aside");
    assert_eq!(shop.sums(), [json!(["a", 1]), json!(["b", 10])]);
    // A death behind other answers does not count, and the same event begins with the next command.
    let tries = std::fs::read_to_string(shop.room.path().join("tries/1")).unwrap().len();
    assert!((5..=10).contains(&tries), "{tries} tries");
}

#[test]
fn a_command_that_is_ended_from_outside_costs_no_event_its_attempts() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2, "do": "kill", "times": 7}))) else { return };
    shop.sum(&[]).done().says("the command was started 8 times");
    assert_eq!(shop.sums(), [json!(["a", 1]), json!(["a", 3]), json!(["b", 10]), json!(["a", 6])]);
}

#[test]
fn a_command_that_ends_after_each_answer_gets_on_all_the_same() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2}))) else { return };
    let exec = format!("{} one", shop.program("sum.py", SUM));
    shop.handle(&exec, &[]).done().says("the command was started 4 times");
    assert_eq!(shop.sums(), [json!(["a", 1]), json!(["a", 3]), json!(["b", 10]), json!(["a", 6])]);
}

#[test]
fn a_command_that_hangs_or_talks_nonsense_is_started_again() {
    for what in ["hang", "garbage"] {
        let sales = [("a", json!({"n": 2, "do": what, "times": 1})), ("b", json!({"n": 1}))];
        let Some(shop) = Shop::of(&sales) else { return };
        shop.sum(&["--timeout", "5s"]).done();
        assert_eq!(shop.sums(), [json!(["b", 1]), json!(["a", 2])], "{what}");
    }
}

#[test]
fn an_answer_of_two_lines_does_not_count() {
    let Some(shop) = Shop::of(&[("a", json!({"n": 2, "do": "twice", "times": 1}))]) else { return };
    shop.sum(&[]).done().says("the command was started 2 times");
    assert_eq!(shop.sums(), [json!(["a", 2])]);
}

#[test]
fn a_command_that_cannot_be_started_costs_nothing() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2}))) else { return };
    shop.handle("there-is-no-such-program", &[]).failed(2, "exit code 127");
    shop.sum(&[]).done();
    assert_eq!(shop.sums().len(), 4);
}

#[test]
fn a_key_is_made_of_the_data_and_stays_so_in_a_generation() {
    let sales =
        [("a", json!({"n": 1, "who": 7})), ("b", json!({"n": 2, "who": 7})), ("a", json!({"n": 4, "who": null}))];
    let Some(shop) = Shop::of(&sales) else { return };
    shop.sum(&["--key", "{who}"]).done();
    assert_eq!(shop.sums(), [json!(["7", 1]), json!(["7", 3]), json!(["", 4])]);
    shop.sum(&["--key", "{/who}"]).failed(4, "raise the generation");
    shop.sum(&["--key", "{who"]).failed(2, "--key");
    let log = Log::open(shop.log.path()).unwrap();
    log.append(Event::new("a", "Sold").data(&b"no json"[..])).unwrap().wait().unwrap();
    log.close().unwrap();
    shop.sum(&["--key", "{who}"]).exits(1).says("1 stream set aside");
}

#[test]
fn a_batch_is_one_line_for_each_key() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2}))) else { return };
    shop.sum(&["--batch"]).done().says("handled 4 events  put out 2 events");
    assert_eq!(shop.sums(), [json!(["a", 6]), json!(["b", 10])]);
}

#[test]
fn an_event_that_spoils_a_batch_is_found_and_parked_alone() {
    for what in ["exit", "park", "garbage"] {
        let Some(shop) = Shop::of(&two_streams(json!({"do": what}))) else { return };
        shop.sum(&["--batch"]).exits(1).says("1 stream set aside");
        assert_eq!(shop.sums(), [json!(["a", 1]), json!(["b", 10])], "{what}");
    }
}

#[test]
fn the_view_is_kept_beside_the_log_and_can_be_made_again() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2}))) else { return };
    let view = shop.log.path().join("state/view");
    let sum = shop.program("sum.py", SUM);
    for (round, total) in [10, 11, 12].into_iter().enumerate() {
        shop.handle(&sum, &[]).done();
        assert!(shop.sums().contains(&json!(["b", total])), "after round {round}");
        assert_eq!(view.join("sled.quarantine-1").exists(), round == 2);
        let report = annals::verify(shop.log.path(), &mut |_, _| {}).unwrap();
        assert!(report.is_sound() && report.notes.is_empty(), "{report:#?}");
        shop.more(&[("b", json!({"n": 1}))]);
        match round {
            0 => std::fs::remove_dir_all(&view).unwrap(),
            // No store that opens: it is put aside.
            _ => std::fs::write(view.join("sled/conf"), "never mind").unwrap(),
        }
    }
}

#[test]
fn one_process_at_a_time_handles_the_events_of_a_log() {
    let Some(shop) = Shop::of(&two_streams(json!({"n": 2}))) else { return };
    let log = Log::open(shop.log.path()).unwrap();
    shop.sum(&[]).failed(4, "process");
    log.close().unwrap();
    ask("handle", &shop.room.path().join("none"), &["--name", "x", "--exec", "cat"]).failed(3, "");
    shop.handle("cat", &["--name", "a/b"]).failed(2, "");
}

#[test]
fn it_follows_until_it_is_interrupted() {
    let Some(shop) = Shop::of(&[("a", json!({"n": 1}))]) else { return };
    // Puts out what it handles itself, up to the fifth.
    let echo = r#"
import json, sys
for line in sys.stdin:
    event = json.loads(line)["event"]
    n = event["data"]["n"]
    more = [{"stream": event["stream"], "type": "Sold", "data": {"n": n + 1}}]
    print(json.dumps({"emit": more if n < 5 else []}))
"#;
    let mut running = Running::start(shop.handler(&shop.program("echo.py", echo), &["--follow"]));
    eventually(|| (events(shop.log.path()).len() == 5).then_some(()));
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let status = running.0.wait().unwrap();
    assert_eq!(status.signal(), Some(2), "a shell shows this as 130: {status}");
    assert_eq!(events(shop.log.path()).len(), 5);
    // Each of its own outputs was handled, none twice.
    shop.handle(&shop.program("echo.py", echo), &[]).done();
    assert_eq!(events(shop.log.path()).len(), 5);
}

/// Whether a process is there and not a zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn nothing_of_a_command_outlives_a_handler_that_is_killed() {
    let Some(shop) = Shop::of(&[("a", json!({"n": 1}))]) else { return };
    let pids = shop.room.path().join("pids");
    // Neither a shell, nor its child, nor the child's, of which none ever reads.
    let exec = format!(
        "sleep 1000 & sh -c 'sleep 1001 & echo $$ $! >> {0}.new; wait' & echo $$ $! >> {0}.new; until [ $(wc -w < {0}.new) = 4 ]; do :; done; mv {0}.new {0}; wait",
        pids.display()
    );
    let mut running = Running::start(shop.handler(&exec, &[]));
    let pids = eventually(|| std::fs::read_to_string(&pids).ok());
    assert!(pids.split_whitespace().all(lives), "{pids}");
    running.kill();
    eventually(|| (!pids.split_whitespace().any(lives)).then_some(()));
}

const LEDGER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ledger.py");

/// What the first lines of the file come to by customer, and the digest of it as the answers have it.
fn digest_customers(rows: &[Value]) -> String {
    let row = |row: &Value| {
        let ledger = &row[1];
        let key = row[0].as_str().unwrap();
        format!(
            "{key}\t{}\t{}\t{}\t{}\n",
            ledger["lines"],
            ledger["quantity"],
            ledger["amount"],
            ledger["last"].as_str().unwrap()
        )
    };
    let mut rows: Vec<_> = rows.iter().filter(|row| row[0] != "").map(row).collect();
    rows.sort();
    Sha256::digest(rows.concat()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_ledger_in_python_has_the_known_answers_of_the_web_shop() {
    let Some(data) = data("online-retail, a ledger in Python") else { return };
    if !python() {
        return;
    }
    let answers: Value =
        serde_json::from_slice(&std::fs::read(data.join("online-retail.answers.json")).unwrap()).unwrap();
    let plain = zstd::decode_all(std::fs::File::open(data.join("online-retail.ndjson.zst")).unwrap()).unwrap();
    let plain = String::from_utf8(plain).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (log, file, show) = (dir.path().join("log"), dir.path().join("retail"), dir.path().join("show.py"));
    std::fs::write(&show, SHOW).unwrap();
    let handle = |program: &Path| {
        let exec = format!("python3 {}", program.display());
        let mut handle = over(&log, "handle", &["--name", "ledger", "--on", "sold", "--key", "{CustomerID}", "--exec"]);
        run({
            handle.arg(exec);
            handle
        })
        .done();
    };
    let mut shown = 0;
    for lines in [1_000, 10_000] {
        let part: String = plain.split_inclusive('\n').take(lines).collect();
        std::fs::write(&file, &part).unwrap();
        let mut import = annals(["import"]);
        import.arg(&log).arg(&file).args(["--stream", "customer-{CustomerID}", "--type", "sold"]);
        run(import).done();
        handle(&PathBuf::from(LEDGER));

        // An event for each customer that asks for its ledger.
        let sales: Vec<Value> = part.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let customers: std::collections::BTreeSet<_> =
            sales.iter().map(|sale| sale["CustomerID"].to_string()).collect();
        let writer = Log::open(&log).unwrap();
        for customer in &customers {
            let asked = format!(r#"{{"CustomerID":{customer}}}"#).into_bytes();
            drop(writer.append(Event::new("asked", "sold").data(asked)).unwrap());
        }
        writer.close().unwrap();
        handle(&show);
        let states = put_out(&log, "State").split_off(shown);
        shown += states.len();
        let known = &answers["after_n_events"][lines.to_string()];
        let customers = "digest_customers(CustomerID,lines,sum_quantity,sum_amount_thousandths,last_InvoiceNo)";
        assert_eq!(digest_customers(&states), known[customers], "after {lines} lines");
        let sum = |field: &str| states.iter().map(|row| row[1][field].as_i64().unwrap()).sum::<i64>();
        assert_eq!((sum("lines"), sum("quantity")), (lines as i64, known["quantity"].as_i64().unwrap()));
        let amount = known["amount"].as_str().unwrap().replace('.', "");
        assert_eq!(sum("amount").to_string(), amount);

        let invoice = |sale: &Value| sale["InvoiceNo"].as_str().unwrap().to_owned();
        let returns: Vec<_> = sales.iter().filter(|sale| invoice(sale).starts_with('C')).map(invoice).collect();
        let said: Vec<_> =
            put_out(&log, "Returned").iter().map(|data| data["invoice"].as_str().unwrap().to_owned()).collect();
        assert_eq!(said, returns, "after {lines} lines");
    }
    assert_sound(&log);
}

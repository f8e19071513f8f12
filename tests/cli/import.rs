//! `annals import`: every line becomes one event, exactly once.

use std::path::{Path, PathBuf};
use std::process::Command;

use annals::{JSON, Log, LogReader};

use crate::common::{Running, annals, assert_sound, data, events, eventually, run, run_with};

const SHAPE: [&str; 4] = ["--stream", "order-{no}", "--type", "{kind}"];

fn import(log: &Path, file: impl AsRef<Path>) -> Command {
    let mut command = annals(["import"]);
    command.arg(log).arg(file.as_ref()).args(SHAPE);
    command
}

fn line(no: u64) -> String {
    format!(r#"{{"no":{no},"kind":"Placed"}}"#)
}

fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers.into_iter().map(|no| line(no) + "\n").collect()
}

struct Place {
    dir: tempfile::TempDir,
    log: PathBuf,
    file: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (log, file) = (dir.path().join("log"), dir.path().join("orders.ndjson"));
        Place { dir, log, file }
    }

    fn with(text: &str) -> Self {
        let place = Self::new();
        place.write(text);
        place
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    fn import(&self) -> Command {
        import(&self.log, &self.file)
    }

    /// The numbers of the orders in the log; each event must be the line of its order.
    fn numbers(&self) -> Vec<u64> {
        let all = events(&self.log);
        assert_sound(&self.log);
        all.iter()
            .map(|event| {
                let no = event.stream().strip_prefix("order-").unwrap().parse().unwrap();
                assert_eq!(event.data(), line(no).as_bytes());
                no
            })
            .collect()
    }
}

#[test]
fn a_line_becomes_an_event_with_the_lines_bytes() {
    let text = "{ \"no\": 1.50, \"kind\": \"Plac\\u0065d\", \"at\": \"2010-12-01 08:26\", \"key\": 7}\r\n{\"no\":null,\"kind\":true,\"at\":\"2015-09-12T00:46:58.771Z\"}";
    let place = Place::with(text);
    let mut command = place.import();
    command.args(["--time", "at", "--id", "{key}", "--zone", "+02:00"]);
    let said = run(command).exits(0).stderr;
    assert!(said.starts_with("imported 2 events  offsets 0 to 4 (exclusive)  up to line 2 of "), "{said}");
    let events = events(&place.log);
    let [first, second] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((first.stream(), first.event_type(), first.id()), ("order-1.50", "Placed", Some("7")));
    assert_eq!(first.time().as_micros(), 1_291_184_760_000_000);
    assert_eq!((second.stream(), second.event_type(), second.id()), ("order-", "true", None));
    assert_eq!(second.time().as_micros(), 1_442_018_818_771_000);
    let whole: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b'\n').collect();
    assert_eq!([first.data(), second.data()], whole.as_slice());
    for event in &events {
        assert_eq!((event.content_type(), event.source()), (Some(JSON), Some("orders.ndjson")));
    }
}

#[test]
fn run_again_it_adds_nothing_and_says_so() {
    let place = Place::with(&lines(0..3000));
    run(place.import()).exits(0).says("imported 3,000 events");
    let tail = LogReader::open(&place.log).unwrap().tail().unwrap();
    for _ in 0..2 {
        run(place.import()).exits(0).says("nothing new: all 3,000 lines");
        assert_eq!(LogReader::open(&place.log).unwrap().tail().unwrap(), tail);
    }
    assert_eq!(place.numbers(), (0..3000).collect::<Vec<_>>());
}

#[test]
fn of_a_file_that_grew_only_the_new_lines_are_taken() {
    let place = Place::with(&lines(0..10));
    run(place.import()).exits(0);
    place.write(&lines(0..25));
    run(place.import()).exits(0).says("went on behind line 10").says("imported 15 events");
    assert_eq!(place.numbers(), (0..25).collect::<Vec<_>>());
}

#[test]
fn a_last_line_without_its_end_is_a_line_and_may_get_its_end_later() {
    let open = lines(0..3);
    let place = Place::with(open.trim_end());
    run(place.import()).exits(0).says("imported 3 events");
    run(place.import()).exits(0).says("nothing new: all 3 lines");
    place.write(&open);
    run(place.import()).exits(0).says("nothing new: all 3 lines");
    place.write(&lines(0..5));
    run(place.import()).exits(0).says("imported 2 events");
    assert_eq!(place.numbers(), (0..5).collect::<Vec<_>>());
}

#[test]
fn a_last_line_that_was_taken_and_then_grew_is_refused() {
    let place = Place::with(lines(0..3).trim_end());
    run(place.import()).exits(0);
    place.write(&format!("{} \n", lines(0..3).trim_end()));
    run(place.import()).exits(4).says("goes on in its last line");
    assert_eq!(place.numbers(), [0, 1, 2]);
}

#[test]
fn other_content_under_the_same_name_is_refused() {
    let place = Place::with(&lines(0..10));
    run(place.import()).exits(0);
    place.write(&lines(1..30));
    run(place.import()).exits(4).says("begins otherwise").says("--source NAME").says("nothing was imported");
    place.write(&lines(0..9));
    run(place.import()).exits(4).says("is shorter now");
    place.write("");
    run(place.import()).exits(4).says("is shorter now");
    let mut json = place.import();
    json.arg("--json");
    let error: serde_json::Value = serde_json::from_str(&run(json).exits(4).stderr).unwrap();
    assert_eq!(error["error"]["code"], "source_changed");
    assert_eq!(place.numbers(), (0..10).collect::<Vec<_>>());
    place.write(&lines(100..103));
    let mut other = place.import();
    other.args(["--source", "later"]);
    run(other).exits(0);
    assert_eq!(place.numbers(), (0..10).chain(100..103).collect::<Vec<_>>());
}

#[test]
fn other_options_under_the_same_name_are_refused() {
    let place = Place::with(&lines(0..10));
    run(place.import()).exits(0);
    let with = |rest: &[&str]| {
        let mut command = annals(["import"]);
        command.args([&place.log, &place.file]).args(rest);
        run(command)
    };
    with(&["--stream", "o-{no}", "--type", "{kind}"])
        .exits(4)
        .says("with --stream 'order-{no}', now with --stream 'o-{no}'");
    with(&["--stream", "order-{no}", "--type", "{kind}", "--id", "{no}"]).exits(4).says("no --id");
    with(&["--format", "envelope"]).exits(4).says("--format 'ndjson'");
    with(&["--stream", "order-{no}", "--type", "{kind}", "--zone", "+01:00"]).exits(0).says("nothing new");
    assert_eq!(place.numbers(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_kill_costs_nothing_and_doubles_nothing() {
    let place = Place::new();
    let mut command = import(&place.log, "-");
    command.args(["--source", "s"]);
    let mut writer = Running::start(command);
    writer.give(lines(0..5000).as_bytes());
    eventually(|| LogReader::open(&place.log).ok()?.read(..).next()).unwrap();
    writer.kill();
    assert_sound(&place.log);
    let mut command = import(&place.log, "-");
    command.args(["--source", "s"]);
    run_with(command, lines(0..7000).as_bytes()).exits(0).says("went on behind line");
    assert_eq!(place.numbers(), (0..7000).collect::<Vec<_>>());
}

#[test]
fn lines_that_come_slowly_are_not_held_back() {
    let place = Place::new();
    let mut writer = Running::start(import(&place.log, "-"));
    for n in 0..3 {
        writer.give(lines(n..n + 1).as_bytes());
        eventually(|| (LogReader::open(&place.log).ok()?.read(..).count() as u64 == n + 1).then_some(()));
    }
    drop(writer.0.stdin.take());
    assert!(writer.0.wait().unwrap().success());
    assert_eq!(place.numbers(), [0, 1, 2]);
    // Nor is one that is shorter than what tells zstd.
    let mut command = annals(["import"]);
    command.arg(&place.log).args(["-", "--stream", "short", "--type", "T"]);
    let mut writer = Running::start(command);
    writer.give(b"1\n");
    let seen = eventually(|| LogReader::open(&place.log).ok()?.read(..).streams("short").next());
    assert_eq!(seen.unwrap().data(), b"1");
}

#[test]
fn stdin_without_a_name_takes_every_line_every_time() {
    let place = Place::new();
    for _ in 0..2 {
        run_with(import(&place.log, "-"), lines(0..2).as_bytes()).exits(0);
    }
    let mut no_file = annals(["import"]);
    no_file.arg(&place.log).args(SHAPE);
    run_with(no_file, lines(2..3).as_bytes()).exits(0);
    assert_eq!(place.numbers(), [0, 1, 0, 1, 2]);
    let reader = LogReader::open(&place.log).unwrap();
    assert_eq!(reader.read(..).system(true).count(), 5);
    assert!(reader.read(..).all(|event| event.unwrap().source().is_none()));
}

#[test]
fn zstd_is_known_by_its_content_and_is_the_same_source_as_its_plain_bytes() {
    let place = Place::with(&lines(0..10));
    run(place.import()).exits(0);
    let packed = zstd::encode_all(lines(0..20_000).as_bytes(), 3).unwrap();
    let mut command = import(&place.log, "-");
    command.args(["--source", "orders.ndjson"]);
    run_with(command, &packed).exits(0).says("imported 19,990 events");
    std::fs::write(&place.file, &packed).unwrap();
    run(place.import()).exits(0).says("nothing new");
    assert_eq!(place.numbers(), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn half_of_a_zstd_file_gives_its_whole_lines_and_an_error() {
    let place = Place::new();
    let packed = zstd::encode_all(lines(0..100_000).as_bytes(), 1).unwrap();
    std::fs::write(&place.file, &packed[..packed.len() / 2]).unwrap();
    run(place.import()).exits(2).says("is not whole zstd").says("a rerun goes on behind line");
    let half = place.numbers();
    assert!(!half.is_empty() && half.len() < 100_000, "{}", half.len());
    std::fs::write(&place.file, &packed).unwrap();
    run(place.import()).exits(0).says("went on behind line");
    assert_eq!(place.numbers(), (0..100_000).collect::<Vec<_>>());
}

#[test]
fn a_line_that_cannot_be_taken_stops_there_with_its_number() {
    for (bad, why) in [
        (b"".as_slice(), "not JSON"),
        (b"{", "not JSON"),
        (br#"{"no":1}"#, "a type name has 1 to 1024 bytes, this one has 0"),
        (b"{\"no\":\"\xff\",\"kind\":\"a\"}", "not UTF-8"),
        (br#"{"no":1,"kind":"a\nb"}"#, "control character"),
    ] {
        let place = Place::new();
        let whole = [lines(0..2345).as_bytes(), bad, b"\n", lines(2345..2400).as_bytes()].concat();
        std::fs::write(&place.file, whole).unwrap();
        run(place.import()).exits(2).says("line 2346: ").says(why).says("2,345 lines before it imported");
        assert_eq!(place.numbers(), (0..2345).collect::<Vec<_>>());
        run(place.import()).exits(2).says("line 2346: ").says("nothing more was imported");
        place.write(&lines(0..2400));
        run(place.import()).exits(0).says("imported 55 events");
        assert_eq!(place.numbers(), (0..2400).collect::<Vec<_>>());
    }
    let place = Place::with(&lines(0..3));
    let mut timed = place.import();
    timed.args(["--time", "no"]);
    run(timed).exits(2).says("line 1: ").says("is no time that is understood");
    let mut timed = place.import();
    timed.args(["--time", "when"]);
    run(timed).exits(2).says("line 1: there is no time in `when`");
    let mut own = annals(["import"]);
    own.args([&place.log, &place.file]).args(["--stream", "$x", "--type", "T"]);
    run(own).exits(2).says("line 1: ").says("the log's own");
}

#[test]
fn long_lines_go_alone_and_too_long_ones_not_at_all() {
    let place = Place::new();
    let of = |no: u64, bytes: usize| {
        let line = format!(r#"{{"no":{no},"kind":"Big","x":"{}"}}"#, "x".repeat(bytes));
        let cut = line.len() - bytes;
        format!(r#"{{"no":{no},"kind":"Big","x":"{}"}}"#, "x".repeat(bytes - cut.min(bytes)))
    };
    let most = annals::limits::DATA_BYTES_MAX;
    let big = [of(0, 100), of(1, 600_000), of(2, most), of(3, 100)];
    assert_eq!(big[2].len(), most);
    let too_long = of(4, most + 1);
    place.write(&format!("{}\n{}\n{too_long}\n", line(9), big.join("\n")));
    run(place.import()).exits(2).says("line 6: an event's data has at most");
    let all = data(&place.log);
    assert!(all[1..] == big, "the lines differ");
    place.write(&"x".repeat(2 * most + 300_000));
    let mut other = place.import();
    other.args(["--source", "other"]);
    run(other).exits(2).says("a line longer than").says("nothing was imported");
}

#[test]
fn the_answer_comes_as_json_when_asked_for() {
    let place = Place::with(&lines(0..3));
    let answer = || {
        let mut command = place.import();
        command.arg("--json");
        let ran = run(command).exits(0);
        assert_eq!(ran.stderr, "");
        serde_json::from_str::<serde_json::Value>(ran.text()).unwrap()
    };
    let first = answer();
    assert_eq!((&first["events"], &first["lines"], &first["lines_before"]), (&3.into(), &3.into(), &0.into()));
    assert_eq!((&first["source"], &first["durable_end"]), (&"orders.ndjson".into(), &4.into()));
    let second = answer();
    assert_eq!((&second["events"], &second["lines"], &second["lines_before"]), (&0.into(), &3.into(), &3.into()));
}

#[test]
fn the_position_in_the_log_can_be_read() {
    let place = Place::with(&lines(0..3));
    run(place.import()).exits(0);
    let reader = LogReader::open(&place.log).unwrap();
    let position = reader.read(..).streams("$source/orders.ndjson").next().unwrap().unwrap();
    let position: serde_json::Value = position.json().unwrap();
    assert_eq!((&position["lines"], &position["bytes"]), (&3.into(), &(lines(0..3).len() as u64).into()));
    assert_eq!(position["options"]["stream"], "order-{no}");
}

#[test]
fn a_position_that_is_not_imports_is_left_alone() {
    let place = Place::with(&lines(0..3));
    let log = Log::open(&place.log).unwrap();
    let append = annals::Append::new().source("orders.ndjson", b"17".as_slice(), annals::Expect::None);
    log.append(append).unwrap().wait().unwrap();
    log.close().unwrap();
    run(place.import()).exits(4).says("was not written by `annals import`");
    assert_eq!(place.numbers(), [0u64; 0]);
}

#[test]
fn wrong_arguments_exit_2_and_make_no_log() {
    let place = Place::with(&lines(0..3));
    let with = |rest: &[&str]| {
        let mut command = annals(["import"]);
        command.args([&place.log, &place.file]).args(rest);
        run(command).exits(2)
    };
    with(&[]).says("--stream and --type are missing");
    with(&["--stream", "a"]).says("--type");
    with(&["--stream", "a{", "--type", "T"]).says("brace");
    with(&["--stream", "a", "--type", "T", "--time", ""]).says("a field has a name");
    with(&["--stream", "a", "--type", "T", "--time", "t", "--zone", "Shire"]).says("no time zone");
    with(&["--stream", "a", "--type", "T", "--format", "csv"]);
    with(&["--format", "envelope", "--stream", "a"]).says("--stream is of no use");
    run(import(&place.log, "/does/not/exist")).exits(2).says("cannot open /does/not/exist");
    run(import(&place.log, place.dir.path())).exits(2).says("is a directory");
    assert!(!place.log.exists());
}

#[test]
fn an_empty_file_is_no_error() {
    let place = Place::with("");
    run(place.import()).exits(0).says("nothing to import");
    assert_eq!(place.numbers(), [0u64; 0]);
}

#[test]
fn a_log_that_is_being_written_is_not_imported_into() {
    let place = Place::with(&lines(0..3));
    let _log = Log::open(&place.log).unwrap();
    run(place.import()).exits(4).says(&format!("pid {}", std::process::id()));
}

#[test]
fn the_variable_names_the_log() {
    let place = Place::with(&lines(0..3));
    let mut command = annals(["import"]);
    command.arg(&place.file).args(SHAPE).env("ANNALS_LOG", &place.log);
    run(command).exits(0);
    assert_eq!(place.numbers(), [0, 1, 2]);
}

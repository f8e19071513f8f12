//! `annals export | annals import --format envelope`: the same user events, whatever they hold.

use std::process::Stdio;

use annals::{Event, NewEvent, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::common::{Ran, TestLog, annals, ask, run};

fn name() -> impl Strategy<Value = String> {
    r#"[a-c *?#/\\"$é日]{0,6}x"#.prop_filter("`$` is for the log's own", |name| !name.starts_with('$'))
}

fn event() -> impl Strategy<Value = NewEvent<'static>> {
    let data = prop_oneof![
        vec(any::<u8>(), 0..40),
        r#"[ \n\r]{0,1}(null|\{"a": ?1\}|\[1,[ \n]2\]|"\\ud800"|1e999)[ \n]{0,1}"#.prop_map(String::into_bytes),
    ];
    let headers = vec(("[ab]", any::<String>()), 0..4);
    let id = any::<String>().prop_filter("an id is not empty", |id| !id.is_empty());
    let rest = (option::of(id), option::of(name()), option::of(name()), option::of(any::<i64>()), headers);
    (name(), name(), data, rest).prop_map(|(stream, event_type, data, (id, source, content_type, time, headers))| {
        let mut event = Event::new(stream, event_type).data(data);
        event = headers.into_iter().fold(event, |event, (name, value)| event.header(name, value));
        event = id.into_iter().fold(event, NewEvent::id);
        event = source.into_iter().fold(event, NewEvent::source);
        event = content_type.into_iter().fold(event, NewEvent::content_type);
        time.into_iter().fold(event, |event, micros| event.time(Timestamp::from_micros(micros)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_log_comes_back_through_a_pipe(events in vec(event(), 1..20)) {
        let log = TestLog::of(events);
        let copy = tempfile::tempdir().unwrap();
        let mut export = annals(["export", log.path().to_str().unwrap()])
            .stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let import = annals(["import", copy.path().to_str().unwrap(), "-", "--format", "envelope"])
            .stdin(export.stdout.take().unwrap()).output().unwrap();
        Ran::from(import).done();
        prop_assert!(export.wait().unwrap().success());
        let mut same = annals(["same"]);
        same.arg(log.path()).arg(copy.path());
        run(same).done();
        ask("verify", copy.path(), &[]).done();
    }
}

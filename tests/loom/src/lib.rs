//! Where the threads of a log meet, in every order in which they can: `cargo test -p annals-loom`.
//!
//! This is the log's own code, taken in by its path; only [`sync`] is another one. Each model says what must hold in all
//! orders, and beside it stands the same with a fault, which must be found: so a model is known to be able to fail.
//! The faulty ones are tests that are ignored, and [`every_fault_is_found`] runs them.

#![cfg(test)]
#![allow(dead_code, unreachable_pub)] // of the log's code not all is called here

mod sync;

mod log {
    #[path = "../../../../src/log/group.rs"]
    mod group;
    #[path = "../../../../src/segment/phase.rs"]
    mod phase;
    #[path = "../../../../src/log/signal.rs"]
    mod signal;
    #[path = "../../../../src/log/waiters.rs"]
    mod waiters;

    mod commit;
    mod sealing;
    mod shutdown;
    mod view;
}

/// Runs a model of two threads in every order, with three preemptions: an event published before its sync takes three
/// to be found.
fn every_order(model: impl Fn() + Sync + Send + 'static) {
    every_order_within(3, model);
}

/// The same for more threads, which have many more orders: with two preemptions.
fn every_order_of_many(model: impl Fn() + Sync + Send + 'static) {
    every_order_within(2, model);
}

fn every_order_within(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    let asked = std::env::var("LOOM_MAX_PREEMPTIONS").map(|n| n.parse().expect("LOOM_MAX_PREEMPTIONS is a number"));
    builder.preemption_bound = Some(asked.unwrap_or(preemptions));
    builder.check(model);
}

/// What a model with a fault has to end with, by the end of its name's path.
const FAULTS: &[(&str, &str)] = &[
    ("found_a_durable_end_published_before_the_sync", "the disk does not have it"),
    ("found_two_syncs_at_once_without_the_lock_around_them", "the disk does not have it"),
    ("found_a_waiter_that_does_not_look_again", "deadlock"),
    ("found_a_leader_that_names_no_other", "deadlock"),
    ("found_a_background_that_looks_for_tasks_before_it_writes_and_not_after", "deadlock"),
    ("found_segments_looked_at_before_the_end", "are in no segment"),
    ("found_a_reader_that_asks_for_the_end_after_it_looked_for_events", "before the log was closed"),
    ("found_a_segment_called_sealed_before_its_file_is", "a map of a file that changes"),
    ("found_a_close_that_wakes_nobody_after_it_is_closed", "deadlock"),
    ("found_threads_that_are_not_told_to_end", "deadlock"),
];

/// Each in a process of its own: what loom has found may end the process.
#[test]
fn every_fault_is_found() {
    let me = std::env::current_exe().expect("this program");
    let run = |args: &[&str]| {
        let output = std::process::Command::new(&me).args(args).output().expect("it runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), text)
    };
    let (_, list) = run(&["--list", "--ignored"]);
    let models: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    assert_eq!(models.len(), FAULTS.len(), "{models:?}");
    for (name, what) in FAULTS {
        let model = models.iter().find(|model| model.ends_with(name)).expect(name);
        let (passed, text) = run(&["--exact", "--ignored", "--nocapture", model]);
        assert!(!passed && text.contains(what), "{name} was not found: {text}");
    }
}

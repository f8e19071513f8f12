//! `annals demo`: it keeps what it promises, once and again.

use crate::common::{annals, assert_sound, events, run};

#[test]
fn the_demo_runs_and_runs_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("shop");
    let mut before = 0;
    for shown in ["order-17", "order-"] {
        let ran = run(annals(["demo".as_ref(), log.as_os_str()])).exits(0);
        for said in [shown, "is refused", "nothing was written", "was killed", "yes: all", "sound: ", "append"] {
            assert!(ran.text().contains(said), "{said:?} is missing in {}", ran.text());
        }
        let now = events(&log).len();
        assert!(now >= before + 103 + 300, "{now} events, {before} before");
        before = now;
        assert_sound(&log);
    }
}

#[test]
fn without_a_directory_it_makes_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = annals(["demo"]);
    command.env("TMPDIR", dir.path());
    let ran = run(command).exits(0);
    let made = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    assert!(ran.text().contains(made.to_str().unwrap()), "{}", ran.text());
    assert!(!events(&made).is_empty());
}

#[test]
fn a_directory_with_other_things_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    run(annals(["demo".as_ref(), dir.path().as_os_str()])).exits(3).says("is not a log");
}

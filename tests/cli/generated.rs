//! `annals completions` and `annals man`: what they write, and how they end.

use crate::common::{annals, run};

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(annals(["completions", shell])).done();
        assert!(ran.text().contains("annals") && ran.text().contains("verify"), "{shell}");
        assert_eq!(ran.stderr, "");
    }
    run(annals(["completions", "tcsh"])).failed(2, "tcsh");
    run(annals(["completions"])).failed(2, "SHELL");
}

#[test]
fn one_page_goes_to_stdout_and_all_into_a_directory() {
    assert!(run(annals(["man"])).done().text().contains(".TH annals 1"));
    assert!(run(annals(["man", "cat"])).done().text().contains(".TH annals-cat 1"));
    run(annals(["man", "frobnicate"])).failed(3, "there is no verb `frobnicate`");
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    let ran = run(annals(["man".as_ref(), "--dir".as_ref(), pages.as_os_str()])).done().says("pages into");
    assert!(ran.stdout.is_empty());
    assert!(pages.join("annals.1").is_file() && pages.join("annals-verify.1").is_file());
}

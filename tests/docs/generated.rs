//! What is made from the command's own arguments is current: manual pages, completions, and the format file of lnav
//! names what an envelope holds. ANNALS_UPDATE=1 writes pages and completions anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use annals::{Event, Log, Timestamp};
use serde_json::Value;

use super::{project, stdout_of};

fn annals() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.env_remove("ANNALS_LOG").env("COLUMNS", "100");
    command
}

/// The files of a directory, by their names.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeMap::new() };
    let entries = entries.map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect()
}

/// The files of a directory of the project are these; or are made to be.
#[track_caller]
fn assert_current(dir: &str, expected: &BTreeMap<String, String>) {
    let path = project().join(dir);
    if std::env::var_os("ANNALS_UPDATE").is_some() {
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        for (name, content) in expected {
            std::fs::write(path.join(name), content).unwrap();
        }
    }
    let found = files(&path);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "ANNALS_UPDATE=1 mends {dir}");
    for (name, content) in expected {
        assert!(found[name] == *content, "{dir}/{name} is not current: ANNALS_UPDATE=1 mends it");
    }
}

#[test]
fn the_manual_pages_are_current() {
    let dir = tempfile::tempdir().unwrap();
    stdout_of(annals().args(["man", "--dir"]).arg(dir.path()));
    let pages = files(dir.path());
    let one = |args: &[&str]| stdout_of(annals().arg("man").args(args));
    assert_eq!((&one(&[]), &one(&["cat"])), (&pages["annals.1"], &pages["annals-cat.1"]));
    assert!(!pages.keys().any(|name| name.contains("writer")), "hidden verbs have no pages");
    assert_current("docs/man", &pages);
}

#[test]
fn the_completions_are_current() {
    let of = |shell: &str| stdout_of(annals().args(["completions", shell]));
    let expected = [("annals.bash", "bash"), ("_annals", "zsh"), ("annals.fish", "fish")];
    let expected = expected.map(|(name, shell)| (name.to_owned(), of(shell)));
    assert_current("completions", &BTreeMap::from(expected));
}

/// What a shell that has the completions offers behind some words.
#[test]
fn bash_completes_verbs_and_options() {
    let script = r#"
        source "$1"
        COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2))
        _annals annals "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let dir = tempfile::tempdir().unwrap();
    let completions = dir.path().join("annals.bash");
    std::fs::write(&completions, stdout_of(annals().args(["completions", "bash"]))).unwrap();
    let offered = |words: &[&str]| {
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "bash"]).arg(&completions).args(words);
        stdout_of(&mut bash).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offered(&["annals", "verif"]), ["verify"]);
    assert_eq!(offered(&["annals", "cat", "--sys"]), ["--system"]);
    assert_eq!(offered(&["annals", "cat", "-o", "js"]), ["json"]);
}

#[test]
fn the_lnav_format_names_what_an_envelope_holds() {
    let format = std::fs::read_to_string(project().join("docs/annals.lnav.json")).unwrap();
    let format: Value = serde_json::from_str(&format).unwrap();
    let format = &format["annals"];
    let fields: BTreeSet<_> = format["value"].as_object().unwrap().keys().cloned().collect();

    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let event = || {
        let event = Event::new("order-17", "Paid").id("i").source("till").time(Timestamp::from_micros(1));
        event.content_type("text/plain").header("k", "v")
    };
    for data in [&b"{}"[..], b"\xff"] {
        log.append(event().data(data)).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    let lines = stdout_of(annals().arg("export").arg(dir.path()));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys: BTreeSet<_> = lines.iter().flat_map(|line| line.as_object().unwrap().keys().cloned()).collect();
    assert_eq!(fields, keys);

    assert_eq!(format["json"], true);
    let shown: Vec<_> =
        format["line-format"].as_array().unwrap().iter().filter_map(|part| part["field"].as_str()).collect();
    let named = ["timestamp-field", "body-field"].map(|name| format[name].as_str().unwrap());
    for field in shown.iter().copied().filter(|field| !field.starts_with("__")).chain(named) {
        assert!(keys.contains(field), "{field} is no key of an envelope");
    }
    // Only what every envelope has can be the time of a line.
    assert!(lines.iter().all(|line| line.get(named[0]).is_some()));
}

//! Every block of the README works, in order, as a new user would type it.

use std::process::Command;

use super::{project, stdout_of};

/// The blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(project().join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let Some(found) = line.strip_prefix("```").filter(|found| !found.is_empty()) else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if found == language {
            blocks.push(block.join("\n") + "\n");
        }
    }
    blocks
}

#[test]
fn the_shell_blocks_run_one_after_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    // All but the one that runs these tests.
    let script: String = blocks("sh").into_iter().filter(|block| !block.starts_with("tools/test")).collect();
    assert!(script.contains("annals verify"), "the blocks were not found");
    let path = std::env::var("PATH").unwrap();
    let root = scratch.path().join("root");
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).current_dir(project());
    bash.env("CARGO_INSTALL_ROOT", &root).env("TMPDIR", scratch.path());
    bash.env("PATH", format!("{}:{path}", root.join("bin").display())).env_remove("ANNALS_LOG");
    let stdout = stdout_of(&mut bash);
    // One event of the copy, byte for byte, and at the very end what the handler made.
    assert!(stdout.contains("\n{\"channel\":\"#en\",\"page\":\"Main\",\"user\":\"ann\"}\n"), "{stdout}");
    assert!(stdout.ends_with("{\"key\":\"lamp\",\"value\":5}\n"), "{stdout}");
}

#[test]
fn the_program_is_the_first_example() {
    let example = std::fs::read_to_string(project().join("examples/first.rs")).unwrap();
    let program = example.split_once("\n\n").unwrap().1;
    let handler = std::fs::read_to_string(project().join("examples/handler.rs")).unwrap();
    let [first, second] = <[String; 2]>::try_from(blocks("rust")).unwrap();
    assert_eq!(first, program);
    assert!(handler.contains(&second), "{second}");
}

#[test]
fn the_exit_codes_are_those_of_the_command() {
    let help = stdout_of(Command::new(env!("CARGO_BIN_EXE_annals")).arg("--help"));
    let listed = help.split_once("Exit codes: ").unwrap().1.replace('\n', " ");
    let number = |text: &str| text.split_whitespace().next()?.parse::<u8>().ok();
    let of_help: Vec<u8> = listed.split(" · ").filter_map(number).collect();
    let readme = std::fs::read_to_string(project().join("README.md")).unwrap();
    let alone = |line: &str| line.strip_prefix("| ")?.split(" |").next()?.parse::<u8>().ok();
    let of_readme: Vec<u8> = readme.lines().filter_map(alone).collect();
    assert!(of_help.len() > 6, "{listed}");
    assert_eq!(of_readme, of_help);
}

#[test]
fn nothing_is_left_to_be_filled_in() {
    for text in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(project().join(text)).unwrap();
        let placeholder = |word: &str| word.len() > 8 && word.chars().all(|char| char.is_ascii_uppercase());
        let left: Vec<&str> = text.split_whitespace().filter(|word| placeholder(word)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

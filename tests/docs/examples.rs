//! The programs in `examples/` run and do what they say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use annals::LogReader;

use super::{project, stdout_of};

/// An example, to be run in a directory.
fn example(name: &str, dir: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--all-features", "--manifest-path"]).arg(project().join("Cargo.toml"));
    cargo.args(["--example", name]).current_dir(dir);
    cargo
}

/// Runs an example to its end.
fn run(name: &str, dir: &Path) -> String {
    stdout_of(&mut example(name, dir))
}

#[test]
fn the_first_program_sees_the_events_of_its_first_run_in_the_second() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run("first", dir.path()), "appended at offset 0\n0 order-17@0 OrderPlaced\n");
    let second = "appended at offset 1\n0 order-17@0 OrderPlaced\n1 order-17@1 OrderPlaced\n";
    assert_eq!(run("first", dir.path()), second);
    assert_eq!(run("read_beside", dir.path()), "2 events, 36 bytes of data, durable up to offset 2\n");
}

#[test]
fn two_clerks_sell_each_lamp_once() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run("order_desk", dir.path()), "3 sold now, 0 left, 3 orders in all\n");
    assert_eq!(run("order_desk", dir.path()), "0 sold now, 0 left, 3 orders in all\n");
}

#[test]
fn a_handler_puts_out_each_event_once_over_two_runs() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run("handler", dir.path()), "9 reorders\n");
    assert_eq!(run("handler", dir.path()), "18 reorders\n");
}

#[test]
fn an_audit_trail_shows_who_and_what_it_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let expected = "the last two changes:\n  version 3 by cleo: city=Ockham\n  version 2 by bob: name=Ada Lovelace\n\
        behind version 1: city=London, name=Ada Byron\nbehind version 3: city=Ockham, name=Ada Lovelace\n";
    assert_eq!(run("audit_trail", dir.path()), expected);
    assert_eq!(run("audit_trail", dir.path()), expected);
}

#[test]
fn a_second_process_is_followed_while_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run("tail_beside", dir.path()), "0 picked\n1 packed\n2 shipped\n");
}

/// A program that would go on for ever; it is killed when the test ends, however it does.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Posts a body, and returns the status and the body of the answer.
fn post(address: &str, stream: &str, headers: &str, body: &str) -> (String, String) {
    let mut server = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(server, "POST /{stream} HTTP/1.1\r\nContent-Length: {length}\r\n{headers}\r\n{body}").unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_web_handler_answers_when_the_event_is_durable_and_refuses_who_is_too_late() {
    let dir = tempfile::tempdir().unwrap();
    // Where Cargo can, it becomes the program that it runs: killing it kills the server.
    let mut server = Server(example("web_handler", dir.path()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap();
    let created = |offset: u64, version: u64| {
        ("HTTP/1.1 201 Created".to_owned(), format!("{{\"offset\":{offset},\"version\":{version}}}\n"))
    };
    assert_eq!(post(address, "order-17", "", "lamp"), created(0, 0));
    assert_eq!(post(address, "order-17", "If-Match: 0\r\n", "paid"), created(1, 1));
    let (status, why) = post(address, "order-17", "If-Match: 0\r\n", "cancelled");
    assert_eq!(status, "HTTP/1.1 409 Conflict");
    assert!(why.ends_with("nothing was written\n"), "{why}");
    drop(server);
    let stored = LogReader::open(dir.path().join("data")).unwrap();
    let stored: Vec<_> = stored.read(..).map(|event| event.unwrap().data().to_vec()).collect();
    assert_eq!(stored, [b"lamp", b"paid"]);
}

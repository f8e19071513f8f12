//! Cold truths: whether reordering may explain what an unclean stop left is decided by the boot id.
//!
//! A batch that is not what was written, with a good one behind it, is damage after a kill, because the system had
//! both; after a power cut it is a torn tail, because the disk may have written them in any order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use annals::testkit::{BootId, Env};
use annals::{Append, Durability, Event, Log, OpenError, Receipt};

use crate::child::{Process, text, worker};

const FIRST: &[u8] = b"the first line, whose batch is hurt";
const SECOND: &[u8] = b"the second line, whole behind it";
/// How often it is tried to be killed before the background has synced.
const TRIES: u64 = 50;

/// What was tried.
pub struct Told {
    pub by_command: bool,
    /// Why the command could not be started in another boot.
    pub skipped: Option<String>,
}

/// Tells both truths of the library, and of the command where that can be.
pub fn truths(bin: Option<&Path>) -> Result<Told, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let log = dir.path().join("log");
    hurt(&log)?;
    let before = files(&log)?;
    by_library(&log, &before, dir.path())?;
    let Some(bin) = bin else { return Ok(Told { by_command: false, skipped: None }) };
    refused_by_command(bin, &log, &before)?;
    match other_boot(dir.path(), bin).and_then(|mut probe| {
        let output = probe.arg("--version").output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr).trim().to_owned()) }
    }) {
        Ok(()) => {}
        Err(why) => return Ok(Told { by_command: false, skipped: Some(why) }),
    }
    cut_by_command(bin, &log, dir.path())?;
    Ok(Told { by_command: true, skipped: None })
}

/// A log of a killed writer, with two events that were never synced, of which the first is not what was written.
fn hurt(log: &Path) -> Result<(), String> {
    for _ in 0..TRIES {
        let _ = std::fs::remove_dir_all(log);
        let mut command = worker("unsynced", [log]).map_err(|error| error.to_string())?;
        let mut process = Process::start(&mut command)?;
        let line = process.line()?;
        process.kill();
        process.end(|_| Ok(()))?;
        if line != "written" {
            return Err(format!("the writer said {line}"));
        }
        let lock = std::fs::read(log.join("LOCK")).map_err(|error| error.to_string())?;
        if lock.get(40..48) != Some(&[0; 8]) {
            continue; // the background was faster
        }
        let path = segment(log);
        let mut bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
        let at = bytes.windows(FIRST.len()).position(|window| window == FIRST).ok_or("the first line is not there")?;
        bytes[at] ^= 0x20;
        return std::fs::write(&path, bytes).map_err(|error| error.to_string());
    }
    Err(format!("in {TRIES} tries no kill came before the background's sync"))
}

/// What the worker `unsynced` does.
pub fn write_unsynced(dir: &Path) -> Result<(), String> {
    let log = Log::open(dir).map_err(|error| error.to_string())?;
    for data in [FIRST, SECOND] {
        let append = Append::new().event(Event::new("s", "T").data(data)).durability(Durability::Os);
        log.append(append).and_then(Receipt::wait).map_err(|error| error.to_string())?;
    }
    crate::worker::line("written");
    loop {
        std::thread::park(); // until it is killed
    }
}

fn segment(log: &Path) -> PathBuf {
    log.join(format!("{:020}.seg", 0))
}

fn files(log: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![log.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).map_err(|error| error.to_string())?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).map_err(|error| error.to_string())?);
            }
        }
    }
    Ok(found)
}

fn unchanged(log: &Path, before: &BTreeMap<PathBuf, Vec<u8>>, by: &str) -> Result<(), String> {
    match files(log)? == *before {
        true => Ok(()),
        false => Err(format!("{by} refused a damaged log, and changed its files")),
    }
}

fn by_library(log: &Path, before: &BTreeMap<PathBuf, Vec<u8>>, scratch: &Path) -> Result<(), String> {
    match Log::open(log) {
        Err(OpenError::Damaged(_)) => unchanged(log, before, "opening")?,
        other => return Err(format!("after a kill a batch behind a bad one was no damage: {other:?}")),
    }
    let copy = scratch.join("copy");
    std::fs::create_dir(&copy).map_err(|error| error.to_string())?;
    for (path, bytes) in before {
        let name = path.strip_prefix(log).map_err(|error| error.to_string())?;
        std::fs::write(copy.join(name), bytes).map_err(|error| error.to_string())?;
    }
    for boot in [77, 77, 78] {
        let env = Env { boot: BootId(boot), ..Env::system() };
        let log = Log::options().env(env).open(&copy).map_err(|error| format!("in another boot: {error}"))?;
        if boot == 77 && !copy.join("torn").is_dir() {
            return Err("a torn tail was cut, and there is no torn/".to_owned());
        }
        if log.read(..).next().is_some() {
            return Err("what was cut as torn came back".to_owned());
        }
    }
    is_kept(&copy)
}

/// What was cut is in `torn/`, both lines of it.
fn is_kept(log: &Path) -> Result<(), String> {
    let kept = files(&log.join("torn"))?;
    let has = |data: &[u8]| kept.values().any(|bytes| bytes.windows(data.len()).any(|window| window == data));
    match has(&FIRST[1..]) && has(SECOND) {
        true => Ok(()),
        false => Err("torn/ does not hold what was cut".to_owned()),
    }
}

fn appending(command: &mut Command, log: &Path) -> Result<Output, String> {
    command.arg("append").arg(log).args(["s", "--type", "T"]).stdin(Stdio::null());
    command.output().map_err(|error| error.to_string())
}

fn refused_by_command(bin: &Path, log: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    let output = appending(&mut Command::new(bin), log)?;
    if output.status.code() != Some(5) {
        return Err(format!("annals append on a damaged log ended with {}: {}", output.status, text(&output.stderr)));
    }
    unchanged(log, before, "annals append")
}

/// The command in a system whose boot id is another one: root only.
fn other_boot(scratch: &Path, bin: &Path) -> Result<Command, String> {
    let boot = scratch.join("boot_id");
    std::fs::write(&boot, "01234567-89ab-4def-8123-456789abcdef\n").map_err(|error| error.to_string())?;
    let script = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(boot).arg(bin);
    Ok(command)
}

fn cut_by_command(bin: &Path, log: &Path, scratch: &Path) -> Result<(), String> {
    let output = appending(&mut other_boot(scratch, bin)?, log)?;
    let said = text(&output.stderr);
    if !output.status.success() {
        return Err(format!("in another boot annals append ended with {}: {said}", output.status));
    }
    if !said.contains("torn") {
        return Err(format!("annals append cut a torn tail, and said only: {said}"));
    }
    is_kept(log)?;
    for _ in 0..2 {
        let verified = Command::new(bin).arg("verify").arg(log).output().map_err(|error| error.to_string())?;
        if !verified.status.success() {
            return Err(format!("after the cut annals verify says {}", text(&verified.stdout)));
        }
        let shown =
            Command::new(bin).arg("cat").arg(log).args(["-o", "raw"]).output().map_err(|error| error.to_string())?;
        if text(&shown.stdout).contains("line") {
            return Err(format!("what was cut as torn came back: {}", text(&shown.stdout)));
        }
        if !appending(&mut Command::new(bin), log)?.status.success() {
            return Err("after the cut annals append does not go on".to_owned());
        }
    }
    Ok(())
}

//! `annals state`: the state of a handler, from its snapshots and records; the view is never opened.

use std::ffi::OsString;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Offset, State, StateError, StateReader, StateValue};

use super::envelope::as_json_line;
use super::failure::{Exit, Failure};
use super::output::{Out, note, one_line};
use super::position::{Position, parse};
use super::target::{log_and, open_reader};

/// Show the state of a handler: its keys and values, sorted by key; also of an earlier moment
#[derive(Debug, Args)]
#[command(override_usage = "annals state [OPTIONS] [LOG] <HANDLER> [KEY]")]
pub(super) struct StateArgs {
    /// Directory of the log; with ANNALS_LOG set it can be left out, when there is no KEY
    #[arg(value_name = "LOG")]
    first: Option<OsString>,
    /// Name of the handler
    #[arg(value_name = "HANDLER")]
    second: Option<OsString>,
    /// Only the value of this key
    #[arg(value_name = "KEY")]
    key: Option<OsString>,
    /// The state when all input below this position was handled: an offset, end-100, #N, a time. Where the records
    /// cannot tell it exactly, the last state before it, which is said on stderr
    #[arg(long, value_name = "POS", value_parser = parse, allow_hyphen_values = true)]
    at: Option<Position>,
    /// The state of this generation; unless given, of the one that is live
    #[arg(long, value_name = "G")]
    generation: Option<u32>,
}

/// A row for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct RowLine<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Shown<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// How the value was put, where it is not JSON as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<&'static str>,
}

/// A value that needs no base64.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown<'r> {
    Json(&'r RawValue),
    Text(&'r str),
}

impl<'r> RowLine<'r> {
    fn of(key: &'r [u8], value: &'r StateValue) -> Self {
        let (value, bytes, codec) = match value {
            StateValue::Json(json) => (as_json_line(json).map(Shown::Json), json, "json"),
            StateValue::Raw(raw) => (std::str::from_utf8(raw).ok().map(Shown::Text), raw, "raw"),
            StateValue::Bincode(bytes) => (None, bytes, "bincode"),
            StateValue::Unknown(bytes) => (None, bytes, "unknown"),
        };
        let text = std::str::from_utf8(key).ok();
        RowLine {
            key: text,
            key_base64: text.is_none().then(|| BASE64.encode(key)),
            codec: (!matches!(value, Some(Shown::Json(_)))).then_some(codec),
            value_base64: value.is_none().then(|| BASE64.encode(bytes)),
            value,
        }
    }

    /// The same for a person.
    fn text(&self) -> String {
        let base64 = |bytes: &Option<String>| format!("base64:{}", bytes.as_deref().unwrap_or_default());
        let key = self.key.map_or_else(|| base64(&self.key_base64), |key| one_line(key).into_owned());
        let value = match &self.value {
            Some(Shown::Json(json)) => one_line(json.get()).into_owned(),
            Some(Shown::Text(text)) => one_line(text).into_owned(),
            None => format!("{} ({})", base64(&self.value_base64), self.codec.unwrap_or_default()),
        };
        format!("{key}\t{value}")
    }
}

impl StateArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let (log, handler) = log_and(self.first, self.second, "HANDLER")?;
        let handler = handler.into_string().map_err(|_| Failure::usage("the name of a handler is UTF-8"))?;
        let reader = open_reader(&log)?;
        let mut wanted = StateReader::new(&reader, &handler);
        if let Some(generation) = self.generation {
            wanted = wanted.generation(generation);
        }
        let at = self.at.map(|at| at.resolve(&reader, reader.durable_end()?)).transpose()?;
        if let Some(at) = at {
            wanted = wanted.at(at);
        }
        let state = wanted.open()?;
        state.passed_over().iter().for_each(note);
        if let Some(at) = at.filter(|_| !state.is_exact()) {
            note(inexact(&state, at));
        }
        let mut out = Out::stdout();
        match self.key {
            Some(key) => {
                let key = key.into_encoded_bytes();
                let Some(value) = state.get(&key)? else { return Err(no_key(&state, &key)) };
                put(&mut out, &RowLine::of(&key, &value), json)?;
            }
            None => {
                for row in state.rows() {
                    let (key, value) = row?;
                    put(&mut out, &RowLine::of(&key, &value), json)?;
                }
            }
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

fn put(out: &mut Out, row: &RowLine<'_>, json: bool) -> Result<(), Failure> {
    if json { out.json(row) } else { out.line(row.text()) }
}

fn inexact(state: &State, at: Offset) -> String {
    let (space, cursor) = (state.space(), state.cursor());
    format!(
        "{space} has no record that tells its state at {at} exactly; this is the one at {cursor}, the last before it"
    )
}

fn no_key(state: &State, key: &[u8]) -> Failure {
    let key = String::from_utf8_lossy(key);
    let message = format!("{} has no key {key:?} at {}", state.space(), state.cursor());
    Failure::new(Exit::NotFound, "key_not_found", message)
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let (exit, code) = match error {
            StateError::Read(error) => return error.into(),
            StateError::Invalid(error) => return error.into(),
            StateError::NoHandler { .. } => (Exit::NotFound, "handler_not_found"),
            StateError::NoGeneration { .. } => (Exit::NotFound, "generation_not_found"),
            StateError::Trimmed { .. } => (Exit::NotFound, "trimmed"),
            StateError::Unreadable { .. } => (Exit::Damaged, "unreadable"),
            StateError::Mismatch { .. } => (Exit::Damaged, "state_mismatch"),
            StateError::Snapshot(_) | StateError::View(_) => (Exit::Disk, "io"),
        };
        Failure::new(exit, code, error)
    }
}

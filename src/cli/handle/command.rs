//! A handler's code as it is given again to the verbs that run it: the command, and what `handle` was told of it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::Args;

use super::keys::Keys;
use super::logic::{Commanded, Settings};
use crate::cli::failure::Failure;
use crate::cli::time::parse_duration;
use crate::handler::Logic;
use crate::{Filter, HandlerSpec};

/// The command, and everything that makes it the same handler.
#[derive(Debug, Args)]
#[command(next_help_heading = "As given to `annals handle`")]
pub(in crate::cli) struct CommandArgs {
    /// The command; it runs under `sh -c`
    #[arg(long, value_name = "CMD")]
    exec: String,
    /// Only events of these types, with commas between, or given again
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    on: Vec<String>,
    /// Only events of streams that match; may be given again
    #[arg(long = "stream", value_name = "PATTERN")]
    streams: Vec<String>,
    /// What state is kept by, made of an event's data [default: the stream]
    #[arg(long, value_name = "TPL")]
    key: Option<String>,
    /// How long one answer may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// One line for all events of a key that are handled together
    #[arg(long)]
    batch: bool,
}

impl CommandArgs {
    pub(in crate::cli) fn spec(&self, name: &str, generation: u32) -> HandlerSpec {
        let filter = Filter::new().types(self.on.iter().map(String::as_str));
        let filter = self.streams.iter().fold(filter, |filter, pattern| filter.stream(pattern));
        HandlerSpec::new(name)
            .generation(generation)
            .on(filter)
            .keyed_by(self.key.as_deref().unwrap_or_default())
            .exact(!self.batch)
    }

    /// The code, as often as it is wanted.
    pub(in crate::cli) fn logic(self, name: &str) -> Result<impl Fn() -> Box<dyn Logic> + use<>, Failure> {
        let keys = |template: Option<&str>| Keys::new(template).map_err(|why| Failure::usage(format!("--key: {why}")));
        let keys = Arc::new(keys(self.key.as_deref())?);
        let name = name.to_owned();
        Ok(move || -> Box<dyn Logic> {
            let settings = Settings {
                handler: name.clone(),
                command: self.exec.clone(),
                keys: Arc::clone(&keys),
                timeout: self.timeout,
                batch: self.batch,
            };
            Box::new(Commanded::new(settings, Arc::new(AtomicU64::new(0))))
        })
    }
}

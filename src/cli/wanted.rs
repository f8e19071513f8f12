//! Which events a verb is about, and what to say when there are none.

use clap::Args;

use crate::{Consumer, Filter, LogReader, Offset};

use super::failure::Failure;
use super::output::counted;
use super::position::Range;

/// Which events a verb is about.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Only streams that match: `*` stands for any run of characters, a backslash takes the next one as it is;
    /// may be given again. A pattern that starts with `$` shows the log's own
    #[arg(long = "stream", value_name = "PATTERN")]
    streams: Vec<String>,
    /// Only types that match, by patterns like those of streams; may be given again
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// The log's own events too
    #[arg(long)]
    system: bool,
}

/// Who reads: a consumer, whose cursor moves along.
#[derive(Debug, Args)]
pub(super) struct ConsumerArg {
    /// Begin at the cursor of this consumer, and move it past what was written out. A new one begins at the start. With
    /// --stream, --type or --system it wants those from now on
    #[arg(long = "consumer", value_name = "NAME")]
    name: Option<String>,
}

impl ConsumerArg {
    /// Opens the consumer, if one was named. `elsewhere`: a part of the log was named too.
    pub(super) fn open(
        &self,
        reader: &LogReader,
        filter: &FilterArgs,
        elsewhere: bool,
    ) -> Result<Option<Consumer>, Failure> {
        let Some(name) = &self.name else { return Ok(None) };
        if elsewhere {
            return Err(Failure::usage(
                "a consumer begins at its cursor: leave out what else says where to begin or end",
            )
            .help("`annals consumers LOG set NAME POS` puts the cursor elsewhere"));
        }
        let consumer = reader.consumer(name)?;
        Ok(Some(if filter.is_given() { consumer.matching(filter.filter())? } else { consumer }))
    }
}

impl FilterArgs {
    pub(super) fn filter(&self) -> Filter {
        let filter = Filter::new().system(self.system).types(self.types.iter().map(String::as_str));
        self.streams.iter().fold(filter, |filter, pattern| filter.stream(pattern))
    }

    /// Whether anything was said.
    pub(super) fn is_given(&self) -> bool {
        self.asks_for_some() || self.system
    }

    fn asks_for_some(&self) -> bool {
        !self.streams.is_empty() || !self.types.is_empty()
    }

    /// What was looked at in vain, in a log that ends at `end`.
    pub(super) fn nothing(&self, Range { from, to }: Range, end: Offset) -> String {
        let looked_at = to.raw() - from.raw();
        if end == Offset::ZERO {
            return "the log has no events yet".to_owned();
        }
        match (looked_at, self.asks_for_some()) {
            (0, _) => format!("there are no events in this range: it begins and ends at offset {to}"),
            (_, true) => {
                format!(
                    "nothing matches: {} looked at, from offset {from} to {to} (exclusive)",
                    counted(looked_at, "event")
                )
            }
            (_, false) => format!(
                "nothing but {} of the log's own, from offset {from} to {to} (exclusive); --system shows them",
                counted(looked_at, "event")
            ),
        }
    }
}

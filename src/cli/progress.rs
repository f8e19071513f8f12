//! The progress bar: on stderr, only where a person looks at it, gone when the work is done.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a verb is, in bytes. Draws nothing where stderr is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for a work of so many bytes; without them, a count.
    pub(super) fn of_bytes(what: &'static str, bytes: Option<u64>) -> Self {
        let target = ProgressDrawTarget::stderr();
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::with_draw_target(Some(bytes), target),
                "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
            ),
            None => (ProgressBar::with_draw_target(None, target), "{msg} {spinner} {bytes} {bytes_per_sec}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress { bar: bar.with_style(style.progress_chars("=> ")).with_message(what) }
    }

    /// A bar for a work of so many events; without them, a count.
    pub(super) fn of_events(what: &'static str, events: Option<u64>) -> Self {
        let template = match events {
            Some(_) => "{msg} [{wide_bar}] {human_pos}/{human_len} {per_sec} eta {eta}",
            None => "{msg} {spinner} {human_pos} {per_sec}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(events, ProgressDrawTarget::stderr());
        Progress { bar: bar.with_style(style.progress_chars("=> ")).with_message(what) }
    }

    /// So many are done.
    pub(super) fn at(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// What verifying tells: bytes done, bytes there are.
    pub(super) fn at_of(&self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

//! `annals completions`: what a shell needs to complete the command's words.

use clap::Args;
use clap_complete::{Shell, generate};

use super::failure::{Exit, Failure};
use super::output::Out;

/// Write the completions of a shell to stdout
///
/// bash: `annals completions bash > ~/.local/share/bash-completion/completions/annals`; zsh: as `_annals` into a
/// directory of $fpath; fish: into ~/.config/fish/completions/annals.fish.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        // Made as a whole first: the generator panics where it cannot write.
        let mut text = Vec::new();
        generate(self.shell, &mut super::command(), "annals", &mut text);
        let mut out = Out::stdout();
        out.write(&text)?;
        out.flush()?;
        Ok(Exit::Done)
    }
}

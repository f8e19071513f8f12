//! `annals man`: the manual pages, made of what `--help` says.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use super::failure::{Exit, Failure};
use super::output::{Out, note};

/// Write a manual page to stdout, or all of them into a directory
///
/// `annals man cat | man -l -` shows one. `annals man --dir ~/.local/share/man/man1` puts them where `man annals-cat` finds
/// them.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The verb whose page it is [default: that of the whole command]
    verb: Option<String>,
    /// Write all pages into this directory, made when it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    dir: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match &self.dir {
            Some(dir) => write_all(dir),
            None => show(self.verb.as_deref()),
        }
    }
}

/// The command and its verbs, each with the name it has as a page.
fn pages() -> Vec<Command> {
    let mut all = super::command().disable_help_subcommand(true);
    all.build();
    let verbs: Vec<Command> = all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    std::iter::once(all).chain(verbs).collect()
}

fn man(page: Command) -> Man {
    Man::new(page).source(concat!("annals ", env!("CARGO_PKG_VERSION"))).manual("Annals")
}

fn show(verb: Option<&str>) -> Result<Exit, Failure> {
    let wanted = verb.unwrap_or("annals");
    let page = pages().into_iter().find(|page| page.get_name() == wanted);
    let page = page.ok_or_else(|| {
        Failure::new(Exit::NotFound, "verb_not_found", format!("there is no verb `{wanted}`"))
            .help("`annals help` lists them")
    })?;
    let mut out = Out::stdout();
    let mut text = Vec::new();
    man(page).render(&mut text).map_err(|error| Failure::io("cannot make the page", &error))?;
    out.write(&text)?;
    out.flush()?;
    Ok(Exit::Done)
}

fn write_all(dir: &Path) -> Result<Exit, Failure> {
    let failed = |error: io::Error| Failure::io(format!("cannot write pages into {}", dir.display()), &error);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let pages = pages();
    let number = pages.len();
    for page in pages {
        man(page).generate_to(dir).map_err(failed)?;
    }
    note(format_args!("wrote {number} pages into {}", dir.display()));
    Ok(Exit::Done)
}

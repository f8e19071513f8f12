//! `annals check-handler`: whether events may come again to a command, in another order or in other steps.

use clap::Args;

use super::failure::{Exit, Failure};
use super::handle::CommandArgs;
use super::output::Out;
use super::position::RangeArgs;
use super::reading::Reading;
use super::target::LogArg;
use crate::testkit::{Check, CheckVerdict, Law};

/// Try a command on events of a log, in memory, and say which laws of exactly-once handling hold
///
/// Exit code 0: all that are required held. 1: one did not, or there was nothing to try it on. Handles each event many
/// times; nothing is appended. Give a range of some hundred events.
#[derive(Debug, Args)]
pub(super) struct CheckHandlerArgs {
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    range: RangeArgs,
    /// Laws that have to hold, with commas between [default: determinism, guarded-idempotence, late-duplicate,
    /// batch-independence]
    #[arg(long, value_name = "LAW", value_delimiter = ',', value_parser = law)]
    require: Vec<Law>,
    /// Where random numbers begin
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    #[command(flatten)]
    command: CommandArgs,
}

fn law(text: &str) -> Result<Law, String> {
    let names = Law::ALL.map(Law::name).join(", ");
    Law::ALL.into_iter().find(|law| law.name() == text).ok_or_else(|| format!("the laws are {names}"))
}

impl CheckHandlerArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        const NAME: &str = "checked";
        let reader = self.log.reader()?;
        let range = self.range.resolve(None, &reader)?;
        let spec = self.command.spec(NAME, 1);
        let mut check = Check::with_logic(spec, Box::new(self.command.logic(NAME)?)).seed(self.seed);
        if !self.require.is_empty() {
            check = check.require(self.require);
        }
        let report = check.run_range(&Reading::of(reader)?, range.from, range.to)?;
        let mut out = Out::stdout();
        match json {
            true => out.json(&report.to_json())?,
            false => out.write(report.to_string().as_bytes())?,
        }
        out.flush()?;
        Ok(match report.verdict() {
            CheckVerdict::Passed => Exit::Done,
            CheckVerdict::Failed | CheckVerdict::NotChecked => Exit::No,
        })
    }
}

//! The world a worker lives in: the real one, with what its arguments do to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::Timestamp;
use annals::testkit::{BootId, Clock, Env, SystemClock};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::disk::{DieAt, FatedDisk, Stall};

#[derive(Debug, Clone, Default, clap::Args)]
pub struct WorldArgs {
    /// Another run of the operating system than the real one.
    #[arg(long)]
    pub boot: Option<u128>,
    /// Kills itself at this call on the disk: before:N, half:N, after:N.
    #[arg(long)]
    pub die_at: Option<DieAt>,
    /// Each so many-th sync stalls ..
    #[arg(long, default_value_t = 10)]
    pub stall_every: u64,
    /// .. for so long.
    #[arg(long)]
    pub stall_ms: Option<u64>,
    /// The clock jumps by 100 years, back and forth.
    #[arg(long)]
    pub clock_jumps: bool,
    /// At most so many open files.
    #[arg(long)]
    pub files: Option<u64>,
    /// At most so many MiB of address space, once it runs.
    #[arg(long)]
    pub memory_mib: Option<u64>,
    /// A bug on purpose.
    #[arg(long)]
    pub bug: Option<String>,
}

impl WorldArgs {
    /// Limits the process, before the log is opened.
    pub fn prepare(&self) -> Result<(), String> {
        // Whoever started it may be killed as well: nothing is left behind then.
        let ended = set_parent_process_death_signal(Some(Signal::KILL));
        ended.map_err(|error| format!("cannot be ended with its parent: {error}"))?;
        // By its name in the environment where whoever starts it cannot pass it on.
        if let Some(bug) = self.bug.clone().or_else(|| std::env::var("TORTURE_BUG").ok()) {
            plant(&bug)?;
        }
        if let Some(files) = self.files {
            limit(Resource::Nofile, files)?;
        }
        if let Some(mib) = self.memory_mib {
            limit(Resource::As, mib << 20)?;
        }
        Ok(())
    }

    pub fn env(&self) -> Env {
        let mut env = Env::system();
        if let Some(boot) = self.boot {
            env.boot = BootId(boot);
        }
        if self.die_at.is_some() || self.stall_ms.is_some() {
            let stall = self.stall_ms.map(|ms| Stall { every: self.stall_every, time: Duration::from_millis(ms) });
            env.disk = Arc::new(FatedDisk::new(self.die_at, stall));
        }
        if self.clock_jumps {
            env.clock = Arc::new(JumpingClock::default());
        }
        env
    }
}

#[cfg(feature = "planted-bugs")]
fn plant(bug: &str) -> Result<(), String> {
    if annals::testkit::plant(bug) { Ok(()) } else { Err(format!("no bug is called {bug}")) }
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(bug: &str) -> Result<(), String> {
    Err(format!("bug {bug} is not in this build; the feature planted-bugs has them"))
}

fn limit(resource: Resource, current: u64) -> Result<(), String> {
    let limits = Rlimit { current: Some(current), maximum: getrlimit(resource).maximum };
    setrlimit(resource, limits).map_err(|error| format!("cannot limit {resource:?}: {error}"))
}

/// A clock that is set otherwise every now and then: by up to 100 years back or forth.
#[derive(Debug, Default)]
struct JumpingClock {
    real: SystemClock,
    looks: AtomicU64,
}

const CENTURY_US: i64 = 100 * 365 * 86_400 * 1_000_000;

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        let by = [0, CENTURY_US, -CENTURY_US, CENTURY_US / 100, -CENTURY_US / 36_500][(looks / 7 % 5) as usize];
        Timestamp::from_micros(self.real.now().as_micros() + by)
    }

    fn monotonic_ms(&self) -> u64 {
        self.real.monotonic_ms()
    }
}

//! What one run is made of: drawn from its seed before anything else.

use super::logic;
use crate::dice::Dice;
use crate::sim::disk::Rates;

/// What a run does, by weight. The order is that of [`Swarm::weights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Append,
    Step,
    Settle,
    Open,
    Leave,
    Close,
    Control,
    Clock,
    Sync,
    Background,
    Barrier,
    Weather,
    Look,
    Room,
}

pub const DEEDS: [Deed; 14] = [
    Deed::Append,
    Deed::Step,
    Deed::Settle,
    Deed::Open,
    Deed::Leave,
    Deed::Close,
    Deed::Control,
    Deed::Clock,
    Deed::Sync,
    Deed::Background,
    Deed::Barrier,
    Deed::Weather,
    Deed::Look,
    Deed::Room,
];

/// A handler of the run.
#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    /// Beginnings of the streams it handles; none: all.
    pub streams: Vec<&'static str>,
    pub window: (usize, usize),
    pub cache: usize,
    pub exact: bool,
    pub attempts: u32,
    pub horizon: u64,
    pub hops: u32,
    pub parked_max: u32,
    pub may_pause: bool,
    pub snapshot_after: u64,
    pub in_memory: bool,
}

impl Role {
    pub fn wants(&self, stream: &str) -> bool {
        !stream.starts_with('$')
            && (self.streams.is_empty() || self.streams.iter().any(|beginning| stream.starts_with(beginning)))
    }
}

#[derive(Debug, Clone)]
pub struct Swarm {
    pub rates: Rates,
    pub full: bool,
    pub deeds: u64,
    pub crashes: u64,
    pub weights: [u32; DEEDS.len()],
    pub streams: u64,
    pub roles: Vec<Role>,
    /// Instructions, by weight.
    pub programs: [u32; 15],
    pub weather: u64,
    /// The result does not depend on when anything failed.
    pub plain: bool,
    /// Weights of a kill, of power cuts that keep any changes, the oldest, none, and of a clean close.
    pub ends: [u32; 5],
    /// So many times in a hundred a view lies after a crash, is older, is gone, is of another log.
    pub views: [u64; 4],
    /// So many times in a hundred a snapshot is damaged, gone, or older after a crash.
    pub snapshots: u64,
    /// Both instances of a handler have one view.
    pub shared: bool,
}

impl Swarm {
    pub fn draw(dice: &Dice) -> Swarm {
        let plain = dice.percent(30);
        let fails = dice.percent(45);
        let fault = |chance, most| if fails && dice.percent(chance) { dice.between(1, most) as u32 } else { 0 };
        let rates = Rates {
            read: fault(30, 40),
            write: fault(25, 40),
            sync: fault(30, 100),
            open: fault(25, 200),
            other: fault(30, 150),
            short: fault(40, 1500),
            full: fault(25, 150),
            ..Rates::default()
        };
        let usual = [30, 60, 6, 8, 3, 2, 5, 8, 4, 5, 3, 4, 2, 1];
        let weights = usual.map(|usual| match dice.below(5) {
            0 => usual / 3,
            1 => usual * 3,
            _ => usual,
        });
        let mut programs = [12, 12, 4, 6, 3, 2, 2, 3, 6, 3, 1, 1, 2, 2, 4].map(|usual: u32| match dice.below(4) {
            0 => 0,
            1 => usual * 3,
            _ => usual,
        });
        programs[usize::from(logic::COUNT)] += 1;
        if plain {
            for what in [logic::CHANCE, logic::FLAKY, logic::FLAKY_SOON, logic::PANIC, logic::PAUSE, logic::SAME] {
                programs[usize::from(what)] = 0;
            }
        }
        let may_pause = programs[usize::from(logic::PAUSE)] > 0;
        let count = dice.of(&[1, 1, 2]);
        let roles = (0..count).map(|n| Role::draw(n, plain, may_pause, dice)).collect();
        Swarm {
            rates,
            full: dice.percent(15),
            deeds: dice.between(80, 220),
            crashes: dice.between(1, 4),
            weights,
            streams: dice.of(&[1, 3, 8]),
            roles,
            programs,
            weather: dice.of(&[10, 40, 70, 100]),
            plain,
            ends: [3, 4, 3, 2, 1].map(|weight| if dice.percent(20) { 0 } else { weight }),
            views: [40, 20, 10, 5].map(|chance| if dice.percent(50) { chance } else { 0 }),
            snapshots: dice.of(&[0, 20, 60]),
            shared: dice.percent(25),
        }
    }
}

impl Role {
    fn draw(n: usize, plain: bool, may_pause: bool, dice: &Dice) -> Role {
        let parked_max = if plain { 1000 } else { dice.of(&[1, 2, 1000, 1000]) };
        let streams = match (n, plain) {
            (0, true) => vec!["s-"],
            (0, false) if dice.percent(40) => Vec::new(),
            (0, false) => vec!["s-", "loop-0"],
            _ => vec!["out-", "loop-"],
        };
        Role {
            name: if n == 0 { "ledger: a/b".replace('/', "-") } else { "echo".to_owned() },
            streams,
            window: (dice.of(&[1, 2, 5, 20, 200]), dice.of(&[64, 600, 4096, 1 << 20])),
            cache: dice.of(&[0, 400, 4000, 1 << 20]),
            exact: dice.percent(40),
            attempts: dice.of(&[1, 2, 5]),
            horizon: dice.of(&[20, 1_000_000]),
            hops: dice.of(&[1, 2, 4]),
            parked_max,
            may_pause: may_pause || parked_max < 1000,
            snapshot_after: dice.of(&[100, 1000, 4000, 1 << 30]),
            in_memory: dice.percent(15),
        }
    }
}

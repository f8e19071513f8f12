//! What one run is made of: drawn from its seed before anything else, so that runs differ in kind.

use annals::Codec;

use super::disk::Rates;
use crate::dice::Dice;

/// What a run does, by weight. The order is that of [`Swarm::weights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Append,
    Wait,
    WaitAll,
    Sync,
    Step,
    Clock,
    Range,
    Window,
    Stream,
    Lists,
    Places,
    Reader,
    Follow,
    Consumer,
    Reopen,
    Room,
}

pub const DEEDS: [Deed; 16] = [
    Deed::Append,
    Deed::Wait,
    Deed::WaitAll,
    Deed::Sync,
    Deed::Step,
    Deed::Clock,
    Deed::Range,
    Deed::Window,
    Deed::Stream,
    Deed::Lists,
    Deed::Places,
    Deed::Reader,
    Deed::Follow,
    Deed::Consumer,
    Deed::Reopen,
    Deed::Room,
];

/// The faults, the workload and the crashes of one run.
#[derive(Debug, Clone)]
pub struct Swarm {
    pub codec: Codec,
    pub rates: Rates,
    /// Bits that rot while no process runs, at most so many at once.
    pub rot: u64,
    /// The disk gets full now and then.
    pub full: bool,
    pub deeds: u64,
    pub crashes: u64,
    pub weights: [u32; DEEDS.len()],
    pub streams: u64,
    /// So many appends in a hundred have large events.
    pub large: u64,
    pub sources: bool,
    pub producers: bool,
    pub expectations: bool,
    /// So many clock moves in a hundred are jumps of up to a hundred years.
    pub jumps: u64,
    /// Weights of a kill, of power cuts that keep any changes, the oldest, none, and of a clean close.
    pub ends: [u32; 5],
}

impl Swarm {
    pub fn draw(dice: &Dice) -> Swarm {
        let rate = |chance, most| if dice.percent(chance) { dice.between(1, most) as u32 } else { 0 };
        let fails = dice.percent(65);
        let fault = |chance, most| if fails { rate(chance, most) } else { 0 };
        let mut rates = Rates {
            read: fault(25, 60),
            write: fault(25, 40),
            sync: fault(30, 120),
            open: fault(30, 300),
            other: fault(30, 200),
            short: fault(40, 1500),
            full: fault(25, 200),
            ..Rates::default()
        };
        let mut rot = 0;
        match dice.below(12) {
            0 => rates.misdirected = dice.between(5, 80) as u32,
            1 => rates.lost = dice.between(5, 80) as u32,
            2 => rot = dice.between(1, 4),
            _ => {}
        }
        let usual = [40, 10, 3, 3, 10, 6, 5, 3, 5, 1, 3, 4, 4, 8, 1, 2];
        let weights = usual.map(|usual| match dice.below(5) {
            0 => usual / 4,
            1 => usual * 3,
            _ => usual,
        });
        Swarm {
            codec: dice.of(&[Codec::None, Codec::None, Codec::None, Codec::None, Codec::Lz4, Codec::Lz4, Codec::Zstd]),
            rates,
            rot,
            full: dice.percent(20),
            deeds: dice.between(200, 400),
            crashes: dice.between(1, 4),
            weights,
            streams: dice.of(&[1, 3, 10, 60]),
            large: dice.of(&[0, 5, 15, 40]),
            sources: dice.percent(50),
            producers: dice.percent(50),
            expectations: dice.percent(70),
            jumps: dice.of(&[0, 0, 10, 40]),
            ends: [3, 4, 3, 2, 1].map(|weight| if dice.percent(20) { 0 } else { weight }),
        }
    }

    /// A workload without any fault; `large` makes it roll.
    pub fn plain(deeds: u64, large: u64, weights: [u32; DEEDS.len()]) -> Swarm {
        Swarm {
            codec: Codec::None,
            rates: Rates::default(),
            rot: 0,
            full: false,
            deeds,
            crashes: 0,
            weights,
            streams: 5,
            large,
            sources: true,
            producers: true,
            expectations: true,
            jumps: 0,
            ends: [1, 1, 1, 1, 0],
        }
    }
}

//! Random numbers of one run: the same for the same seed.

use annals::testkit::{Random, SeededRandom};

/// Draws of all kinds from one stream of numbers.
#[derive(Debug)]
pub struct Dice(SeededRandom);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(SeededRandom::new(seed))
    }

    pub fn any(&self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&self, n: u64) -> u64 {
        self.any() % n.max(1)
    }

    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True so many times in a hundred.
    pub fn percent(&self, n: u64) -> bool {
        self.below(100) < n
    }

    /// One of these.
    pub fn of<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// The number of one of these weights; heavier ones come more often.
    pub fn weighted(&self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().map(|w| u64::from(*w)).sum());
        for (index, weight) in weights.iter().enumerate() {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        0
    }
}

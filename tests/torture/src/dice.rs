//! Random choices of one run, all from its seed.

use annals::testkit::{Random, SeededRandom};

/// The same choices for the same seed.
#[derive(Debug)]
pub struct Dice(SeededRandom);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(SeededRandom::new(seed))
    }

    /// A number below `n`.
    pub fn below(&self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    /// True so many times in a hundred.
    pub fn percent(&self, n: u64) -> bool {
        self.below(100) < n
    }

    /// One of some.
    pub fn one_of<T: Clone>(&self, some: &[T]) -> T {
        some[self.below(some.len() as u64) as usize].clone()
    }
}

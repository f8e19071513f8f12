//! One bit of one file turned over: never silent, and never the end of more than it has to be.

use annals::testkit::{Random, SeededRandom};

use super::Counts;
use super::judge::{Depth, Opened, judge};
use super::store::{Store, active};

/// A bit of a file of a store.
pub struct Flip<'s> {
    store: &'s Store,
    file: usize,
    byte: usize,
    bit: u8,
}

const BATCH_HEADER_BYTES: usize = 128;

/// One of so many is looked at closely.
pub fn depth_of(run: u64) -> Depth {
    if run.is_multiple_of(16) { Depth::Deep } else { Depth::Plain }
}

impl<'s> Flip<'s> {
    /// A bit by its number in the store.
    pub fn numbered(store: &'s Store, number: u64) -> Flip<'s> {
        let mut left = number;
        for (file, (_, bytes)) in store.files.iter().enumerate() {
            let bits = bytes.len() as u64 * 8;
            if left < bits {
                return Flip { store, file, byte: (left / 8) as usize, bit: (left % 8) as u8 };
            }
            left -= bits;
        }
        panic!("store {} has no bit {number}", store.name)
    }

    /// A bit by chance: each file as often as any other, and bytes that say something more often than zeros.
    pub fn sampled(stores: &'s [Store], seed: u64, run: u64) -> Flip<'s> {
        let random =
            SeededRandom::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(run).wrapping_mul(0x5851_f42d_4c95_7f2d));
        let pick = |n: usize| (random.next_u64() % n as u64) as usize;
        let files = stores.iter().flat_map(|store| (0..store.files.len()).map(move |file| (store, file)));
        let files: Vec<_> = files.filter(|(store, file)| !store.files[*file].1.is_empty()).collect();
        let (store, file) = files[pick(files.len())];
        let bytes = &store.files[file].1;
        let mut byte = pick(bytes.len());
        for _ in 0..pick(3) {
            if bytes[byte] == 0 {
                byte = pick(bytes.len());
            }
        }
        Flip { store, file, byte, bit: pick(8) as u8 }
    }

    /// A bit of an index by chance, of a byte that is not zero where there is one.
    pub fn in_index(stores: &'s [Store], seed: u64) -> Option<Flip<'s>> {
        let random = SeededRandom::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let pick = |n: usize| (random.next_u64() % n as u64) as usize;
        let files = stores.iter().flat_map(|store| (0..store.files.len()).map(move |file| (store, file)));
        let is_index = |path: &std::path::Path| path.parent().is_some_and(|folder| folder.ends_with("index"));
        let files: Vec<_> = files.filter(|(store, file)| is_index(&store.files[*file].0)).collect();
        let (store, file) = *files.get(pick(files.len().max(1)))?;
        let told: Vec<usize> = (0..store.files[file].1.len()).filter(|at| store.files[file].1[*at] != 0).collect();
        let byte = *told.get(pick(told.len().max(1)))?;
        Some(Flip { store, file, byte, bit: pick(8) as u8 })
    }

    /// A bit by chance of a header of a batch in a file that was written last.
    pub fn in_header(stores: &'s [Store], seed: u64) -> Option<Flip<'s>> {
        let random = SeededRandom::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let pick = |n: usize| (random.next_u64() % n.max(1) as u64) as usize;
        let store = stores.get(pick(stores.len()))?;
        let batches = super::cuts::batches(store);
        let byte = batches.get(pick(batches.len()))?.range.start + pick(BATCH_HEADER_BYTES);
        Some(Flip { store, file: active(&store.files)?, byte, bit: pick(8) as u8 })
    }

    /// The flip of a name that [`name`](Flip::name) gave.
    pub fn named(stores: &'s [Store], name: &str) -> Option<Flip<'s>> {
        let (store, rest) = name.split_once('/')?;
        let (file, place) = rest.rsplit_once(':')?;
        let (byte, bit) = place.split_once('.')?;
        let store = stores.iter().find(|one| one.name == store)?;
        let file = store
            .files
            .iter()
            .position(|(path, _)| path.strip_prefix(super::store::DIR).is_ok_and(|path| path.to_str() == Some(file)))?;
        let (byte, bit) = (byte.parse().ok()?, bit.parse().ok()?);
        (byte < store.files[file].1.len() && bit < 8).then_some(Flip { store, file, byte, bit })
    }

    fn name(&self) -> String {
        let path =
            self.store.files[self.file].0.strip_prefix(super::store::DIR).unwrap_or(&self.store.files[self.file].0);
        format!("{}/{}:{}.{}", self.store.name, path.display(), self.byte, self.bit)
    }
}

/// Turns the bit over and lets all look.
pub fn check(flip: &Flip<'_>, depth: Depth, counts: &Counts) -> Result<(), String> {
    let mem = flip.store.disk();
    mem.flip_bit(&flip.store.files[flip.file].0, flip.byte, flip.bit);
    judged(flip, &mem, depth, counts).map_err(|what| {
        let name = flip.name();
        format!("bit {name}: {what}; tools/torture bytes --only '{name}'")
    })
}

fn judged(flip: &Flip<'_>, mem: &annals::testkit::MemDisk, depth: Depth, counts: &Counts) -> Result<(), String> {
    let Flip { store, file, byte, .. } = *flip;
    let judgement = judge(store, mem, depth)?;
    counts.with("bytes at most", |most| *most = (*most).max(judgement.peak as u64));
    let durable = store.is_durable(file, byte);
    if store.is_sealed(file) {
        counts.add("of them in sealed files", 1);
    }
    if durable && judgement.verified.is_sound {
        return Err("verify takes the log for sound, and the byte was known to be durable".to_owned());
    }
    if !judgement.verified.found {
        return Err("verify says nothing".to_owned());
    }
    let in_tail = Some(file) == active(&store.files) && !durable;
    let least = if in_tail { store.durable } else { store.readable };
    if !judgement.seen.failed && judgement.seen.end < least {
        return Err(format!("a reader ends at {} of {least} without an error", judgement.seen.end));
    }
    match judgement.opened {
        Opened::Refused => counts.add("refused", 1),
        Opened::Open { tail, torn } => {
            let end = store.events.len() as u64;
            if tail < store.durable {
                return Err(format!("the log opens at {tail}, and events before {} were acknowledged", store.durable));
            }
            if tail < end && !(in_tail && torn.is_some()) {
                return Err(format!("the log opens at {tail} instead of {end}, and does not say so"));
            }
            counts.add("opened", 1);
            counts.add("torn", u64::from(torn.is_some()));
        }
    }
    Ok(())
}

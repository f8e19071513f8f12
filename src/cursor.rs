//! The file of a named consumer: how far it has got, in two slots that are overwritten in turn.
//!
//! A commit overwrites the slot that does not hold the last durable one, and syncs it: whatever becomes of that
//! write, one good slot is left. The file is `cursors/HASH.cur` with the 128-bit hash of the consumer's name in
//! hexadecimal digits; it has two slots of 4 KiB, the second is zero until it is first written. Whoever uses the
//! consumer holds the lock of its file; `cursors/LOCK` is held while files are made and removed.
//!
//! | at   | bytes | field       | meaning (numbers are little-endian)                                     |
//! |-----:|------:|-------------|-------------------------------------------------------------------------|
//! |    0 |     8 | magic       | `annalcur`                                                              |
//! |    8 |     8 | sequence    | 1 for a consumer's first slot, then one more each; the larger one counts|
//! |   16 |    16 | log_id      | of the log that `next` is about                                         |
//! |   32 |     8 | next        | the offset to go on with                                                |
//! |   40 |     8 | recorded    | µs: of the event before `next`; 0 when there is none                    |
//! |   48 |     4 | tail_epoch  | of the batch of that event                                              |
//! |   52 |     2 | name_len    |                                                                         |
//! |   54 |   2 2 | patterns    | how many for streams, and for types                                     |
//! |   58 |     1 | system      | 1: the log's own events are wanted                                      |
//! |   59 |     5 | reserved    | zero                                                                    |
//! |   64 |       | name        |                                                                         |
//! |      | 2 n   | patterns    | length and text of each, those for streams first; then zeros            |
//! | 4092 |     4 | crc         | CRC-32 of the bytes before, seeded with `CURS`                          |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Input;
use crate::disk::{Disk, DiskFile, Mode, read_full_at};
use crate::limits::NAME_BYTES_MAX;
use crate::planted::{Bug, planted};
use crate::segment::NameHash;
use crate::{Filter, LogId};

const SLOT_BYTES: usize = 4096;
/// Length of a cursor file.
pub(crate) const CURSOR_FILE_BYTES: usize = 2 * SLOT_BYTES;
const MAGIC: [u8; 8] = *b"annalcur";
const FIELDS_BYTES: usize = 64;
const CRC_AT: usize = SLOT_BYTES - 4;
const CRC_SEED: u32 = u32::from_le_bytes(*b"CURS");

/// The directory of cursors in a log's directory.
pub(crate) const CURSORS: &str = "cursors";
/// Its lock.
pub(crate) const GATE: &str = "LOCK";
const ENDING: &str = ".cur";
/// Ending of a file that is being made.
pub(crate) const UNFINISHED: &str = "tmp";

/// What stands in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub sequence: u64,
    pub log: LogId,
    pub place: Place,
    pub name: Box<str>,
    pub filter: Filter,
}

/// How far a consumer has got, and by what the event before it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub next: u64,
    /// 0: there is no such event.
    pub recorded_us: i64,
    pub tail_epoch: u32,
}

impl Slot {
    /// The bytes of the slot; `None` when its name and patterns do not fit.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        let len = |n: usize| u16::try_from(n).ok().map(u16::to_le_bytes);
        let (streams, types) = (self.filter.stream_patterns(), self.filter.type_patterns());
        bytes.extend(MAGIC);
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.log.raw().to_le_bytes());
        bytes.extend(self.place.next.to_le_bytes());
        bytes.extend(self.place.recorded_us.to_le_bytes());
        bytes.extend(self.place.tail_epoch.to_le_bytes());
        bytes.extend(len(self.name.len())?);
        bytes.extend(len(streams.len())?);
        bytes.extend(len(types.len())?);
        bytes.push(self.filter.has_system().into());
        bytes.resize(FIELDS_BYTES, 0);
        bytes.extend(self.name.as_bytes());
        for pattern in streams.iter().chain(types) {
            let text = pattern.to_string();
            bytes.extend(len(text.len())?);
            bytes.extend(text.as_bytes());
        }
        if bytes.len() > CRC_AT {
            return None;
        }
        bytes.resize(CRC_AT, 0);
        bytes.extend(crc(&bytes).to_le_bytes());
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Slot> {
        let (fields, stored) = bytes.split_at_checked(CRC_AT)?;
        if crc(fields).to_le_bytes() != stored {
            return None;
        }
        let mut input = Input::new(fields);
        if input.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let (sequence, log) = (input.u64()?, LogId::from_raw(input.u128()?));
        let next = input.u64()?;
        let recorded_us = i64::from_le_bytes(input.u64()?.to_le_bytes());
        let place = Place { next, recorded_us, tail_epoch: input.u32()? };
        let (name_len, streams, types) = (input.u16()?, input.u16()?, input.u16()?);
        let (system, reserved) = (input.take(1)?, input.take(5)?);
        let system = match system {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let name = text(input.take(usize::from(name_len))?)?;
        let mut filter = Filter::new().system(system);
        for index in 0..usize::from(streams) + usize::from(types) {
            let len = usize::from(input.u16()?);
            let pattern = text(input.take(len)?)?;
            filter = if index < usize::from(streams) { filter.stream(pattern) } else { filter.types([pattern]) };
        }
        let slot = Slot { sequence, log, place, name: name.into(), filter };
        let whole = reserved == [0; 5] && !name.is_empty() && name.len() <= NAME_BYTES_MAX && sequence > 0;
        // Nothing is unexplained: what is left is zero, and every pattern is the text of itself.
        (whole && slot.encode().as_deref() == Some(bytes)).then_some(slot)
    }
}

fn crc(fields: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(CRC_SEED);
    hasher.update(fields);
    hasher.finalize()
}

/// What was found in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Good(Box<Slot>),
    /// Never written.
    Zero,
    /// Not what was written: these bytes.
    Bad(Box<[u8]>),
}

/// Both slots of a file.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    pub found: [Found; 2],
    /// Bytes of the file.
    pub len: u64,
}

impl Slots {
    pub fn read(file: &dyn DiskFile) -> io::Result<Slots> {
        let mut bytes = vec![0; CURSOR_FILE_BYTES];
        let len = file.len()?;
        let read = read_full_at(file, &mut bytes, 0)?;
        let there = bytes.get(..read).unwrap_or_default();
        let (first, second) = there.split_at_checked(SLOT_BYTES).unwrap_or((there, &[]));
        Ok(Slots { found: [find(first), find(second)], len })
    }

    /// The slot that counts, and its index.
    pub fn newest(&self) -> Option<(usize, &Slot)> {
        fn good((index, found): (usize, &Found)) -> Option<(usize, &Slot)> {
            match found {
                Found::Good(slot) => Some((index, slot.as_ref())),
                Found::Zero | Found::Bad(_) => None,
            }
        }
        self.found.iter().enumerate().filter_map(good).max_by_key(|(_, slot)| slot.sequence)
    }
}

fn find(bytes: &[u8]) -> Found {
    if bytes.iter().all(|byte| *byte == 0) {
        return Found::Zero;
    }
    match Slot::decode(bytes) {
        Some(slot) => Found::Good(Box::new(slot)),
        None => Found::Bad(bytes.into()),
    }
}

/// Whether changing one byte makes the checksum hold: that is damage, and no write that a power cut tore, but for one
/// that tore within its last or first byte. What one wrong byte adds to a CRC is followed back through
/// the bytes behind it.
pub(crate) fn is_one_byte_off(bytes: &[u8]) -> bool {
    let Some((fields, stored)) = bytes.split_at_checked(CRC_AT) else { return false };
    let stored = stored.first_chunk().map_or(0, |stored| u32::from_le_bytes(*stored));
    let mut off = crc(fields) ^ stored;
    if off.to_le_bytes().iter().filter(|byte| **byte != 0).count() == 1 {
        return true;
    }
    let table: [u32; 256] = std::array::from_fn(|byte| {
        let start = u32::try_from(byte).unwrap_or_default();
        (0..8).fold(start, |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    });
    // The highest bytes of the entries are all different.
    let mut by_highest = [(0, 0); 256];
    for (byte, entry) in (0u32..).zip(table) {
        if let Some(slot) = by_highest.get_mut((entry >> 24) as usize) {
            *slot = (byte, entry);
        }
    }
    for _ in 0..fields.len() {
        let Some((byte, entry)) = by_highest.get((off >> 24) as usize) else { return false };
        if *entry == off {
            return true;
        }
        off = ((off ^ entry) << 8) | byte;
    }
    false
}

/// A consumer's file, held by its lock.
#[derive(Debug)]
pub(crate) struct CursorFile {
    pub path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// What was written last, and into which slot.
    slot: Slot,
    index: usize,
    synced: bool,
    /// Why nothing can be promised any more.
    failed: Option<Arc<io::Error>>,
}

impl CursorFile {
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Whether a filter can be kept.
    pub fn fits(&self, filter: &Filter) -> bool {
        Slot { filter: filter.clone(), ..self.slot.clone() }.encode().is_some()
    }

    /// Overwrites a slot: never the last one that is durable.
    pub fn write(&mut self, place: Place, filter: Filter) -> Result<(), Arc<io::Error>> {
        self.check()?;
        let next = Slot { sequence: self.slot.sequence + 1, place, filter, ..self.slot.clone() };
        let bytes = next.encode().ok_or_else(|| Arc::new(io::ErrorKind::InvalidInput.into()))?;
        let index = if self.synced && !planted(Bug::CursorInPlace) { 1 - self.index } else { self.index };
        self.synced = false;
        let written = self.file.write_all_at(&bytes, (index * SLOT_BYTES) as u64);
        self.outcome(written)?;
        (self.slot, self.index) = (next, index);
        Ok(())
    }

    /// Makes what was written durable.
    pub fn sync(&mut self) -> Result<(), Arc<io::Error>> {
        self.check()?;
        if !self.synced {
            let synced = if planted(Bug::CursorNotSynced) { Ok(()) } else { self.file.sync() };
            self.outcome(synced)?;
            self.synced = true;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Arc<io::Error>> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn outcome(&mut self, outcome: io::Result<()>) -> Result<(), Arc<io::Error>> {
        outcome.map_err(|error| Arc::clone(self.failed.insert(Arc::new(error))))
    }
}

/// The cursors of a log as files.
#[derive(Debug)]
pub(crate) struct Cursors<'d> {
    disk: &'d dyn Disk,
    dir: PathBuf,
}

/// Takes the lock of a file. The last user of a consumer may be about to let go of it.
fn take(file: &dyn DiskFile) -> io::Result<bool> {
    for _ in 0..20 {
        if file.try_lock()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

/// A consumer's file as it was found.
pub(crate) enum Opened {
    /// Somebody else uses it.
    Held,
    New(CursorFile),
    /// With its lock.
    There {
        file: Arc<dyn DiskFile>,
        slots: Slots,
    },
}

/// How often the lock of the directory is tried, a millisecond apart: it is held for a few syncs.
const GATE_TRIES: u32 = 5000;

impl<'d> Cursors<'d> {
    pub fn of(disk: &'d dyn Disk, log_dir: &Path) -> Self {
        Cursors { disk, dir: log_dir.join(CURSORS) }
    }

    /// The file of a consumer.
    pub fn path(&self, log: LogId, name: &str) -> PathBuf {
        self.dir.join(format!("{:032x}{ENDING}", NameHash::of(log, name.as_bytes()).0))
    }

    /// The cursor files there are, in order of their names, and the files that are none.
    pub fn list(&self) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let entries = match self.disk.list(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(error),
        };
        let is_cursor = |name: &str| {
            let digits = name.strip_suffix(ENDING);
            digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let (mut cursors, mut others) = (Vec::new(), Vec::new());
        for entry in entries.into_iter().filter(|entry| entry.name != GATE) {
            let path = self.dir.join(&entry.name);
            if is_cursor(&entry.name) && !entry.is_dir { cursors.push(path) } else { others.push(path) }
        }
        cursors.sort_unstable();
        others.sort_unstable();
        Ok((cursors, others))
    }

    /// What a cursor file says.
    pub fn read(&self, path: &Path) -> io::Result<Slots> {
        let file = self.disk.open(path, Mode::Read)?;
        let mut slots = Slots::read(&*file)?;
        // Its owner may be overwriting it.
        for _ in 0..16 {
            if slots.found.iter().all(|found| !matches!(found, Found::Bad(_))) {
                break;
            }
            std::thread::yield_now();
            slots = Slots::read(&*file)?;
        }
        Ok(slots)
    }

    /// The cursor of a log that is furthest on: events before it were durable.
    pub fn furthest(&self, log: LogId) -> io::Result<Option<(PathBuf, Slot)>> {
        let mut furthest: Option<(PathBuf, Slot)> = None;
        for path in self.list()?.0 {
            let slots = match self.read(&path) {
                // Removed since, or of a user whose files are not ours to read.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                    continue;
                }
                slots => slots?,
            };
            let Some((_, slot)) = slots.newest().filter(|(_, slot)| slot.log == log) else { continue };
            if furthest.as_ref().is_none_or(|(_, other)| other.place.next < slot.place.next) {
                furthest = Some((path, slot.clone()));
            }
        }
        Ok(furthest)
    }

    /// Holds the directory while a file is made, taken or removed.
    fn gate(&self) -> io::Result<Arc<dyn DiskFile>> {
        let gate = self.disk.open(&self.dir.join(GATE), Mode::Create)?;
        for _ in 0..GATE_TRIES {
            if gate.try_lock()? {
                return Ok(gate);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds the lock of the cursors"))
    }

    /// Takes a consumer's file, or makes it with what `new` says.
    pub fn open(&self, path: PathBuf, new: impl FnOnce() -> Slot) -> io::Result<Opened> {
        self.disk.create_dir(&self.dir)?;
        let _gate = self.gate()?;
        match self.disk.open(&path, Mode::Write) {
            Ok(file) if !take(&*file)? => Ok(Opened::Held),
            Ok(file) => Ok(Opened::There { slots: Slots::read(&*file)?, file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(path, new()).map(Opened::New),
            Err(error) => Err(error),
        }
    }

    /// Makes a file: it gets its name when its first slot is durable.
    fn create(&self, path: PathBuf, slot: Slot) -> io::Result<CursorFile> {
        let unfinished = path.with_extension(UNFINISHED);
        let mut bytes = slot.encode().ok_or(io::ErrorKind::InvalidInput)?;
        bytes.resize(CURSOR_FILE_BYTES, 0);
        let file = self.disk.open(&unfinished, Mode::Truncate)?;
        file.try_lock()?;
        file.write_all_at(&bytes, 0)?;
        file.sync()?;
        self.disk.rename(&unfinished, &path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(CursorFile { path, file, slot, index: 0, synced: true, failed: None })
    }

    /// Goes on with a file, and makes durable what it is taken for, its name too: a process may have ended before its
    /// sync, or after a failed one. So a damaged slot is written over, too.
    pub fn go_on(
        &self,
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        slots: &Slots,
        slot: Slot,
    ) -> Result<CursorFile, Arc<io::Error>> {
        let (index, synced) = slots.newest().map_or((0, true), |(index, _)| (index, false));
        // `synced` only once it is: the other slot may be the only durable one.
        let (place, filter) = (slot.place, slot.filter.clone());
        let mut file = CursorFile { path, file, slot, index, synced, failed: None };
        file.sync()?;
        file.write(place, filter)?;
        file.sync()?;
        self.disk.sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Removes a consumer's file; false when there is none, `None` when somebody else uses it.
    pub fn remove(&self, path: &Path, held: bool) -> io::Result<Option<bool>> {
        let no_file = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let _gate = match self.gate() {
            Err(error) if no_file(&error) => return Ok(Some(false)),
            gate => gate?,
        };
        let file = match self.disk.open(path, Mode::Write) {
            Err(error) if no_file(&error) => return Ok(Some(false)),
            file => file?,
        };
        if !held && !take(&*file)? {
            return Ok(None);
        }
        self.disk.remove(path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            sequence: 1,
            log: LogId::from_raw(2),
            place: Place { next: 3, recorded_us: 4, tail_epoch: 5 },
            name: "mailer".into(),
            filter: Filter::new().stream("order-*").types(["Paid", "Sent"]).system(true),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let bytes = slot().encode().unwrap();
        let mut expected = b"annalcur".to_vec();
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0,   2]);
        expected.extend([0; 15]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0,   4, 0, 0, 0, 0, 0, 0, 0,   5, 0, 0, 0,   6, 0,   1, 0,   2, 0,   1,   0, 0, 0, 0, 0]);
        expected.extend(b"mailer\x07\0order-*\x04\0Paid\x04\0Sent");
        expected.resize(CRC_AT, 0);
        expected.extend([4, 89, 36, 130]);
        assert!(bytes == expected, "{:?} .. {:?}", &bytes[..100], &bytes[CRC_AT..]);
    }

    #[test]
    fn a_slot_comes_back_as_it_was() {
        let mut other = slot();
        other.filter = Filter::new().stream_named(r"a*b\c");
        other.name = "x".repeat(NAME_BYTES_MAX).into();
        for slot in [slot(), other] {
            assert_eq!(Slot::decode(&slot.encode().unwrap()), Some(slot));
        }
    }

    #[test]
    fn what_does_not_fit_has_no_bytes() {
        let filter = |n: usize| Filter::new().stream(&"s".repeat(n));
        let most = CRC_AT - FIELDS_BYTES - "mailer".len() - 2;
        assert!(Slot { filter: filter(most), ..slot() }.encode().is_some());
        assert!(Slot { filter: filter(most + 1), ..slot() }.encode().is_none());
    }

    #[test]
    fn every_wrong_byte_is_found_and_told_from_a_torn_write() {
        let good = slot().encode().unwrap();
        for at in (0..200).chain((200..SLOT_BYTES).step_by(37)).chain(CRC_AT..SLOT_BYTES) {
            for wrong in [1, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= wrong;
                assert!(matches!(find(&bytes), Found::Bad(bytes) if is_one_byte_off(&bytes)), "byte {at}");
            }
        }
        let mut torn = Slot { sequence: 9, place: Place { next: 77, ..slot().place }, ..slot() }.encode().unwrap();
        torn[512..].copy_from_slice(&good[512..]);
        for torn in [&torn[..], &good[..512]] {
            assert!(matches!(find(torn), Found::Bad(bytes) if !is_one_byte_off(&bytes)));
        }
        assert_eq!((find(&[0; SLOT_BYTES]), find(&[])), (Found::Zero, Found::Zero));
    }

    #[test]
    fn hostile_bytes_with_a_good_checksum_are_no_slot_or_one_that_is_written_the_same() {
        for at in 0..120 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = slot().encode().unwrap();
                bytes[at] = value;
                let sum = crc(&bytes[..CRC_AT]).to_le_bytes();
                bytes[CRC_AT..].copy_from_slice(&sum);
                if let Some(slot) = Slot::decode(&bytes) {
                    assert_eq!(slot.encode(), Some(bytes));
                }
            }
        }
    }
}

//! What a repair has decided to do, in the file `REPAIR`. From the moment it stands there the repair is done, whatever
//! happens: whoever repairs next goes on with it, and nobody writes or reads the log before.
//!
//! Lines of text: `annals repair 1`, then one line for each step, then `crc` and the CRC-32 of all lines before, in
//! hexadecimal digits. Each step can be done again:
//!
//! | line             | what is done                                                      |
//! |------------------|-------------------------------------------------------------------|
//! | `replace PATH`   | the file beside it that ends in `.tmp`, when it is there, gets the name |
//! | `remove PATH`    | the file is removed                                               |
//! | `empty PATH`     | the file is cut to nothing                                        |
//! | `lock DIGITS`    | the file `LOCK` holds this record, and nothing else               |
//! | `kept NUMBER`    | the folder in `repaired/` with the copies                         |

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Mode, read_full_at};
use crate::log::layout;
use crate::log::lock::LOCK_BYTES;

const FIRST_LINE: &str = "annals repair 1";
/// A journal has a line for each file of a log: it is never near as long.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Replace(PathBuf),
    Remove(PathBuf),
    Empty(PathBuf),
    Lock([u8; LOCK_BYTES]),
    Kept(u64),
}

/// The file that takes the place of another one, as long as it has not.
pub(super) fn staged(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

fn encode(steps: &[Step]) -> String {
    let mut text = format!("{FIRST_LINE}\n");
    for step in steps {
        let line = match step {
            Step::Replace(path) => format!("replace {}", path.display()),
            Step::Remove(path) => format!("remove {}", path.display()),
            Step::Empty(path) => format!("empty {}", path.display()),
            Step::Lock(record) => {
                let digits: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("lock {digits}")
            }
            Step::Kept(number) => format!("kept {number}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text}crc {crc:08x}\n")
}

fn decode(text: &str) -> Option<Vec<Step>> {
    let (lines, crc) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let lines = format!("{lines}\n");
    if crc != format!("crc {:08x}", crc32fast::hash(lines.as_bytes())) {
        return None;
    }
    let steps = lines.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?;
    steps.lines().map(decode_step).collect()
}

fn decode_step(line: &str) -> Option<Step> {
    let (verb, rest) = line.split_once(' ')?;
    // Nothing outside the log is ever touched.
    let path = || {
        let path = PathBuf::from(rest);
        path.components().all(|part| matches!(part, std::path::Component::Normal(_))).then_some(path)
    };
    match verb {
        "replace" => path().map(Step::Replace),
        "remove" => path().map(Step::Remove),
        "empty" => path().map(Step::Empty),
        "kept" => rest.parse().ok().map(Step::Kept),
        "lock" => {
            let mut record = [0; LOCK_BYTES];
            if rest.len() != 2 * LOCK_BYTES {
                return None;
            }
            for (index, byte) in record.iter_mut().enumerate() {
                *byte = u8::from_str_radix(rest.get(2 * index..2 * index + 2)?, 16).ok()?;
            }
            Some(Step::Lock(record))
        }
        _ => None,
    }
}

/// Reads the journal of a repair that was not ended; `Err(InvalidData)` when it is not what was written.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Vec<Step>>> {
    let file = match disk.open(&dir.join(layout::REPAIR), Mode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = usize::try_from(file.len()?.min(BYTES_MAX)).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    let read = read_full_at(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    let steps = String::from_utf8(bytes).ok().and_then(|text| decode(&text));
    steps.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Writes the journal; the repair is decided when this returns.
pub(super) fn write(disk: &dyn Disk, dir: &Path, steps: &[Step]) -> io::Result<()> {
    let path = dir.join(layout::REPAIR);
    let unfinished = dir.join(layout::REPAIR_UNFINISHED);
    let file = disk.open(&unfinished, Mode::Truncate)?;
    file.write_all_at(encode(steps).as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&unfinished, &path)?;
    disk.sync_dir(dir)
}

/// Does all steps, those too that were done before.
pub(super) fn run(disk: &dyn Disk, dir: &Path, steps: &[Step]) -> io::Result<()> {
    let mut folders = vec![dir.to_path_buf()];
    for step in steps {
        let path = match step {
            Step::Replace(path) => {
                let path = dir.join(path);
                there(disk.rename(&staged(&path), &path))?;
                path
            }
            Step::Remove(path) => {
                let path = dir.join(path);
                there(disk.remove(&path))?;
                path
            }
            Step::Empty(path) => {
                let path = dir.join(path);
                let file = disk.open(&path, Mode::Write)?;
                file.set_len(0)?;
                file.sync()?;
                path
            }
            Step::Lock(record) => {
                let file = disk.open(&dir.join(layout::LOCK), Mode::Create)?;
                file.write_all_at(record, 0)?;
                file.set_len(LOCK_BYTES as u64)?;
                file.sync()?;
                continue;
            }
            Step::Kept(_) => continue,
        };
        folders.extend(path.parent().map(Path::to_path_buf));
    }
    folders.sort();
    folders.dedup();
    for folder in &folders {
        there(disk.sync_dir(folder))?;
    }
    disk.remove(&dir.join(layout::REPAIR))?;
    disk.sync_dir(dir)
}

/// What is not there any more was done.
fn there(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_as_it_was_written_or_not_at_all() {
        let steps = vec![
            Step::Kept(3),
            Step::Replace("a.seg".into()),
            Step::Remove("index/b".into()),
            Step::Empty("cursors/LOCK".into()),
            Step::Lock([7; LOCK_BYTES]),
        ];
        let text = encode(&steps);
        assert_eq!(decode(&text), Some(steps));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(String::from_utf8(bytes).ok().and_then(|text| decode(&text)), None, "byte {at}");
            assert_eq!(decode(&text[..at]), None, "cut at {at}");
        }
        assert_eq!(decode_step("remove ../x"), None);
        assert_eq!(decode_step("remove /x"), None);
    }
}

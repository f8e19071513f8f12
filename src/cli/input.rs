//! What is read in: a file or stdin, plain or zstd, cut into blocks of whole lines by a thread of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::limits::DATA_BYTES_MAX;

use super::failure::{Exit, Failure};
use super::output::note;

/// Longest line that is read. An envelope may be longer than the data in it; the log says what data it takes.
pub(super) const LINE_BYTES_MAX: usize = 2 * DATA_BYTES_MAX;

const BLOCK_BYTES: usize = 256 * 1024;
/// Blocks that may lie ready, besides the one in hand on either side. A block holds at least a line, and a
/// line may be long.
const BLOCKS_AHEAD: usize = 0;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// An input that is being read. Dropping it ends the reading.
#[derive(Debug)]
pub(super) struct Input {
    /// How it is called in messages.
    pub(super) name: String,
    /// Bytes of the file as it stands there, if it is one.
    pub(super) file_bytes: Option<u64>,
    read: Arc<AtomicU64>,
    blocks: Receiver<Result<Vec<u8>, Failure>>,
}

impl Input {
    /// Opens a file, or stdin by the name `-`.
    pub(super) fn open(file: &OsStr) -> Result<Input, Failure> {
        let read = Arc::new(AtomicU64::new(0));
        let name = if file == "-" { "stdin".to_owned() } else { file.to_string_lossy().into_owned() };
        let (from, file_bytes): (Box<dyn Read + Send>, _) = if file == "-" {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                note("reading from the terminal; Ctrl-D ends");
            }
            (Box::new(stdin), None)
        } else {
            let failed =
                |error: io::Error| Failure::new(Exit::Usage, "bad_input", format!("cannot open {name}: {error}"));
            let file = File::open(file).map_err(failed)?;
            let meta = file.metadata().map_err(failed)?;
            if meta.is_dir() {
                return Err(Failure::input(format!("{name} is a directory, and lines come from a file")));
            }
            (Box::new(file), meta.is_file().then_some(meta.len()))
        };
        let (send, blocks) = sync_channel(BLOCKS_AHEAD);
        let counted = Counted { from, read: Arc::clone(&read) };
        let about = name.clone();
        std::thread::Builder::new()
            .name("annals-input".to_owned())
            .spawn(move || run(counted, &about, &send))
            .map_err(|error| Failure::io("cannot start the thread that reads", &error))?;
        Ok(Input { name, file_bytes, read, blocks })
    }

    /// The next whole lines; only the last one of an input may lack its LF.
    pub(super) fn next_block(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.blocks.recv().ok().transpose()
    }

    /// Bytes of the file that were read, as they stand there.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// Counts what is read of the file itself.
struct Counted<R> {
    from: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.from.read(into)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

fn run(from: impl Read, name: &str, send: &SyncSender<Result<Vec<u8>, Failure>>) {
    let sent = plain(from).and_then(|mut plain| cut(&mut plain, &mut |block| send.send(Ok(block)).is_ok()));
    let failure = match sent {
        Ok(Cut::Done) => return,
        Ok(Cut::LineTooLong) => {
            Failure::input(format!("{name} holds a line longer than {LINE_BYTES_MAX} bytes, the most that is read"))
        }
        Err(error) if error.raw_os_error().is_some() => Failure::io(format!("cannot read {name}"), &error),
        Err(error) => Failure::input(format!("{name} is not whole zstd: {error}")),
    };
    // Whoever does not listen any more needs no reason.
    let _ = send.send(Err(failure));
}

/// The plain bytes: zstd is known by its first four.
fn plain<'r>(mut from: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut start = Vec::with_capacity(ZSTD_MAGIC.len());
    // Byte by byte: a first line shorter than this may be all there is for long.
    while start.len() < ZSTD_MAGIC.len() && ZSTD_MAGIC.starts_with(&start) {
        if (&mut from).take(1).read_to_end(&mut start)? == 0 {
            break;
        }
    }
    let is_zstd = start == ZSTD_MAGIC;
    let whole = io::Cursor::new(start).chain(from);
    if !is_zstd {
        return Ok(Box::new(whole));
    }
    Ok(Box::new(zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BLOCK_BYTES, whole))?))
}

#[derive(Debug, PartialEq, Eq)]
enum Cut {
    Done,
    LineTooLong,
}

/// Cuts an input into blocks of whole lines. Hands each on as soon as it was read, so that lines which come
/// slowly are not held back; ends early when nobody takes them.
fn cut(from: &mut dyn Read, give: &mut dyn FnMut(Vec<u8>) -> bool) -> io::Result<Cut> {
    let mut block = Vec::new();
    loop {
        let filled = block.len();
        block.resize(filled + BLOCK_BYTES, 0);
        let bytes = loop {
            match from.read(block.get_mut(filled..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        block.truncate(filled + bytes);
        if bytes == 0 {
            if !block.is_empty() {
                give(block);
            }
            return Ok(Cut::Done);
        }
        let new = block.get(filled..).unwrap_or_default();
        let Some(last) = new.iter().rposition(|byte| *byte == b'\n') else {
            if block.len() > LINE_BYTES_MAX {
                return Ok(Cut::LineTooLong);
            }
            continue;
        };
        let rest = block.split_off(filled + last + 1);
        if !give(std::mem::replace(&mut block, rest)) {
            return Ok(Cut::Done);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives so many bytes at a time.
    struct Slow<'b>(&'b [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let bytes = self.1.min(into.len()).min(self.0.len());
            into[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0 = &self.0[bytes..];
            Ok(bytes)
        }
    }

    fn blocks(bytes: &[u8], step: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut blocks = Vec::new();
        let mut plain = plain(Slow(bytes, step))?;
        assert_eq!(
            cut(&mut plain, &mut |block| {
                blocks.push(block);
                true
            })?,
            Cut::Done
        );
        Ok(blocks)
    }

    proptest! {
        #[test]
        fn blocks_are_whole_lines_and_together_the_input(text in "[ab\n]{0,40}", step in 1usize..9) {
            let blocks = blocks(text.as_bytes(), step).unwrap();
            prop_assert_eq!(blocks.concat(), text.as_bytes());
            let all_but_last = blocks.len().saturating_sub(1);
            prop_assert!(blocks.iter().take(all_but_last).all(|block| block.ends_with(b"\n")));
            prop_assert!(blocks.iter().all(|block| !block.is_empty()));
        }

        #[test]
        fn zstd_is_known_by_its_first_bytes(text in "[ab\n]{0,4000}", step in 1usize..9) {
            let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
            prop_assert_eq!(blocks(&packed, step).unwrap().concat(), text.as_bytes());
            // Two frames behind each other are one input; half a frame is none.
            let twice = [packed.clone(), packed.clone()].concat();
            prop_assert_eq!(blocks(&twice, step).unwrap().concat(), [text.as_bytes(), text.as_bytes()].concat());
            prop_assert!(blocks(&packed[..packed.len() - 1], step).is_err());
        }
    }

    #[test]
    fn a_line_without_end_is_not_read_forever() {
        let mut endless = io::repeat(b'x');
        assert_eq!(cut(&mut endless, &mut |_| true).unwrap(), Cut::LineTooLong);
    }
}

//! The last good objects, kept on the node for a start while the API server is away.
//!
//! One file: a header, then one record a line, each `<checksum> <JSON list of deltas>\n`. A snapshot is written under a
//! temporary name and renamed; what changes after it is appended. A last line that is torn, and everything after a line that
//! is not as it was written, is passed over. The header names version of the format and boot ID, and a file of another
//! one is not read.
//!
//! The passwords of BGP sessions are in it, as a speaker that starts while the API server is away could not open them
//! otherwise: it can be read by its owner alone (mode 0600).
//!
//! Nothing is flushed to the disk (`fsync`): what is kept is for a restart of the process, which finds it in the kernel's
//! page cache. After a crash of the machine the boot ID is another one and the file is not read anyway.
//!
//! | thread | owns | receives | ends |
//! |---|---|---|---|
//! | `cache` | the file | deltas, on a bounded channel; what finds it full is lost, and a whole snapshot asked for instead | with its [`Cache`] |

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use bellhop_core::Delta;

use super::CacheOptions;

/// Version of the format; a change of any projection that older files cannot be read as makes another one.
const FORMAT: u32 = 3;

/// Who may read and write the file.
const OWNER_ONLY: u32 = 0o600;

/// Name of the file in its folder.
const FILE: &str = "objects.cache";

/// Messages that may wait for the disk: seconds of events.
const DEPTH: usize = 256;

/// Deltas in a record of a snapshot, so that no line is large.
const RECORD: usize = 256;

/// A file whose appended part is larger than this, and than its snapshot, is written anew.
const APPENDED_MAX: u64 = 4 * 1024 * 1024;

/// Why a cache cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// There is none, or it cannot be opened.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// It is of another boot of the machine, or of another version of the format.
    #[error("is of another boot of this machine, or of another version of Bellhop")]
    Foreign,
}

/// A running writer.
#[derive(Debug)]
pub(crate) struct Cache {
    messages: SyncSender<Message>,
    stale: Arc<AtomicBool>,
}

enum Message {
    Snapshot(Vec<Delta>),
    Append(Vec<Delta>),
}

impl Cache {
    /// Starts to write; the first thing to be given in is a snapshot.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(options: &CacheOptions) -> io::Result<Self> {
        let (messages, received) = sync_channel(DEPTH);
        let stale = Arc::new(AtomicBool::new(true));
        let writer =
            Writer { options: options.clone(), stale: stale.clone(), file: None, snapshot: 0, appended: 0 };
        std::thread::Builder::new().name("cache".into()).spawn(move || writer.run(&received))?;
        Ok(Self { messages, stale })
    }

    /// Whether everything in force is to be given in.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Everything in force. Never waits.
    pub(crate) fn snapshot(&self, deltas: Vec<Delta>) {
        if self.messages.try_send(Message::Snapshot(deltas)).is_ok() {
            self.stale.store(false, Ordering::Relaxed);
        }
    }

    /// What changed. Never waits.
    pub(crate) fn append(&self, deltas: &[Delta]) {
        let kept: Vec<Delta> = deltas.iter().filter(|delta| is_kept(delta)).cloned().collect();
        if kept.is_empty() || self.wants_snapshot() {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.messages.try_send(Message::Append(kept)) {
            self.stale.store(true, Ordering::Relaxed);
        }
    }
}

/// Problems are found again, and to be whole is what a list makes one.
fn is_kept(delta: &Delta) -> bool {
    !matches!(delta, Delta::Problems(..) | Delta::Synced)
}

struct Writer {
    options: CacheOptions,
    stale: Arc<AtomicBool>,
    file: Option<File>,
    snapshot: u64,
    appended: u64,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut well = true;
        while let Ok(message) = messages.recv() {
            let written = match message {
                Message::Snapshot(deltas) => self.snapshot(&deltas),
                Message::Append(deltas) => self.append(&deltas),
            };
            if let Err(error) = &written {
                self.file = None;
                if well {
                    let folder = self.options.folder.display();
                    tracing::warn!(%folder, %error, "the last good objects are not kept on the node");
                }
            }
            if well != written.is_ok() {
                well = written.is_ok();
            }
        }
    }

    fn snapshot(&mut self, deltas: &[Delta]) -> io::Result<()> {
        fs::create_dir_all(&self.options.folder)?;
        let (path, temporary) = (path(&self.options), self.options.folder.join(".objects.cache"));
        // Passwords of sessions are in it: for this process's user alone, also where an earlier run left a file.
        let mut create = OpenOptions::new();
        let created = create.write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&temporary)?;
        created.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
        let mut file = BufWriter::new(created);
        file.write_all(header(&self.options).as_bytes())?;
        let mut bytes = 0;
        for deltas in deltas.chunks(RECORD) {
            let line = record(deltas)?;
            bytes += line.len() as u64;
            file.write_all(line.as_bytes())?;
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&temporary, &path)?;
        (self.file, self.snapshot, self.appended) = (Some(file), bytes, 0);
        Ok(())
    }

    fn append(&mut self, deltas: &[Delta]) -> io::Result<()> {
        // Without a file the last attempt failed: what comes next begins with everything.
        let Some(file) = &mut self.file else {
            self.stale.store(true, Ordering::Relaxed);
            return Err(io::Error::other("an earlier write failed"));
        };
        let line = record(deltas)?;
        file.write_all(line.as_bytes())?;
        self.appended += line.len() as u64;
        if self.appended > self.snapshot.max(APPENDED_MAX) {
            self.stale.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn path(options: &CacheOptions) -> PathBuf {
    options.folder.join(FILE)
}

fn header(options: &CacheOptions) -> String {
    format!("bellhop objects {FORMAT} boot {}\n", options.boot_id)
}

fn record(deltas: &[Delta]) -> io::Result<String> {
    let text = serde_json::to_string(deltas)?;
    Ok(format!("{:016x} {text}\n", checksum(&text)))
}

/// 64 bits of FNV-1a: against torn writes, not against people.
fn checksum(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Reads what was kept; the number of lines that were passed over is logged.
pub(crate) fn load(options: &CacheOptions) -> Result<Vec<Delta>, CacheError> {
    let bytes = fs::read(path(options))?;
    let rest = bytes.strip_prefix(header(options).as_bytes()).ok_or(CacheError::Foreign)?;
    let mut deltas = Vec::new();
    let mut lines = rest.split_inclusive(|byte| *byte == b'\n');
    for line in lines.by_ref() {
        let Some(read) = read(line) else {
            let lost = lines.count() + 1;
            tracing::warn!(lost, file = %path(options).display(), "the end of the kept objects is torn");
            break;
        };
        deltas.extend(read);
    }
    Ok(deltas)
}

fn read(line: &[u8]) -> Option<Vec<Delta>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, text) = line.split_once(' ')?;
    let right = u64::from_str_radix(sum, 16).ok()? == checksum(text);
    right.then(|| serde_json::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use bellhop_core::labels::labels;
    use bellhop_core::objects::Namespace;

    use super::*;

    fn namespace(name: &str) -> Delta {
        let labels = labels([("team", name)]);
        Delta::Namespace(name.into(), Some(Arc::new(Namespace { name: name.into(), labels })))
    }

    fn options(folder: &tempfile::TempDir) -> CacheOptions {
        CacheOptions { folder: folder.path().join("cache"), boot_id: "boot".into() }
    }

    fn written(options: &CacheOptions) -> Writer {
        let stale = Arc::new(AtomicBool::new(false));
        let mut writer = Writer { options: options.clone(), stale, file: None, snapshot: 0, appended: 0 };
        writer.snapshot(&[namespace("a"), namespace("b")]).unwrap();
        writer.append(&[Delta::Namespace("a".into(), None)]).unwrap();
        writer.append(&[namespace("c")]).unwrap();
        writer
    }

    #[test]
    fn what_was_kept_is_read_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let _ = written(&options);
        let expected = [namespace("a"), namespace("b"), Delta::Namespace("a".into(), None), namespace("c")];
        assert_eq!(load(&options).unwrap(), expected);
    }

    #[test]
    fn a_file_that_is_torn_at_any_byte_is_read_up_to_there() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let _ = written(&options);
        let (bytes, whole) = (fs::read(path(&options)).unwrap(), load(&options).unwrap());
        for end in header(&options).len()..bytes.len() {
            fs::write(path(&options), &bytes[..end]).unwrap();
            let read = load(&options).unwrap();
            assert_eq!(read, whole[..read.len()], "{end}");
        }
        let mut flipped = bytes.clone();
        flipped[header(&options).len() + 30] ^= 1;
        fs::write(path(&options), flipped).unwrap();
        assert_eq!(load(&options).unwrap(), []);
    }

    #[test]
    fn nobody_but_its_owner_may_read_what_is_kept_even_where_somebody_could_before() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        fs::create_dir_all(&options.folder).unwrap();
        let left = options.folder.join(".objects.cache");
        fs::write(&left, "of an earlier run").unwrap();
        fs::set_permissions(&left, Permissions::from_mode(0o644)).unwrap();
        let _ = written(&options);
        assert_eq!(fs::metadata(path(&options)).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
    }

    #[test]
    fn what_another_boot_kept_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&folder);
        let _ = written(&options);
        options.boot_id = "another".into();
        assert!(matches!(load(&options), Err(CacheError::Foreign)));
        fs::write(path(&options), [0xFF; 100]).unwrap();
        assert!(matches!(load(&options), Err(CacheError::Foreign)));
    }

    #[test]
    fn a_file_that_grew_by_more_than_its_snapshot_asks_for_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = written(&options(&folder));
        assert!(!writer.stale.load(Ordering::Relaxed));
        writer.appended = APPENDED_MAX;
        writer.append(&[namespace("d")]).unwrap();
        assert!(writer.stale.load(Ordering::Relaxed));
    }
}

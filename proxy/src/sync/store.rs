//! Last known good: the snapshot on a memory-backed folder, so that a restarted container serves at once.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use portreeve_wire::proto::StoredSnapshot;
use prost::Message;

use crate::clock::UnixMillis;

/// Where it is kept, and for how long it counts.
#[derive(Debug, Clone)]
pub struct Store {
    file: PathBuf,
    max_age: Duration,
}

/// Why there is nothing to take up.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Nothing was stored yet.
    #[error("nothing is stored yet")]
    Absent,
    /// The file is not one of ours, or is cut off.
    #[error("{}: not a stored snapshot", .0.display())]
    Damaged(PathBuf),
    /// The folder or file cannot be read or written.
    #[error("{}: {error}", .file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Older than allowed.
    #[error("the stored snapshot is older than {} s", .0.as_secs())]
    TooOld(Duration),
}

impl Store {
    /// Keeps it below `folder`.
    pub fn new(folder: &Path, max_age: Duration) -> Self {
        Self { file: folder.join("snapshot.pb"), max_age }
    }

    /// Reads what was stored, unless it is too old.
    pub fn load(&self, now: UnixMillis) -> Result<StoredSnapshot, StoreFault> {
        let bytes = match fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreFault::Absent),
            Err(error) => return Err(StoreFault::Io { file: self.file.clone(), error }),
        };
        let stored = StoredSnapshot::decode(bytes.as_slice())
            .map_err(|_ignored: prost::DecodeError| StoreFault::Damaged(self.file.clone()))?;
        let saved = UnixMillis(stored.saved_at.saturating_mul(1000));
        // A file from the future says that the clock stepped back: its age cannot be told, so it is too old.
        if saved > now.plus(Duration::from_mins(1)) || now.since(saved) > self.max_age {
            return Err(StoreFault::TooOld(self.max_age));
        }
        Ok(stored)
    }

    /// Replaces the file as one act; only its owner can read it, for it holds secrets.
    pub fn save(&self, snapshot: &StoredSnapshot) -> Result<(), StoreFault> {
        let fresh = self.file.with_extension("new");
        let write = || -> io::Result<()> {
            if let Some(folder) = self.file.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&snapshot.encode_to_vec())?;
            fs::rename(&fresh, &self.file)
        };
        write().map_err(|error| StoreFault::Io { file: self.file.clone(), error })
    }
}

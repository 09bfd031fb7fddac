//! Manifests from disk.

use std::{
    fs,
    io::{self, Read, stdin},
    path::{Path, PathBuf},
};

use portreeve_compiler::{Options, manifest::Manifests};
use portreeve_policy::AddressRange;

/// A file or folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.display())]
pub(crate) struct ReadError {
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
}

/// Most bytes of standard input: as much as a large tree of manifests.
const MAX_STDIN: u64 = 256 << 20;

/// Reads files, `-` for standard input, and every manifest below folders, in the order of their names. What cannot be
/// read is given back, and everything else is read all the same.
pub(crate) fn manifests(paths: &[PathBuf]) -> (Manifests, Vec<ReadError>) {
    let mut manifests = Manifests::default();
    let faults = each_file(paths, |name, bytes| {
        manifests.read_bytes(name, bytes);
    });
    (manifests, faults)
}

/// Hands every file to `take`, with the name by which messages call it.
pub(crate) fn each_file(paths: &[PathBuf], mut take: impl FnMut(&str, &[u8])) -> Vec<ReadError> {
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        collect(path, true, &mut files, &mut faults);
    }
    for file in files {
        match read(&file) {
            Ok(bytes) => take(&name(&file), &bytes),
            Err(error) => faults.push(ReadError { path: file, error }),
        }
    }
    faults
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn name(path: &Path) -> String {
    if is_stdin(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !is_stdin(path) {
        return fs::read(path);
    }
    let mut bytes = Vec::new();
    stdin().lock().take(MAX_STDIN.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_STDIN) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 256 MiB"))
    }
}

/// A folder is searched for manifests; a file that was named is read whatever its ending.
fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>, faults: &mut Vec<ReadError>) {
    if named && is_stdin(path) {
        files.push(path.to_owned());
        return;
    }
    match entries(path) {
        Ok(Some(entries)) => entries.iter().for_each(|entry| collect(entry, false, files, faults)),
        Ok(None) => {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if named || matches!(ending, "yaml" | "yml" | "json") {
                files.push(path.to_owned());
            }
        }
        Err(error) => faults.push(ReadError { path: path.to_owned(), error }),
    }
}

/// What a folder holds, without hidden entries; `None` for a file.
fn entries(path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(None);
    }
    let entries: io::Result<Vec<_>> = fs::read_dir(path)?.map(|entry| entry.map(|e| e.path())).collect();
    let mut entries = entries?;
    let hidden = |entry: &PathBuf| entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    entries.retain(|entry| !hidden(entry));
    entries.sort();
    Ok(Some(entries))
}

/// Settings of the compiler that need no installation.
pub(crate) fn options(allow_http: bool) -> Options {
    Options { allow_http, addresses: AddressRange::PrivateAndPublic }
}

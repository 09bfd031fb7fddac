//! Manifests from disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use portreeve_compiler::{Options, manifest::Manifests};
use portreeve_policy::AddressRange;

/// A file or folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.display())]
pub(crate) struct ReadError {
    path: PathBuf,
    error: io::Error,
}

/// Reads files, and every manifest below folders, in the order of their names.
pub(crate) fn manifests(paths: &[PathBuf]) -> Result<Manifests, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, true, &mut files)?;
    }
    let mut manifests = Manifests::default();
    for file in files {
        let bytes = fs::read(&file).map_err(|error| ReadError { path: file.clone(), error })?;
        manifests.read_bytes(&file.display().to_string(), &bytes);
    }
    Ok(manifests)
}

/// A folder is searched for manifests; a file that was named is read whatever its ending.
fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    let failed = |error| ReadError { path: path.to_owned(), error };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if named || matches!(ending, "yaml" | "yml" | "json") {
            files.push(path.to_owned());
        }
        return Ok(());
    }
    let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(failed)?.map(|entry| entry.map(|e| e.path())).collect();
    let mut entries = entries.map_err(failed)?;
    entries.sort();
    let hidden = |entry: &PathBuf| entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    entries.iter().filter(|entry| !hidden(entry)).try_for_each(|entry| collect(entry, false, files))
}

/// Settings of the compiler that need no installation.
pub(crate) fn options(allow_http: bool) -> Options {
    Options { allow_http, addresses: AddressRange::PrivateAndPublic }
}

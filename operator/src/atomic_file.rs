//! Files that are replaced as one act and readable to nobody else.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Writes a file with mode 0600 beside its place, makes it durable, and moves it there.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    folder_for_owner(folder)?;
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let draft = folder.join(format!(".{name}.draft"));
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    fs::rename(&draft, file)?;
    File::open(folder)?.sync_all()
}

/// Removes a file. It is no error when there is none.
pub(crate) fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Makes a folder, and those above it, with mode 0700.
pub(crate) fn folder_for_owner(folder: &Path) -> io::Result<()> {
    if folder.is_dir() { Ok(()) } else { DirBuilder::new().recursive(true).mode(0o700).create(folder) }
}

/// An empty folder for a test.
#[cfg(test)]
pub(crate) fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("portreeve-operator-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    folder_for_owner(&folder).unwrap();
    folder
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn writes_for_the_owner_alone() {
        let file = scratch("atomic").join("a/b.json");
        write(&file, b"1").unwrap();
        write(&file, b"22").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"22");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        remove(&file).unwrap();
        remove(&file).unwrap();
    }
}

//! File mode: a folder in, a folder out, a Unix socket for proxies. No cluster, no lease: we lead.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::{
    Base, StartError,
    core::{Parts, start},
};
use crate::{
    args::{FileSettings, Settings},
    atomic_file::{self, folder_for_owner},
    clock::any_number,
    controller::{StatusFiles, StatusSink},
    distribute::Credentials,
    inventory::FolderWatch,
    outbound::Memory,
    register::{FileStore, Store},
    signing::SigningStore,
};

pub(super) async fn run(settings: &Settings, files: FileSettings, base: Base) -> Result<(), StartError> {
    let state = files.state.clone();
    for folder in
        [state.clone(), state.join("secrets"), state.join("status"), state.join("registrations"), state.join("signing")]
    {
        folder_for_owner(&folder).map_err(|fault| StartError::new(&format!("--state {}", folder.display()), &fault))?;
    }
    let socket = files.socket.clone();
    let at = |fault: io::Error| StartError::new(&format!("--socket {}", socket.display()), &fault);
    let listener = listen(&socket).await.map_err(at)?;
    let (folder, views) = FolderWatch::new(files, base.readiness.clone());
    let (leader, leading) = watch::channel(true);
    let (close, closed) = watch::channel(None);
    base.metrics.leader.set(1);
    let memory_file = state.join("discovered.json");
    let memory = watch::Sender::new(Memory::from_bytes(&fs::read(&memory_file).unwrap_or_default()));
    tokio::spawn(keep_memory(memory_file, memory.subscribe()));
    let parts = Parts {
        views,
        credentials: Credentials::Socket,
        store: Store::Files(FileStore::new(&state)),
        signing: SigningStore::Files(state.join("signing")),
        sink: StatusSink::Files(StatusFiles::new(state.join("status"))),
        leading,
        memory,
        salt: salt(&state)?,
        closed,
    };
    let (server, _compilations) = start(settings, &base, parts);
    tokio::spawn(folder.run());
    tracing::info!(socket = %socket.display(), state = %state.display(), "serving proxies");
    let mut stopping = base.stopping.clone();
    let stopped = async move {
        drop(stopping.wait_for(|stopping| *stopping).await);
        close.send_replace(Some("the operator is stopping"));
    };
    let outcome = Server::builder()
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(20)))
        .add_service(server.into_service())
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped)
        .await;
    drop(leader);
    drop(fs::remove_file(&socket));
    outcome.map_err(|fault| StartError::new("the socket for proxies", &fault))
}

/// Made once, kept in the folder of state.
fn salt(state: &Path) -> Result<Vec<u8>, StartError> {
    let file = state.join("salt");
    if let Ok(held) = fs::read(&file)
        && held.len() == 16
    {
        return Ok(held);
    }
    let made = [any_number().to_le_bytes(), any_number().to_le_bytes()].concat();
    atomic_file::write(&file, &made)
        .map_err(|fault| StartError::new(&format!("--state {}", file.display()), &fault))?;
    Ok(made)
}

/// Writes down what was learned from token services.
async fn keep_memory(file: PathBuf, mut memory: watch::Receiver<Memory>) {
    while memory.changed().await.is_ok() {
        let bytes = memory.borrow_and_update().to_bytes();
        if let Err(fault) = atomic_file::write(&file, &bytes) {
            tracing::warn!(file = %file.display(), %fault, "cannot keep what was read from token services");
        }
    }
}

/// Binds the socket beside its place, closes it to others, and moves it there: it is never open to all, and one left
/// by an earlier process is replaced. One that is in use is not.
async fn listen(socket: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(socket).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another operator serves it; stop that one first"));
    }
    if let Some(folder) = socket.parent() {
        folder_for_owner(folder)?;
    }
    let mut draft = socket.as_os_str().to_owned();
    draft.push(".draft");
    let draft = PathBuf::from(draft);
    drop(fs::remove_file(&draft));
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    fs::rename(&draft, socket)?;
    Ok(listener)
}

//! Cluster mode: watches in, status subresources and Secrets out, gRPC over TLS for proxies, a Lease for who writes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube::Client;
use tokio::{net::TcpListener, sync::watch};
use tonic::transport::{Server, ServerTlsConfig};

use super::{
    Base, StartError,
    core::{Parts, start},
    gateway_clients, memory,
};
use crate::{
    args::{ClusterSettings, Settings},
    clock::{SharedClock, SystemClock, any_number},
    controller::{ClusterStatuses, Compilation, StatusSink},
    distribute::{CertificateAuthority, Incoming, by_token_review},
    inventory::ClusterWatch,
    lease::{Election, Role},
    register::{ClusterStore, Store},
    signing::SigningStore,
};

/// Between attempts to reach the API server at start, and to publish the authority.
const RETRY: Duration = Duration::from_secs(5);

pub(super) async fn run(settings: &Settings, cluster: ClusterSettings, base: Base) -> Result<(), StartError> {
    let client = Client::try_default().await;
    let client = client.map_err(|fault| {
        StartError::new("no cluster (neither KUBECONFIG nor a ServiceAccount; --source DIR runs without)", &fault)
    })?;
    let namespace = cluster.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let listener = TcpListener::bind(cluster.listen).await;
    let listener = listener.map_err(|fault| StartError::new(&format!("--listen {}", cluster.listen), &fault))?;
    let me = identity();
    let clock: SharedClock = Arc::new(SystemClock);
    let authority = Arc::new(authority(&client, &namespace, &base).await);
    let service = &cluster.service_name;
    let names = ["svc", "svc.cluster.local"].map(|end| format!("{service}.{namespace}.{end}")).to_vec();
    let identity = authority.issue(names).map_err(|fault| StartError::new("TLS", &fault))?;
    let (election, role) =
        Election::new(client.clone(), &namespace, &cluster.lease_name, &me, Arc::clone(&clock), base.metrics.clone());
    let (lead, leading) = watch::channel(false);
    let (close, closed) = watch::channel(None);
    tokio::spawn(follow_role(role, base.stopping.clone(), lead, close));
    let (objects, views) = ClusterWatch::new(client.clone(), base.readiness.clone(), cluster.watch_namespaces);
    let memory = watch::Sender::new(memory::load(&client, &namespace).await);
    tokio::spawn(memory::keep(client.clone(), namespace.clone(), memory.subscribe(), leading.clone()));
    let parts = Parts {
        views,
        credentials: by_token_review(client.clone()),
        store: Store::Cluster(ClusterStore::new(client.clone())),
        signing: SigningStore::Cluster { client: client.clone(), namespace: namespace.clone() },
        sink: StatusSink::Cluster(ClusterStatuses::new(client.clone(), me, clock)),
        leading: leading.clone(),
        memory,
        salt: authority.salt(),
        closed,
    };
    let (server, compilations) = start(settings, &base, parts);
    tokio::spawn(objects.run());
    tokio::spawn(gateway_clients::keep(client.clone(), compilations.clone(), leading.clone()));
    tokio::spawn(publish_authority(authority, client, namespace.clone(), compilations, leading));
    let election = tokio::spawn(election.run(base.stopping.clone()));
    tracing::info!(listen = %cluster.listen, namespace, "serving proxies");
    let mut stopping = base.stopping.clone();
    let stopped = async move {
        drop(stopping.wait_for(|stopping| *stopping).await);
    };
    let tls = |fault: tonic::transport::Error| StartError::new("TLS", &fault);
    let outcome = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .map_err(tls)?
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_service(server.into_service())
        .serve_with_incoming_shutdown(Incoming::new(listener), stopped)
        .await;
    // It gives the lease back; a failure is in the log.
    drop(election.await);
    outcome.map_err(|fault| StartError::new("the port for proxies", &fault))
}

/// The pod's name, with something that no earlier process of that name had.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    format!("{}_{:08x}", host.as_deref().unwrap_or("portreeve-operator"), any_number() >> 32)
}

async fn authority(client: &Client, namespace: &str, base: &Base) -> CertificateAuthority {
    loop {
        match CertificateAuthority::ensure(client, namespace).await {
            Ok(authority) => {
                base.readiness.clear("authority");
                return authority;
            }
            Err(fault) => {
                if base.readiness.block("authority", &fault) {
                    tracing::error!("{fault}");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// From the role to what it means: who writes, and whether streams are served. The replica that writes has to see every
/// stream, for it counts who runs what; so streams belong to it alone. While nobody knows who leads, streams go on.
async fn follow_role(
    mut role: watch::Receiver<Role>,
    mut stopping: watch::Receiver<bool>,
    lead: watch::Sender<bool>,
    close: watch::Sender<Option<&'static str>>,
) {
    loop {
        let now = *role.borrow_and_update();
        let stop = *stopping.borrow_and_update();
        let leads = now == Role::Leader && !stop;
        lead.send_if_modified(|held| std::mem::replace(held, leads) != leads);
        let reason = match now {
            _ if stop => Some("the operator is stopping"),
            Role::Standby => Some("this replica stands by; try again to reach the one that leads"),
            Role::Leader | Role::Unsure => None,
        };
        close.send_if_modified(|held| std::mem::replace(held, reason) != reason);
        let open = tokio::select! {
            changed = role.changed() => changed.is_ok(),
            changed = stopping.changed() => changed.is_ok(),
        };
        if !open || stop {
            return;
        }
    }
}

/// Puts the authority's certificate into every namespace with an ApiRoute, so that pods can mount it.
async fn publish_authority(
    authority: Arc<CertificateAuthority>,
    client: Client,
    own: String,
    mut compilations: watch::Receiver<Option<Compilation>>,
    mut leading: watch::Receiver<bool>,
) {
    let mut done = BTreeSet::new();
    let mut told = BTreeSet::new();
    loop {
        if *leading.borrow_and_update() {
            let compilation = compilations.borrow_and_update().clone();
            let routes = compilation.iter().flat_map(|compilation| compilation.inventory.routes.keys());
            let mut wanted: BTreeSet<_> = routes.map(|name| name.namespace().to_owned()).collect();
            wanted.insert(own.clone());
            for namespace in wanted.difference(&done.clone()) {
                match authority.publish(&client, namespace).await {
                    Ok(()) => drop(done.insert(namespace.clone())),
                    Err(fault) if told.insert(fault.clone()) => tracing::error!("{fault}"),
                    Err(_told) => {}
                }
            }
            done.retain(|namespace| wanted.contains(namespace));
        } else {
            done.clear();
        }
        let open = tokio::select! {
            changed = compilations.changed() => changed.is_ok(),
            changed = leading.changed() => changed.is_ok(),
            // Somebody may have removed one, and a refusal may have been lifted.
            () = tokio::time::sleep(RETRY * 12) => {
                done.clear();
                true
            }
        };
        if !open {
            return;
        }
    }
}

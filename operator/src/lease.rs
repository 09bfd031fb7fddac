//! Leader election on a Lease. What to do is decided by the pure [`step`]; the clocks of other machines are not believed:
//! a lease counts as expired when it did not change for its duration by our own clock.
//!
//! INVARIANT: nobody leads longer than [`RENEW_WITHIN`] after the last renewal that the API server confirmed.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use tokio::{sync::watch, time::Instant};

use crate::{
    clock::{SharedClock, any_number, jittered},
    telemetry::Metrics,
};

/// How long a lease counts without renewal.
const DURATION: Duration = Duration::from_secs(15);

/// How long we go on leading without a renewal; below [`DURATION`], so that two never lead.
const RENEW_WITHIN: Duration = Duration::from_secs(10);

/// Time between looks.
const RETRY: Duration = Duration::from_secs(2);

/// What this replica may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It writes, and it serves.
    Leader,
    /// Another one is known to lead.
    Standby,
    /// Nobody knows, e.g. while the API server is away: it writes nothing, and streams that it has go on.
    Unsure,
}

/// What to do with the lease as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Renew,
    Take,
    Wait,
}

/// Takes part in the election.
pub(crate) struct Election {
    api: Api<Lease>,
    name: String,
    me: String,
    clock: SharedClock,
    metrics: Metrics,
    role: watch::Sender<Role>,
    /// The lease as last seen, and since when it is unchanged.
    seen: Option<(Option<String>, Option<MicroTime>, Instant)>,
    lead_until: Option<Instant>,
}

/// Decides. `unchanged` is how long the lease stood as it is, by our clock.
fn step(lease: Option<&LeaseSpec>, me: &str, unchanged: Duration) -> Action {
    let Some(spec) = lease else { return Action::Create };
    match spec.holder_identity.as_deref() {
        None | Some("") => Action::Take,
        Some(holder) if holder == me => Action::Renew,
        Some(_) => {
            let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let expired = unchanged >= seconds.map_or(DURATION, Duration::from_secs);
            if expired { Action::Take } else { Action::Wait }
        }
    }
}

impl Election {
    /// Not a leader yet.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        me: &str,
        clock: SharedClock,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Role>) {
        let (role, receiver) = watch::channel(Role::Unsure);
        let api = Api::namespaced(client, namespace);
        let (name, me) = (name.to_owned(), me.to_owned());
        (Self { api, name, me, clock, metrics, role, seen: None, lead_until: None }, receiver)
    }

    /// Takes part until `stopping`, then gives the lease back.
    pub(crate) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        loop {
            self.turn().await;
            let next = Instant::now() + jittered(RETRY, any_number());
            // Losing the lead may not wait for the next look.
            let wake = self.lead_until.map_or(next, |until| until.min(next));
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                stopped = stopping.wait_for(|stopping| *stopping) => {
                    drop(stopped);
                    break;
                }
            }
        }
        if *self.role.borrow() == Role::Leader {
            self.set(Role::Unsure);
            self.release().await;
        }
    }

    async fn turn(&mut self) {
        let began = Instant::now();
        let left = self.lead_until.map_or(RENEW_WITHIN / 2, |until| until.saturating_duration_since(began));
        let limit = left.clamp(Duration::from_millis(100), RENEW_WITHIN / 2);
        match tokio::time::timeout(limit, self.look(began)).await {
            Ok(Ok(role)) => {
                self.lead_until = (role == Role::Leader).then(|| began + RENEW_WITHIN);
                self.set(role);
            }
            Ok(Err(fault)) => self.unanswered(&crate::inventory::explain(&fault, "leases")),
            Err(_late) => self.unanswered("timed out"),
        }
    }

    fn unanswered(&mut self, fault: &str) {
        tracing::warn!(lease = self.name, fault, "cannot look at the lease; trying again");
        if self.lead_until.is_none_or(|until| until <= Instant::now()) {
            self.lead_until = None;
            self.set(Role::Unsure);
        }
    }

    async fn look(&mut self, now: Instant) -> kube::Result<Role> {
        let lease = self.api.get_opt(&self.name).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
        let record = |spec: &Option<LeaseSpec>| {
            let spec = spec.clone().unwrap_or_default();
            (spec.holder_identity, spec.renew_time)
        };
        let (holder, renewed) = record(&spec);
        let since = match &self.seen {
            Some((known, time, since)) if (known, time) == (&holder, &renewed) => *since,
            Some(_) | None => now,
        };
        self.seen = Some((holder, renewed, since));
        let action = match (&lease, &spec) {
            (Some(_), None) => Action::Take,
            (_, spec) => step(spec.as_ref(), &self.me, now.saturating_duration_since(since)),
        };
        let written = match action {
            Action::Wait => return Ok(Role::Standby),
            Action::Create => self.api.create(&PostParams::default(), &self.claimed(Lease::default(), true)).await,
            Action::Renew | Action::Take => {
                let claimed = self.claimed(lease.unwrap_or_default(), action == Action::Take);
                self.api.replace(&self.name, &PostParams::default(), &claimed).await
            }
        };
        match written {
            Ok(_) => Ok(Role::Leader),
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Role::Standby),
            Err(fault) => Err(fault),
        }
    }

    fn claimed(&self, mut lease: Lease, taken: bool) -> Lease {
        let now = MicroTime(self.clock.now().timestamp());
        lease.metadata.name = Some(self.name.clone());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now.clone());
        if taken {
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        lease
    }

    async fn release(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.me) {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            match self.api.replace(&self.name, &PostParams::default(), &lease).await {
                Ok(_) => tracing::info!(lease = self.name, "lease given back"),
                Err(fault) => {
                    let fault = crate::inventory::explain(&fault, "leases");
                    tracing::warn!(lease = self.name, fault, "the lease was not given back; it expires by itself");
                }
            }
        }
    }

    fn set(&self, role: Role) {
        self.metrics.leader.set(i64::from(role == Role::Leader));
        self.role.send_if_modified(|held| {
            let changed = *held != role;
            if changed {
                tracing::info!(from = ?held, to = ?role, "role changed");
                *held = role;
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_what_is_free_or_expired() {
        let lease = |holder: &str, seconds| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        };
        for (spec, unchanged, action) in [
            (None, 0, Action::Create),
            (Some(LeaseSpec::default()), 0, Action::Take),
            (Some(lease("", Some(15))), 0, Action::Take),
            (Some(lease("me", Some(15))), 99, Action::Renew),
            (Some(lease("you", Some(15))), 14, Action::Wait),
            (Some(lease("you", Some(15))), 15, Action::Take),
            (Some(lease("you", Some(60))), 15, Action::Wait),
            (Some(lease("you", None)), 14, Action::Wait),
            (Some(lease("you", Some(-1))), 15, Action::Take),
        ] {
            assert_eq!(step(spec.as_ref(), "me", Duration::from_secs(unchanged)), action, "{spec:?} {unchanged}");
        }
    }
}

//! One run: a life of one registration, and what is true at the server after each act.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
};

use anyhow::{Context as _, Result};
use portreeve_registration::{
    ClientMetadata, Deletion, Desired, Endpoint, Error, InsecureHttp, Keys as _, Outcome, PossibleOrphan, ReadBack,
    ReconcileContext, ReconcileInput, Registered, Rotation, Secret, reconcile,
};

use super::{
    Sabotage, Tally,
    failpoint::Failpoint,
    fake_journal::{Bytes, FakeJournal, stored},
    faulty_transport::FaultyTransport,
    keys::RealKeys,
    random::Random,
    server::{TokenService, unix_seconds},
};

/// Seconds for which old credentials stay good.
const OVERLAP: u64 = 100;

/// Ends of the process, and faults on the network, that one act has to bear.
const ENDS: u64 = 3;
const FAULTS: usize = 3;

/// Tries after the faults have ended.
const LAST_TRIES: usize = 4;

/// Points within the longest act, more or less.
const POINTS: u64 = 16;

pub(super) struct Scenario {
    server: Arc<TokenService>,
    seed: u64,
    random: Random,
    journal: Bytes,
    sabotage: Sabotage,
    /// Time of the story, which may run ahead.
    now: u64,
    generation: i64,
    own_keys: bool,
    scope: &'static str,
    request: Option<String>,
    read_back: ReadBack,
    /// What people were told before journals were cleared.
    told: BTreeSet<String>,
    told_creates: u32,
    pub(super) tally: Tally,
}

/// How an act ended.
enum Act {
    Registered(Box<Registered>),
    Gone(Option<PossibleOrphan>),
    Stuck(Error),
}

impl Scenario {
    pub(super) fn new(server: Arc<TokenService>, seed: u64, sabotage: Sabotage) -> Self {
        Self {
            server,
            seed,
            random: Random::new(seed),
            journal: Bytes::default(),
            sabotage,
            now: unix_seconds(),
            generation: 0,
            own_keys: seed.is_multiple_of(2),
            scope: "orders:read",
            request: None,
            read_back: ReadBack::No,
            told: BTreeSet::new(),
            told_creates: 0,
            tally: Tally::default(),
        }
    }

    /// Plays the run and checks after each act.
    pub(super) async fn play(&mut self) -> Result<()> {
        self.act(Deletion::Keep).await?;
        for _ in 0..2 + self.random.below(3) {
            match self.random.below(7) {
                0..=2 => {
                    self.scope = if self.scope == "orders:read" { "orders:read orders:write" } else { "orders:read" }
                }
                3 => self.read_back = ReadBack::Yes,
                4 => self.request = Some(self.random.next().to_string()),
                5 => self.now += OVERLAP + 1,
                _ => self.delete_behind_our_back().await?,
            }
            self.act(Deletion::Keep).await?;
        }
        if self.random.in_hundred(50) {
            self.act(Deletion::Delete).await?;
        }
        Ok(())
    }

    async fn delete_behind_our_back(&mut self) -> Result<()> {
        if let Some(own) = stored(&self.journal)?.registration {
            self.server.delete(&own.client_id).await?;
        }
        self.read_back = ReadBack::Yes;
        Ok(())
    }

    fn marker(&self) -> String {
        format!("run-{}-{:?}", self.seed, self.sabotage)
    }

    fn desired(&self, deletion: Deletion) -> Result<Desired> {
        let metadata = ClientMetadata {
            client_name: Some("failpoints".to_owned()),
            grant_types: vec!["client_credentials".to_owned()],
            scope: Some(self.scope.to_owned()),
            own_keys: self.own_keys,
            token_endpoint_auth_method: self.own_keys.then(|| "private_key_jwt".to_owned()),
            ..ClientMetadata::default()
        };
        let endpoint = Endpoint::parse(&self.server.registration_endpoint, InsecureHttp::Allowed)?;
        let desired = Desired::new(&metadata.validate()?, endpoint, &self.marker(), self.generation, deletion);
        Ok(desired
            .at_issuer(&self.server.issuer, Some(&self.server.token_endpoint), "")
            .with_rotation(Rotation { interval: None, overlap: OVERLAP }))
    }

    /// One act, with ends and faults, until it has come to its end, and what is true then.
    async fn act(&mut self, deletion: Deletion) -> Result<()> {
        self.generation += 1;
        let desired = self.desired(deletion)?;
        let budget = Arc::new(AtomicUsize::new(FAULTS));
        let mut ends = ENDS;
        let mut tries = 0;
        let act = loop {
            let ending = ends > 0 && self.random.in_hundred(60);
            let failpoint = Arc::new(Failpoint::new(ending.then(|| self.random.below(POINTS))));
            let line = FaultyTransport {
                server: Arc::clone(&self.server),
                failpoint: Arc::clone(&failpoint),
                random: Mutex::new(Random::new(self.random.next())),
                budget: AtomicUsize::new(budget.load(std::sync::atomic::Ordering::Relaxed)),
                faults: AtomicUsize::new(0),
                sabotage: self.sabotage,
            };
            let mut journal = FakeJournal {
                bytes: Arc::clone(&self.journal),
                failpoint: Arc::clone(&failpoint),
                sabotage: self.sabotage,
            };
            let initial = Secret::new(self.server.initial_access_token.expose().to_owned());
            let occasion = ReconcileInput {
                read_back: self.read_back,
                rotation_request: self.request.as_deref(),
                ..ReconcileInput::at(self.now, Some(&initial))
            };
            let situation = ReconcileContext { occasion, transport: &line, keys: &RealKeys };
            let ended = tokio::select! {
                biased;
                point = failpoint.blown() => Err(point),
                result = reconcile(&desired, &situation, &mut journal) => Ok(result),
            };
            let left = line.budget.load(std::sync::atomic::Ordering::Relaxed);
            budget.store(left, std::sync::atomic::Ordering::Relaxed);
            self.tally.faults += line.faults.load(std::sync::atomic::Ordering::Relaxed);
            match ended {
                Err(point) => {
                    ends -= 1;
                    self.tally.crashes += 1;
                    *self.tally.points.entry(point).or_default() += 1;
                }
                // A rotation that a fault held up is tried again, as the operator would.
                Ok(Ok(Outcome::Registered(client))) if client.hindered.is_some() && tries < LAST_TRIES => {
                    tries += usize::from(left == 0);
                }
                Ok(Ok(Outcome::Registered(client))) => break Act::Registered(client),
                Ok(Ok(Outcome::Gone { possible_orphan, .. })) => break Act::Gone(possible_orphan),
                Ok(Ok(Outcome::Retained { .. })) => anyhow::bail!("nobody asked to retain anything"),
                Ok(Err(error)) => {
                    // With faults left the error may be theirs; without, it has to end.
                    tries += usize::from(left == 0 || line.faults.load(std::sync::atomic::Ordering::Relaxed) == 0);
                    if tries >= LAST_TRIES {
                        break Act::Stuck(error);
                    }
                }
            }
        };
        self.read_back = ReadBack::No;
        self.check(deletion, act).await
    }

    async fn check(&mut self, deletion: Deletion, act: Act) -> Result<()> {
        let entry = stored(&self.journal)?;
        let live = self.server.clients(&self.marker()).await?;
        let mut known: BTreeSet<String> = entry.retired.iter().map(|r| r.registration.client_id.clone()).collect();
        known.extend(entry.registration.as_ref().map(|own| own.client_id.clone()));
        let mut creates = self.told_creates;
        let mut told = self.told.clone();
        let orphan = match &act {
            Act::Registered(client) => client.possible_orphan.clone(),
            Act::Gone(orphan) => orphan.clone(),
            Act::Stuck(_) => entry.suspected(),
        };
        if let Some(PossibleOrphan { unanswered_creates, abandoned, .. }) = orphan {
            creates += unanswered_creates;
            told.extend(abandoned);
        }
        let untold = live.iter().filter(|c| !known.contains(&c.client_id) && !told.contains(&c.client_id)).count();
        let excess = untold.saturating_sub(usize::try_from(creates)?);
        if excess > 0 {
            self.tally.orphans += excess;
            self.complain(&format!("{excess} orphans that nobody was told of"));
        }
        match act {
            Act::Stuck(error) => {
                self.tally.lockouts += 1;
                self.complain(&format!("{deletion:?} does not come to its end: {error}"));
            }
            Act::Registered(client) => {
                let scope: BTreeSet<_> = self.scope.split(' ').map(str::to_owned).collect();
                let here = live.iter().find(|live| live.client_id == client.client_id);
                let honest = here.is_some_and(|here| here.scope == scope || !client.drift.is_empty());
                if !honest || !self.gives_token(&client).await? {
                    self.tally.false_ready += 1;
                    let held = here.map(|here| here.scope.clone());
                    self.complain(&format!("ready, but the server holds {held:?} instead of {scope:?}"));
                }
                let gone = client.retiring.iter().filter(|id| !live.iter().any(|live| live.client_id == **id));
                if gone.count() > 0 {
                    self.complain("old credentials ended before their time");
                }
                let own = entry.registration.context("a journal with a client")?;
                if !self.server.opens(&own).await? {
                    self.tally.lockouts += 1;
                    self.complain("the token in the journal opens nothing");
                }
            }
            Act::Gone(_) => {
                // People were told; now the journal may be cleared, as the operator does.
                self.tally.told_orphans += usize::try_from(creates)?;
                self.tally.told_abandoned += told.len();
                (self.told, self.told_creates) = (told, creates);
                *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Ok(());
            }
        }
        if deletion == Deletion::Keep {
            self.tally.told_abandoned = told.len();
            self.tally.told_orphans = usize::try_from(creates)?;
        }
        Ok(())
    }

    async fn gives_token(&self, client: &Registered) -> Result<bool> {
        let mut form = vec![("grant_type", "client_credentials"), ("scope", "orders:read")];
        let Some(key) = &client.key else {
            let secret = client.client_secret.as_ref().map(Secret::expose).unwrap_or_default();
            return self.server.gives_token(Some((&client.client_id, secret)), &form).await;
        };
        let assertion = RealKeys.assertion(key, &client.client_id, &self.server.issuer).context("an assertion")?;
        form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        form.push(("client_assertion", assertion.expose()));
        form.push(("client_id", &client.client_id));
        self.server.gives_token(None, &form).await
    }

    fn complain(&mut self, what: &str) {
        self.tally.complaints.push(format!("run {}, act {}: {what}", self.seed, self.generation));
    }
}

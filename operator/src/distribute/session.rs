//! One stream's state: what the proxy holds, what it was sent, what it answered. Pure: no stream, no clock.
//!
//! ```text
//!  settled ──(set differs)──▶ unanswered ──ack──▶ settled
//!     ▲                            └──refused──▶ refused ──(after a wait: the full set)──▶ unanswered
//!     └───────────────────────────────────────────────────────────────(second refusal: close)
//! ```
//!
//! INVARIANTS
//! - At most one update is unanswered; later sets coalesce.
//! - The revision rises strictly, also above what the proxy held before.

use std::{collections::BTreeMap, time::Duration};

use portreeve_policy::{ResourceKind, ResourceName};
use portreeve_wire::{Digest, ResourceSet, proto};

/// The state of one stream.
pub(super) struct Session {
    /// What the proxy holds, by its own word.
    held: BTreeMap<ResourceName, Digest>,
    /// Highest revision that the proxy has seen.
    revision: u64,
    unanswered: Option<Sent>,
    rejected: BTreeMap<ResourceName, String>,
    /// Refusals in a row.
    refusals: u32,
}

struct Sent {
    revision: u64,
    set: Vec<u8>,
    resources: BTreeMap<ResourceName, Digest>,
}

/// What an answer leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    /// The proxy runs what it was sent, but for what it rejected.
    Acknowledged,
    /// Nothing was taken; the full set goes out after this time.
    Retry(Duration, String),
    /// The two ends do not understand each other; a new stream begins with what the proxy truly holds.
    Close(String),
}

const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Session {
    /// Begins with what the proxy says it holds from an earlier stream.
    pub(super) fn new(hello: &proto::Hello) -> Self {
        Self {
            held: hello.held.iter().filter_map(proto::Held::read).collect(),
            revision: hello.held_revision,
            unanswered: None,
            rejected: BTreeMap::new(),
            refusals: 0,
        }
    }

    /// The update that brings the proxy to `set`; `None` when it is there, or when an answer is due first.
    /// `next_revision` gives a number above the one that it is given.
    pub(super) fn update(
        &mut self,
        set: &ResourceSet,
        next_revision: impl FnOnce(u64) -> u64,
    ) -> Option<proto::Update> {
        if self.unanswered.is_some() || self.refusals == 0 && self.held == set.digests() {
            return None;
        }
        let revision = next_revision(self.revision).max(self.revision.saturating_add(1));
        let update = if self.refusals == 0 {
            set.delta(&self.held, revision)
        } else {
            // Whatever it holds, it is to be replaced, so no digest may look as if it were there already.
            let unlike = Digest::of(b"no resource has this payload");
            let held = self.held.keys().map(|name| (name.clone(), unlike)).collect();
            set.delta(&held, revision)
        };
        let resources = set.digests();
        self.unanswered = Some(Sent { revision, set: set.digest().as_bytes().to_vec(), resources });
        Some(update)
    }

    /// Takes an answer in.
    pub(super) fn answer(&mut self, answer: proto::Answer) -> Answered {
        let proto::Answer { revision, set_digest, rejections, refused } = answer;
        let Some(sent) = self.unanswered.take_if(|sent| sent.revision == revision) else {
            return Answered::Close(format!("the answer to revision {revision}, which is not awaited"));
        };
        if !refused.is_empty() {
            self.refusals += 1;
            return if self.refusals > 1 {
                Answered::Close(format!("the full set was refused too: {}", legible(&refused)))
            } else {
                Answered::Retry(RETRY_AFTER, legible(&refused))
            };
        }
        if sent.set != set_digest.as_ref() {
            return Answered::Close("the answer speaks of another set than was sent".to_owned());
        }
        self.refusals = 0;
        self.revision = sent.revision;
        self.held = sent.resources;
        self.rejected = rejections.into_iter().filter_map(|rejection| self.rejection(rejection)).collect();
        Answered::Acknowledged
    }

    /// A rejection of something that was sent; others make no sense and are dropped, so that the list stays bounded.
    fn rejection(&self, rejection: proto::Rejection) -> Option<(ResourceName, String)> {
        let proto::Rejection { kind, name, reason } = rejection;
        let name = ResourceName { kind: ResourceKind::parse(&kind)?, name };
        self.held.contains_key(&name).then(|| (name, legible(&reason)))
    }

    /// What the proxy runs.
    pub(super) fn running(&self) -> BTreeMap<ResourceName, Digest> {
        let runs = |(name, _): &(&ResourceName, &Digest)| !self.rejected.contains_key(*name);
        self.held.iter().filter(runs).map(|(name, digest)| (name.clone(), *digest)).collect()
    }

    /// What it holds but cannot run.
    pub(super) fn rejected(&self) -> &BTreeMap<ResourceName, String> {
        &self.rejected
    }
}

/// A proxy's words, fit for a log line and a status.
fn legible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(256).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portreeve_policy::{Secret, SecretName};
    use portreeve_wire::encode_secret;

    use super::*;

    fn set(values: &[(&str, &str)]) -> ResourceSet {
        ResourceSet::of(values.iter().map(|(name, value)| {
            let name = SecretName::try_from(format!("shop/{name}#k")).unwrap();
            Arc::new(encode_secret(&name, &Secret::new(value.as_bytes().to_vec())))
        }))
    }

    fn ack(update: &proto::Update) -> proto::Answer {
        proto::Answer {
            revision: update.revision,
            set_digest: update.set_digest.clone(),
            rejections: Vec::new(),
            refused: String::new(),
        }
    }

    fn next(above: u64) -> u64 {
        above + 10
    }

    #[test]
    fn sends_deltas_one_at_a_time_and_coalesces() {
        let mut session = Session::new(&proto::Hello { held_revision: 7, ..proto::Hello::default() });
        let first = session.update(&set(&[("a", "1"), ("b", "1")]), next).unwrap();
        assert_eq!((first.revision, first.upserts.len()), (17, 2));
        assert!(session.update(&set(&[("a", "2")]), next).is_none(), "one unanswered update at most");
        assert_eq!(session.answer(ack(&first)), Answered::Acknowledged);
        let second = session.update(&set(&[("a", "3")]), next).unwrap();
        assert_eq!((second.revision, second.upserts.len(), second.removals.len()), (27, 1, 1));
        assert_eq!(session.answer(ack(&second)), Answered::Acknowledged);
        assert!(session.update(&set(&[("a", "3")]), next).is_none(), "it holds that already");
    }

    #[test]
    fn the_revision_rises_above_what_the_proxy_saw() {
        let mut session = Session::new(&proto::Hello { held_revision: 900, ..proto::Hello::default() });
        assert_eq!(session.update(&set(&[("a", "1")]), |_| 5).unwrap().revision, 901);
    }

    #[test]
    fn a_proxy_that_holds_the_set_is_sent_nothing() {
        let wanted = set(&[("a", "1")]);
        let held = wanted.digests().into_iter().map(|(name, digest)| proto::Held {
            kind: name.kind.as_str().to_owned(),
            name: name.name,
            digest: digest.as_bytes().to_vec().into(),
        });
        let hello = proto::Hello { held: held.collect(), ..proto::Hello::default() };
        let mut session = Session::new(&hello);
        assert!(session.update(&wanted, next).is_none());
        assert_eq!(session.running(), wanted.digests());
    }

    #[test]
    fn what_is_rejected_does_not_run_but_is_not_sent_again() {
        let mut session = Session::new(&proto::Hello::default());
        let wanted = set(&[("a", "1"), ("b", "1")]);
        let update = session.update(&wanted, next).unwrap();
        let rejection = |name: &str| proto::Rejection {
            kind: "Secret".to_owned(),
            name: name.to_owned(),
            reason: "line\nbreak".to_owned(),
        };
        let rejections = vec![rejection("shop/a#k"), rejection("shop/stranger#k")];
        assert_eq!(session.answer(proto::Answer { rejections, ..ack(&update) }), Answered::Acknowledged);
        assert_eq!(session.rejected().values().collect::<Vec<_>>(), ["line break"]);
        assert_eq!(session.running().len(), 1);
        assert!(session.update(&wanted, next).is_none());
    }

    #[test]
    fn after_a_refusal_comes_the_full_set_and_then_the_end() {
        let mut session = Session::new(&proto::Hello::default());
        let wanted = set(&[("a", "1"), ("b", "1")]);
        let first = session.update(&wanted, next).unwrap();
        session.answer(ack(&first));
        let wanted = set(&[("a", "1"), ("b", "2")]);
        let delta = session.update(&wanted, next).unwrap();
        assert_eq!(delta.upserts.len(), 1);
        let refused = |update: &proto::Update| proto::Answer { refused: "no".to_owned(), ..ack(update) };
        assert!(matches!(session.answer(refused(&delta)), Answered::Retry(..)));
        let full = session.update(&wanted, next).unwrap();
        assert_eq!(full.upserts.len(), 2);
        assert!(matches!(session.answer(refused(&full)), Answered::Close(_)));
    }

    #[test]
    fn answers_that_nobody_asked_for_end_the_stream() {
        let mut session = Session::new(&proto::Hello::default());
        assert!(matches!(session.answer(proto::Answer::default()), Answered::Close(_)));
        let update = session.update(&set(&[("a", "1")]), next).unwrap();
        let other = proto::Answer { set_digest: vec![0; 32].into(), ..ack(&update) };
        assert!(matches!(session.answer(other), Answered::Close(_)));
    }
}

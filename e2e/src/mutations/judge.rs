//! Decides requests before and after a mistake, through the proxy's own pipeline.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use portreeve_compiler::diff::{Verdict, diff};
use portreeve_policy::{
    HostnamePattern, Limits, NamespacedName, PathMatch, Refusal, RefusalReason, Route, Rule, RuleState, Snapshot,
    TemplateSegment,
};
use portreeve_proxy::{
    clock::{Clock, UnixMillis},
    in_process::{InProcess, Surroundings},
    outbound::Network,
    pipeline::Scheme,
};
use serde_json::{Value, json};

use super::{Case, Draw, case::Made, edits::Edit};

/// The public half of the key that signs the tokens of the requests.
pub(super) const KEY_X: &str = "6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw";

/// Requests that are compared for one mistake and one pod.
const REQUESTS: usize = 48;

/// A time at which every token of the requests counts.
struct Fixed;

const NOW: u64 = 1_790_000_000;

impl Clock for Fixed {
    fn now(&self) -> UnixMillis {
        UnixMillis(NOW.saturating_mul(1000))
    }
}

/// A request, as far as the cases differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RequestShape {
    method: &'static str,
    host: String,
    path: String,
    token: Option<String>,
}

/// A case before any mistake.
pub(super) struct Known {
    faults: BTreeSet<String>,
    /// For each pod and way to look at limits, every request that is refused, and every one that is permitted.
    decided: BTreeMap<(NamespacedName, LimitView), Decided>,
    snapshots: BTreeMap<NamespacedName, Arc<Snapshot>>,
}

#[derive(Default)]
struct Decided {
    refused: Vec<RequestShape>,
    permitted: Vec<RequestShape>,
}

/// Counts would make verdicts depend on what was asked before, so that limits are looked at in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LimitView {
    /// None is ever used up: what is refused is refused by the other blocks.
    Wide,
    /// All are used up: a fault that lifts a limit opens something.
    UsedUp,
}

/// What became of a mistake.
pub(super) struct Outcome {
    /// Whether the compiler found a fault that was not there before.
    pub(super) faulty: bool,
    pub(super) pairs: u64,
    pub(super) opened: Vec<String>,
    /// Requests that pass on one side only, and of which `diff` does not say that it is more open.
    pub(super) missed: Vec<String>,
}

/// Decides by the proxy's own pipeline.
pub(super) struct Judge(InProcess);

impl Judge {
    /// Starts the pipeline; must run within a `LocalSet`.
    pub(super) async fn start() -> Result<Self> {
        let surroundings = Surroundings {
            clock: Arc::new(Fixed),
            network: Network::Sockets,
            peer: SocketAddr::from(([127, 0, 0, 1], 9)),
            scheme: Scheme::Http,
            certificates: None,
        };
        Ok(Self(InProcess::start(surroundings, std::io::sink()).await?))
    }

    /// Decides every request of a case.
    pub(super) async fn know(&mut self, case: &Case) -> Result<Known> {
        let Made { compiled, faults } = case.compile(&case.text())?;
        let asked = requests(case, compiled.routes.values().map(AsRef::as_ref));
        let mut decided = BTreeMap::new();
        for (pod, snapshot) in &compiled.snapshots {
            let limited = snapshot.routes.values().flat_map(|route| &route.rules).any(is_limited);
            let views = if limited { &[LimitView::Wide, LimitView::UsedUp][..] } else { &[LimitView::Wide] };
            for view in views {
                self.load(snapshot, *view);
                let mut found = Decided::default();
                for one in &asked {
                    let list = if self.permits(one).await? { &mut found.permitted } else { &mut found.refused };
                    list.push(one.clone());
                }
                decided.insert((pod.clone(), *view), found);
            }
        }
        Ok(Known { faults: faults.into_iter().collect(), decided, snapshots: compiled.snapshots })
    }

    /// Decides some of the requests that were refused before.
    pub(super) async fn compare(
        &mut self,
        case: &Case,
        known: &Known,
        edit: &Edit,
        draw: &mut Draw,
    ) -> Result<Outcome> {
        let Made { compiled, faults } = case.compile(&edit.text)?;
        // An object of another name is another object, whose faults read otherwise.
        let renamed = edit.kind.ends_with("/metadata/name") || edit.kind.ends_with("/metadata/namespace");
        // A route of other hosts is asked elsewhere. Whom it meets there says nothing of the hosts that it left: the edit is
        // correct, and taken at its word. What it collides with there is refused, and judged by the edits of that object.
        let moved = edit.kind.ends_with("/spec/hostnames") || edit.kind.ends_with("/spec/hostnames/*");
        let collision = |fault: &String| fault.contains("is older and has the same host");
        // An edit that is correct may take requests from an object that is younger: that one is told, and gives way.
        let edited = edit.what.split(": ").next().map(|object| format!("{object} "));
        let of_edited = |fault: &String| edited.as_ref().is_none_or(|object| fault.starts_with(object));
        let gives_way = |fault: &String| collision(fault) || fault.contains("is older and targets the same");
        let of_another = |fault: &String| {
            (renamed && !fault.contains("metadata."))
                || (moved && collision(fault))
                || (gives_way(fault) && !of_edited(fault))
        };
        let new = |fault: &String| !known.faults.contains(fault) && !of_another(fault);
        // A policy that was at fault by its target, and is not any more: what its fault refused may be permitted now.
        let retargeted = edit.kind.contains(" /spec/targetRefs");
        let cured = known.faults.iter().any(|fault| !faults.contains(fault));
        let faulty = faults.iter().any(new) && !(retargeted && cured);
        let mut outcome = Outcome { faulty, pairs: 0, opened: Vec::new(), missed: Vec::new() };
        for ((pod, view), Decided { refused, permitted }) in &known.decided {
            let (Some(snapshot), Some(base)) = (compiled.snapshots.get(pod), known.snapshots.get(pod)) else {
                continue;
            };
            let shown = |one: &RequestShape| {
                let caller = if one.token.is_some() { "a token" } else { "nobody" };
                format!("{pod}: {} {}{} by {caller}", one.method, one.host, one.path)
            };
            self.load(snapshot, *view);
            for _ in 0..REQUESTS.min(refused.len()) {
                let Some(one) = refused.get(draw.below(refused.len())) else { continue };
                outcome.pairs = outcome.pairs.saturating_add(1);
                if self.permits(one).await? {
                    outcome.opened.push(shown(one));
                    outcome.missed.extend((!is_more_open(base, snapshot)).then(|| format!("{}, made", shown(one))));
                }
            }
            // The same edit the other way round, for `diff` alone.
            for _ in 0..(REQUESTS / 4).min(permitted.len()) {
                let Some(one) = permitted.get(draw.below(permitted.len())) else { continue };
                if !self.permits(one).await? {
                    outcome.missed.extend((!is_more_open(snapshot, base)).then(|| format!("{}, undone", shown(one))));
                }
            }
        }
        Ok(outcome)
    }

    fn load(&self, snapshot: &Snapshot, view: LimitView) {
        let mut snapshot = snapshot.clone();
        for route in snapshot.routes.values_mut().filter(|route| route.rules.iter().any(is_limited)) {
            Arc::make_mut(route).rules.iter_mut().filter(|rule| is_limited(rule)).for_each(|rule| look_at(rule, view));
        }
        self.0.load(&snapshot);
    }

    async fn permits(&mut self, asked: &RequestShape) -> Result<bool> {
        let mut request = Request::builder().method(asked.method).uri(&asked.path).header("host", &asked.host);
        if let Some(token) = &asked.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (answer, _) = self.0.send(request.body(Bytes::new())?).await?;
        Ok(answer.status() == 200)
    }
}

fn is_more_open(before: &Snapshot, after: &Snapshot) -> bool {
    diff(before, after).iter().any(|change| change.verdict == Verdict::MoreOpen)
}

fn is_limited(rule: &Rule) -> bool {
    rule.state.guard().is_some_and(|guard| guard.limits != Limits::None)
}

fn look_at(rule: &mut Rule, view: LimitView) {
    let used_up = || Refusal { reason: RefusalReason::Closed, message: "the limits are used up".to_owned() };
    match (&mut rule.state, view) {
        (RuleState::Ready(guard), LimitView::Wide) => guard.limits = Limits::None,
        (state, LimitView::UsedUp) => *state = RuleState::Refusing(used_up()),
        (RuleState::Refusing(_), LimitView::Wide) => {}
    }
}

/// Requests at and around everything that the routes match, by nobody, by a caller without scopes, and by one with all.
fn requests<'a>(case: &Case, routes: impl Iterator<Item = &'a Route>) -> Vec<RequestShape> {
    let mut hosts = BTreeSet::from(["other.test".to_owned(), "orders.example.com".to_owned()]);
    let mut paths = BTreeSet::from(["/".to_owned(), "/elsewhere".to_owned()]);
    for route in routes {
        for host in &route.hostnames {
            hosts.insert(match host {
                HostnamePattern::Exact(name) => name.to_string(),
                HostnamePattern::Wildcard(domain) => format!("a.{domain}"),
            });
        }
        for clause in route.rules.iter().flat_map(|rule| &rule.matches) {
            let path = match &clause.path {
                PathMatch::Exact(path) | PathMatch::Prefix(path) => path.to_string(),
                PathMatch::Template(template) => {
                    let segments = template.segments().iter().map(|segment| match segment {
                        TemplateSegment::Literal(text) => format!("/{text}"),
                        TemplateSegment::Parameter(_) => "/7".to_owned(),
                    });
                    segments.collect()
                }
            };
            paths.insert(format!("{}/more", path.trim_end_matches('/')));
            paths.insert(path);
        }
    }
    let tokens = [None, Some(token(case, false)), Some(token(case, true))];
    let mut found = Vec::new();
    for host in &hosts {
        for path in &paths {
            for method in ["GET", "POST", "DELETE"] {
                for token in &tokens {
                    found.push(RequestShape { method, host: host.clone(), path: path.clone(), token: token.clone() });
                }
            }
        }
    }
    found
}

fn token(case: &Case, with_scopes: bool) -> String {
    let (mut audiences, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for document in &case.documents {
        texts(document, &["audiences"], &mut audiences);
        texts(document, &["allOf", "anyOf"], &mut asked);
    }
    let scope = if with_scopes { asked.into_iter().collect::<Vec<_>>().join(" ") } else { String::new() };
    let header = json!({"alg": "EdDSA", "kid": "ed-1", "typ": "at+jwt"}).to_string();
    let claims = json!({
        "iss": "https://login.example.com", "sub": "ada", "client_id": "shop", "aud": audiences, "iat": NOW,
        "exp": NOW.saturating_add(3600), "jti": "1", "scope": scope, "tenant": "acme", "roles": ["clerk"],
    });
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature =
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).map(|key| key.sign(message.as_bytes()).as_ref().to_vec());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap_or_default()))
}

/// Texts in lists of these names, anywhere in a value.
fn texts(value: &Value, names: &[&str], found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, names, found)),
        Value::Object(members) => {
            for (name, member) in members {
                let list = member.as_array().filter(|_| names.contains(&name.as_str()));
                found.extend(list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
                texts(member, names, found);
            }
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

/// The key of the requests is the one whose public half the cases have.
pub(super) fn check_key() -> Result<()> {
    use aws_lc_rs::signature::KeyPair as _;
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).ok().context("a seed has 32 bytes")?;
    let public = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    anyhow::ensure!(public == KEY_X, "the public half is {public}");
    Ok(())
}

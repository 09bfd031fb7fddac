//! A request that nobody sent: which rule it would meet, and what would become of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::Arc,
};

use anyhow::Context as _;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Uri;
use jiff::Timestamp;
use portreeve_compiler::{Compiled, Inventory, compile, manifest::Manifests};
use portreeve_crds::{ObjectKind, ObjectRef, TokenServiceRef};
use portreeve_policy::{NamespacedName, Reason, RuleState, Snapshot};
use serde_json::{Map, Value, json};

use super::{RequestArguments, explain};
use crate::{
    args::{Misuse, Outcome},
    commands::{
        conditions::conditions,
        read::each_file,
        test::{
            assumed::{self, Issuers},
            run::run_case,
            suite::{CaseSpec, PodSpec, RequestSpec, SchemeSpec, TestSpec, TokenForm, TokenSpec},
        },
    },
    printable::printable,
};

/// Decides a request offline, and explains the decision.
pub(super) fn run(text: &str, arguments: &RequestArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut manifests = Manifests::default();
    let unreadable = each_file(&arguments.manifests, |name, bytes| {
        manifests.read_bytes(name, bytes);
    });
    if let Some(fault) = unreadable.into_iter().next() {
        return Err(fault.into());
    }
    let mut request = parse(text).map_err(|error| misuse(&error))?;
    if let Some(address) = &arguments.client_address {
        request.client_address.clone_from(address);
    }
    let issuers = assumed::assume(&mut manifests.inventory)?;
    let token = token(arguments, &mut request, &issuers).map_err(|error| misuse(&error))?;
    let pods = pods(arguments, &manifests.inventory).map_err(|error| misuse(&error))?;
    for (name, labels) in &pods {
        manifests.inventory.pods.insert(name.clone(), assumed::pod(labels.clone()));
    }
    let compiled = compile(&manifests.inventory, assumed::OPTIONS);
    let (mut record, snapshot) = decide(arguments, request, token.as_ref(), &pods, &compiled, &issuers)?;
    // Of no process and no machine that matters.
    for member in ["decision_id", "duration_ms", "revision"] {
        record.as_object_mut().and_then(|members| members.remove(member));
    }
    write!(out, "{}", explain(&record))?;
    write_rule(&record, &snapshot, &manifests, out)?;
    if token.is_some() {
        writeln!(out, "token      taken as issued by its TokenService: offline nobody knows its keys")?;
    }
    Ok(Outcome::Clean)
}

fn misuse(error: &anyhow::Error) -> anyhow::Error {
    anyhow::Error::from(Misuse(format!("{error:#}")))
}

/// `METHOD URL`, a URL, or a command line of curl.
fn parse(text: &str) -> anyhow::Result<RequestSpec> {
    let words = shlex::split(text).context("the request has a quote that is not closed")?;
    // What is not said is what a case of `portreeve test` says of it.
    let mut request: RequestSpec = serde_json::from_value(json!({"host": "", "path": "/"}))?;
    let mut url = None;
    match words.as_slice() {
        [curl, rest @ ..] if curl == "curl" => read_curl(rest, &mut request, &mut url)?,
        [only] => url = Some(only.clone()),
        [method, target] => {
            request.method.clone_from(method);
            url = Some(target.clone());
        }
        _ => anyhow::bail!("a request is a URL, METHOD URL, or a command line of curl in quotes"),
    }
    let url: Uri = url.context("the request names no URL")?.parse().context("the URL of the request")?;
    let authority = url.authority().context("the URL of the request has no host")?;
    request.scheme = if url.scheme_str() == Some("https") { SchemeSpec::Https } else { SchemeSpec::Http };
    url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).clone_into(&mut request.path);
    request.host = request.headers.remove("host").unwrap_or_else(|| authority.as_str().to_owned());
    Ok(request)
}

/// The options of curl that say something of the request; those that say nothing of it are passed over.
fn read_curl(words: &[String], request: &mut RequestSpec, url: &mut Option<String>) -> anyhow::Result<()> {
    let mut words = words.iter();
    let mut method = None;
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().with_context(|| format!("curl: {word} needs a value"));
        match word.as_str() {
            "-X" | "--request" => method = Some(value()?),
            "-I" | "--head" => method = Some("HEAD".to_owned()),
            "-H" | "--header" => {
                let line = value()?;
                let (name, text) = line.split_once(':').with_context(|| format!("curl: {line:?} is no header"))?;
                request.headers.insert(name.trim().to_ascii_lowercase(), text.trim().to_owned());
            }
            "-d" | "--data" | "--data-raw" | "--data-binary" | "--json" => {
                request.body = value()?;
                method.get_or_insert_with(|| "POST".to_owned());
            }
            "--url" => *url = Some(value()?),
            "-s" | "-S" | "-sS" | "-v" | "-i" | "-k" | "-L" | "--silent" | "--verbose" | "--include" | "--insecure"
            | "--location" | "--http1.1" | "--http2" | "--compressed" | "-f" | "--fail" => {}
            option if option.starts_with('-') => anyhow::bail!("curl: option {option} is not known here; leave it out"),
            target => *url = Some(target.to_owned()),
        }
    }
    if let Some(method) = method {
        request.method = method;
    }
    Ok(())
}

/// The token of `--claims`, or the JWT that the request carries.
fn token(
    arguments: &RequestArguments,
    request: &mut RequestSpec,
    issuers: &Issuers,
) -> anyhow::Result<Option<TokenSpec>> {
    let reference = |name: &NamespacedName| TokenServiceRef {
        name: name.name().to_owned(),
        namespace: Some(name.namespace().to_owned()),
    };
    let named: Option<NamespacedName> =
        arguments.token_service.as_deref().map(str::parse).transpose().context("--token-service")?;
    let mut spec: TokenSpec = serde_json::from_value(json!({}))?;
    spec.token_service_ref = named.as_ref().map(reference);
    spec.form = if arguments.opaque { TokenForm::Opaque } else { TokenForm::Jwt };
    if let Some(claims) = &arguments.claims {
        spec.claims = serde_json::from_str(claims).context("--claims is not a JSON object")?;
        return Ok(Some(spec));
    }
    let Some((header, mut claims)) = request.headers.get("authorization").and_then(|value| jwt(value)) else {
        return Ok(None);
    };
    let issuer = issuers.values().find(|known| claims.get("iss").and_then(Value::as_str) == Some(known.url.as_str()));
    let Some(issuer) = issuer else { return Ok(None) };
    request.headers.remove("authorization");
    // What it does not say is not said for it.
    for name in ["iat", "exp", "jti"] {
        claims.entry(name).or_insert(Value::Null);
    }
    spec.token_service_ref = Some(reference(&issuer.name));
    spec.claims = claims;
    spec.header.insert("typ".to_owned(), header.get("typ").cloned().unwrap_or_default());
    Ok(Some(spec))
}

/// Header and claims of a JWT (RFC 7519), unverified.
fn jwt(authorization: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let (scheme, token) = authorization.split_once(' ')?;
    let mut parts = token.trim().split('.').map(|part| URL_SAFE_NO_PAD.decode(part));
    let mut object = || serde_json::from_slice(&parts.next()?.ok()?).ok();
    scheme.eq_ignore_ascii_case("bearer").then_some((object()?, object()?))
}

type Pods = Vec<(NamespacedName, BTreeMap<String, String>)>;

/// The pod that is named, or one for each choice of pods that a route makes.
fn pods(arguments: &RequestArguments, inventory: &Inventory) -> anyhow::Result<Pods> {
    let mut chosen = BTreeSet::new();
    if arguments.labels.is_empty() {
        for (name, route) in &inventory.routes {
            chosen.insert((name.namespace().to_owned(), route.spec.workload_selector.match_labels.clone()));
        }
        anyhow::ensure!(!chosen.is_empty(), "the manifests have no ApiRoute");
    } else {
        chosen.insert((arguments.namespace.clone(), arguments.labels.iter().cloned().collect()));
    }
    let named = chosen.into_iter().enumerate().map(|(i, (namespace, labels))| {
        Ok((NamespacedName::new(&namespace, &format!("portreeve-explain-{i}")).context("--namespace")?, labels))
    });
    named.collect()
}

/// The record of the first pod that has a rule for the request, or else of the first.
fn decide(
    arguments: &RequestArguments,
    request: RequestSpec,
    token: Option<&TokenSpec>,
    pods: &Pods,
    compiled: &Compiled,
    issuers: &Issuers,
) -> anyhow::Result<(Value, Arc<Snapshot>)> {
    let empty = json!({"name": "", "request": {"host": "", "path": "/"}, "expect": {"outcome": "permit"}});
    let mut case: CaseSpec = serde_json::from_value(empty)?;
    (case.request, case.token) = (request, token.cloned());
    let time = arguments.time.clone().unwrap_or_else(|| Timestamp::now().to_string());
    let mut first = None;
    for (name, labels) in pods {
        let Some(snapshot) = compiled.snapshots.get(name) else { continue };
        let pod = PodSpec { namespace: name.namespace().to_owned(), labels: labels.clone() };
        let spec = TestSpec { pod, time: time.clone(), cases: Vec::new() };
        let verdict = run_case(&spec, &case, snapshot, issuers);
        let Some(record) = verdict.records.into_iter().next() else {
            anyhow::bail!("{}", verdict.failures.join("; "));
        };
        if record.get("rule").is_some_and(|rule| !rule.is_null()) {
            return Ok((record, Arc::clone(snapshot)));
        }
        first.get_or_insert_with(|| (record, Arc::clone(snapshot)));
    }
    first.context("no ApiRoute selects such a pod")
}

/// Where the rule and its policies stand, what it demands, and which demand decided.
fn write_rule(record: &Value, snapshot: &Snapshot, manifests: &Manifests, out: &mut impl Write) -> anyhow::Result<()> {
    let text = |member: &str| record.get(member).and_then(Value::as_str).unwrap_or_default();
    let Some((name, route)) = snapshot.routes.iter().find(|(name, _)| name.to_string() == text("route")) else {
        return Ok(());
    };
    let Some((index, rule)) = route.rules.iter().enumerate().find(|(_, rule)| rule.name == text("rule")) else {
        return Ok(());
    };
    let mut place = |word: &str, kind, name: &NamespacedName, path: &str| {
        let object = ObjectRef::new(kind, name.namespace(), name.name());
        match manifests.place_of(&object, path) {
            Some(place) => writeln!(out, "{word}{}", printable(&place.to_string())),
            None => Ok(()),
        }
    };
    place("rule at    ", ObjectKind::ApiRoute, name, &format!("spec.rules[{index}]"))?;
    for policy in &rule.policies {
        place(&format!("policy at  {}: ", policy.name), ObjectKind::ApiPolicy, &policy.name, "spec")?;
    }
    let guard = match &rule.state {
        RuleState::Refusing(refusal) => {
            writeln!(out, "to pass    correct what makes the rule refuse everything: {}", printable(&refusal.message))?;
            return Ok(());
        }
        RuleState::Ready(guard) => guard,
    };
    let reason = Reason::parse(text("reason"));
    for condition in conditions(guard) {
        let decided = reason.is_some_and(|reason| condition.reasons.contains(&reason));
        let mark = if decided { "  <- refused" } else { "" };
        writeln!(out, "demands    {}: {}{mark}", condition.field, printable(&condition.demand))?;
    }
    Ok(())
}

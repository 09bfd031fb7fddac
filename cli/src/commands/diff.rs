//! `portreeve diff`.

mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use clap::ValueEnum;
use portreeve_compiler::{
    Compiled, Inventory, access_of, compile,
    diff::{Change, Verdict, diff},
};
use portreeve_policy::{NamespacedName, Snapshot};
use serde_json::{Value, json};

use super::{
    test::assumed::{self, OPTIONS},
    validate::is_error,
};
use crate::{args::Outcome, printable::printable};
use tree::{Tree, read};

/// What is compared.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArguments {
    /// Manifests before: a file, a folder, or git:REVISION:PATH.
    before: String,
    /// Manifests after, in the same forms.
    after: String,
    /// Output format.
    #[arg(long, value_enum, default_value_t = DiffOutput::Text)]
    output: DiffOutput,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DiffOutput {
    /// For programs.
    Json,
    /// For a comment on a merge request.
    Markdown,
    /// For people.
    Text,
}

/// All that is said.
struct DiffReport {
    /// Errors of the manifests after the change: what they close, the change closes.
    errors: usize,
    changes: BTreeSet<Change>,
    /// What ClientRegistrations gain and lose.
    clients: Vec<ClientChange>,
}

/// What a ClientRegistration gains and loses.
struct ClientChange {
    name: NamespacedName,
    gains: Vec<String>,
    loses: Vec<String>,
}

/// Compares two trees. Access that a client gains is more open, as is a rule.
pub(crate) fn run(arguments: &DiffArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let (mut before, mut after) = (read(&arguments.before)?, read(&arguments.after)?);
    assumed::assume(&mut before.manifests.inventory)?;
    // Of the test alone, and so no difference.
    after.manifests.inventory.signing_keys.clone_from(&before.manifests.inventory.signing_keys);
    assumed::assume(&mut after.manifests.inventory)?;
    add_pods(&mut before, &mut after)?;
    let (old, new) = (compile(&before.manifests.inventory, OPTIONS), compile(&after.manifests.inventory, OPTIONS));
    let report = DiffReport {
        errors: after.manifests.faults.len() + new.diagnostics.iter().filter(|found| is_error(found)).count(),
        changes: changes(&old, &new),
        clients: clients((&before.manifests.inventory, &old), (&after.manifests.inventory, &new)),
    };
    match arguments.output {
        DiffOutput::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report.json())?)?,
        DiffOutput::Markdown => report.markdown(out)?,
        DiffOutput::Text => report.text(out)?,
    }
    out.flush()?;
    Ok(report.outcome())
}

/// The pods that either tree selects, and those that two routes of a namespace select together.
fn add_pods(before: &mut Tree, after: &mut Tree) -> anyhow::Result<()> {
    let mut selected: BTreeMap<String, BTreeSet<BTreeMap<String, String>>> = BTreeMap::new();
    for tree in [&*before, &*after] {
        for (name, route) in &tree.manifests.inventory.routes {
            let labels = route.spec.workload_selector.match_labels.clone();
            selected.entry(name.namespace().to_owned()).or_default().insert(labels);
        }
    }
    for (namespace, choices) in selected {
        let mut pods = choices.clone();
        for (i, one) in choices.iter().enumerate() {
            for other in choices.iter().skip(i + 1) {
                let together: BTreeMap<_, _> = one.iter().chain(other).map(|(k, v)| (k.clone(), v.clone())).collect();
                if one.iter().chain(other).all(|(key, value)| together.get(key) == Some(value)) {
                    pods.insert(together);
                }
            }
        }
        for (i, labels) in pods.into_iter().enumerate() {
            let name = NamespacedName::new(&namespace, &format!("portreeve-diff-{i}"))?;
            for tree in [&mut *before, &mut *after] {
                tree.manifests.inventory.pods.insert(name.clone(), assumed::pod(labels.clone()));
            }
        }
    }
    Ok(())
}

fn changes(old: &Compiled, new: &Compiled) -> BTreeSet<Change> {
    let nothing = Snapshot::default();
    let pods: BTreeSet<_> = old.snapshots.keys().chain(new.snapshots.keys()).collect();
    let of = |compiled: &Compiled, pod| compiled.snapshots.get(pod).cloned();
    let compared = pods.into_iter().map(|pod| {
        let (before, after) = (of(old, pod), of(new, pod));
        diff(before.as_deref().unwrap_or(&nothing), after.as_deref().unwrap_or(&nothing))
    });
    compared.flatten().collect()
}

/// The scopes of every ClientRegistration, before and after.
fn clients(before: (&Inventory, &Compiled), after: (&Inventory, &Compiled)) -> Vec<ClientChange> {
    let scopes = |(inventory, compiled): (&Inventory, &Compiled), name: &NamespacedName| -> BTreeSet<String> {
        let registration = inventory.registrations.get(name);
        let access = registration.and_then(|found| access_of(inventory, &compiled.scope_owners, found));
        access.map_or_else(String::new, |access| access.scope).split_whitespace().map(str::to_owned).collect()
    };
    let names: BTreeSet<_> = before.0.registrations.keys().chain(after.0.registrations.keys()).collect();
    let compared = names.into_iter().map(|name| {
        let (old, new) = (scopes(before, name), scopes(after, name));
        ClientChange {
            name: name.clone(),
            gains: new.difference(&old).cloned().collect(),
            loses: old.difference(&new).cloned().collect(),
        }
    });
    compared.filter(|change| !change.gains.is_empty() || !change.loses.is_empty()).collect()
}

impl ClientChange {
    fn verdict(&self) -> Verdict {
        if self.gains.is_empty() { Verdict::MoreClosed } else { Verdict::MoreOpen }
    }

    fn words(&self) -> String {
        let list =
            |word: &str, scopes: &[String]| (!scopes.is_empty()).then(|| format!("{word} {}", scopes.join(", ")));
        let parts: Vec<_> = list("gains", &self.gains).into_iter().chain(list("loses", &self.loses)).collect();
        format!("ClientRegistration {} {}", self.name, parts.join(" and "))
    }
}

impl DiffReport {
    /// Verdict and words of everything, what is more open first.
    fn lines(&self) -> Vec<(Verdict, String)> {
        let of_rule = |change: &Change| format!("rule {} of ApiRoute {}: {}", change.rule, change.route, change.what);
        let rules = self.changes.iter().map(|change| (change.verdict, of_rule(change)));
        let clients = self.clients.iter().map(|change| (change.verdict(), change.words()));
        let mut lines: Vec<_> = rules.chain(clients).collect();
        lines.sort();
        lines
    }

    fn verdict(&self) -> Option<Verdict> {
        self.lines().first().map(|(verdict, _)| *verdict)
    }

    fn outcome(&self) -> Outcome {
        match self.verdict() {
            None => Outcome::Clean,
            Some(Verdict::MoreOpen) => Outcome::MoreOpen,
            Some(Verdict::MoreClosed | Verdict::Changed) => Outcome::Changed,
        }
    }

    fn summary(&self) -> &'static str {
        match self.verdict() {
            None => "the same",
            Some(verdict) => verdict.as_str(),
        }
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        for (verdict, words) in self.lines() {
            writeln!(out, "{:<12} {}", verdict.as_str(), printable(&words))?;
        }
        if self.errors > 0 {
            writeln!(out, "after the change {} errors close what they cover: portreeve validate", self.errors)?;
        }
        writeln!(out, "in all: {}", self.summary())
    }

    fn markdown(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "**Portreeve: {}**\n", self.summary())?;
        if !self.lines().is_empty() {
            writeln!(out, "| verdict | what |\n|---|---|")?;
        }
        for (verdict, words) in self.lines() {
            let words = printable(&words).replace('|', "\\|").replace('<', "&lt;");
            writeln!(out, "| {} | {words} |", verdict.as_str())?;
        }
        if self.errors > 0 {
            writeln!(out, "\nAfter the change {} errors close what they cover.", self.errors)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let rule = |change: &Change| {
            json!({
                "verdict": change.verdict.as_str(), "route": change.route.to_string(), "rule": change.rule,
                "what": change.what,
            })
        };
        let client = |change: &ClientChange| json!({"client": change.name.to_string(), "gains": change.gains, "loses": change.loses});
        json!({
            "verdict": self.summary(), "errors": self.errors,
            "rules": self.changes.iter().map(rule).collect::<Vec<_>>(),
            "clients": self.clients.iter().map(client).collect::<Vec<_>>(),
        })
    }
}

//! Secrets and ConfigMaps that objects refer to. Their metadata is watched as a whole; the content of those that are
//! wanted is read one by one when it changes. Pure: who calls reads.
//!
//! INVARIANTS
//! - A name that is wanted costs its name; only what exists costs more, and of one namespace at most
//!   [`MAX_BYTES_OF_NAMESPACE`], of all at most [`MAX_BYTES`]. What is beyond counts as missing.
//! - Nothing is read twice at the same time, and a change during a read leads to another one.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_compiler::{Inventory, Reference};
use portreeve_policy::NamespacedName;

use super::item::Item;

/// Bytes of the Secrets and ConfigMaps of one namespace.
pub(super) const MAX_BYTES_OF_NAMESPACE: usize = 16 << 20;

/// Bytes of all of them.
pub(super) const MAX_BYTES: usize = 96 << 20;

/// What is held of the names that are wanted.
#[derive(Default)]
pub(super) struct Named {
    held: BTreeMap<Reference, Held>,
}

#[derive(Default)]
struct Held {
    item: Option<Item>,
    bytes: usize,
    version: Option<String>,
    /// Read at least once, or tried.
    known: bool,
    reading: Option<During>,
    /// The last read failed.
    failed: bool,
}

/// What happened while an object was being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum During {
    Change,
    Nothing,
}

/// What a read brought.
pub(super) struct Content {
    pub(super) item: Item,
    pub(super) version: Option<String>,
    pub(super) bytes: usize,
}

impl Named {
    /// Follows what is wanted; gives back what is to be read.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Reference>) -> Vec<Reference> {
        self.held.retain(|reference, _| wanted.contains(reference));
        let mut fresh = Vec::new();
        for reference in wanted {
            let held = self.held.entry(reference.clone()).or_default();
            if !held.known && held.reading.is_none() {
                held.reading = Some(During::Nothing);
                fresh.push(reference.clone());
            }
        }
        fresh
    }

    /// The metadata of an object says this version, or that there is none. Gives back whether it is to be read, and
    /// whether something changed at once.
    pub(super) fn changed(&mut self, reference: &Reference, version: Option<&str>) -> Turn {
        let Some(held) = self.held.get_mut(reference) else { return Turn::Nothing };
        if held.reading.is_some() {
            held.reading = Some(During::Change);
            return Turn::Nothing;
        }
        match version {
            None if held.item.is_some() || held.version.is_some() => {
                *held = Held { known: true, ..Held::default() };
                Turn::Changed
            }
            None => Turn::Nothing,
            Some(version) if held.version.as_deref() == Some(version) => Turn::Nothing,
            Some(_) => {
                held.reading = Some(During::Nothing);
                Turn::Read
            }
        }
    }

    /// What is there, and was not among the names of a complete list, is to be looked at again.
    pub(super) fn unlisted(
        &mut self,
        names: &BTreeSet<Reference>,
        of_list: impl Fn(&Reference) -> bool,
    ) -> Vec<Reference> {
        let gone = |(name, held): &(&Reference, &mut Held)| {
            held.version.is_some() && held.reading.is_none() && of_list(name) && !names.contains(*name)
        };
        let gone = self.held.iter_mut().filter(gone).map(|(name, held)| {
            held.reading = Some(During::Nothing);
            name.clone()
        });
        gone.collect()
    }

    /// Whether anybody refers to it.
    pub(super) fn wants(&self, reference: &Reference) -> bool {
        self.held.contains_key(reference)
    }

    /// A read ended. `Err`: nobody could be asked, what was held stays. Whether it is to be read again at once.
    pub(super) fn read(&mut self, reference: &Reference, result: Result<Option<Content>, ()>) -> Turn {
        let room = self.room(reference);
        let Some(held) = self.held.get_mut(reference) else { return Turn::Nothing };
        let during = held.reading.take();
        (held.known, held.failed) = (true, result.is_err());
        match result {
            Ok(Some(Content { item, version, bytes })) if bytes <= room => {
                (held.item, held.bytes, held.version) = (Some(item), bytes, version);
            }
            Ok(Some(Content { version, .. })) => {
                tracing::error!(
                    ?reference,
                    "more Secrets and ConfigMaps are referred to than are read; it counts as missing"
                );
                (held.item, held.bytes, held.version) = (None, 0, version);
            }
            Ok(None) => (held.item, held.bytes, held.version) = (None, 0, None),
            Err(()) => {}
        }
        if during == Some(During::Change) {
            held.reading = Some(During::Nothing);
            return Turn::Read;
        }
        Turn::Changed
    }

    fn room(&self, reference: &Reference) -> usize {
        let others = || self.held.iter().filter(|(other, _)| *other != reference);
        let all: usize = others().map(|(_, held)| held.bytes).sum();
        let namespace = namespace(reference);
        let near: usize = others().filter(|(other, _)| self::namespace(other) == namespace).map(|(_, h)| h.bytes).sum();
        MAX_BYTES_OF_NAMESPACE.saturating_sub(near).min(MAX_BYTES.saturating_sub(all))
    }

    /// Names that could not be read the last time.
    pub(super) fn failed_reads(&mut self) -> Vec<Reference> {
        let idle = |(_, held): &(&Reference, &mut Held)| held.failed && held.reading.is_none();
        let again = self.held.iter_mut().filter(idle).map(|(name, held)| {
            held.reading = Some(During::Nothing);
            name.clone()
        });
        again.collect()
    }

    /// Whether everything that is wanted was read once.
    pub(super) fn is_complete(&self) -> bool {
        self.held.values().all(|held| held.known)
    }

    pub(super) fn add(&self, inventory: &mut Inventory) {
        for item in self.held.values().filter_map(|held| held.item.as_ref()) {
            item.add(inventory);
        }
    }
}

/// What follows from news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Changed,
    Nothing,
    Read,
}

fn namespace(reference: &Reference) -> &str {
    name(reference).namespace()
}

pub(super) fn name(reference: &Reference) -> &NamespacedName {
    match reference {
        Reference::ConfigMap(name) | Reference::Secret(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn secret(name: &str) -> Reference {
        Reference::Secret(name.parse().unwrap())
    }

    fn content(reference: &Reference, version: &str, bytes: usize) -> Content {
        let item = Item::Secret(name(reference).clone(), Arc::default(), BTreeSet::new());
        Content { item, version: Some(version.to_owned()), bytes }
    }

    fn secrets(named: &Named) -> usize {
        let mut inventory = Inventory::default();
        named.add(&mut inventory);
        inventory.secrets.len()
    }

    #[test]
    fn k3_names_that_do_not_exist_are_read_once_and_cost_a_name() {
        let mut named = Named::default();
        let wanted: BTreeSet<_> = (0..4096).map(|i| secret(&format!("tenant/s{i}"))).collect();
        assert_eq!(named.want(&wanted).len(), 4096);
        assert_eq!(named.want(&wanted).len(), 0);
        assert!(!named.is_complete());
        for name in &wanted {
            assert_eq!(named.read(name, Ok(None)), Turn::Changed);
        }
        assert!(named.is_complete() && secrets(&named) == 0 && named.want(&wanted).is_empty());
        assert!(named.unlisted(&BTreeSet::new(), |_| true).is_empty(), "that they do not exist is no news");
    }

    #[test]
    fn k3_content_is_bounded_and_others_keep_theirs() {
        let mut named = Named::default();
        let half = MAX_BYTES_OF_NAMESPACE / 2;
        let all = ["a/1", "a/2", "a/3", "b/1"].map(secret);
        named.want(&all.iter().cloned().collect());
        for name in &all {
            named.read(name, Ok(Some(content(name, "1", half))));
        }
        assert_eq!(secrets(&named), 3, "the third of one namespace is beyond its bound");
        assert_eq!(named.changed(&all[2], Some("1")), Turn::Nothing, "and is not read again and again");
    }

    #[test]
    fn a_change_during_a_read_leads_to_another_one() {
        let mut named = Named::default();
        let name = secret("a/1");
        assert_eq!(named.want(&BTreeSet::from([name.clone()])), std::slice::from_ref(&name));
        assert_eq!(named.changed(&name, Some("2")), Turn::Nothing);
        assert_eq!(named.read(&name, Ok(Some(content(&name, "1", 1)))), Turn::Read);
        assert_eq!(named.read(&name, Ok(Some(content(&name, "2", 1)))), Turn::Changed);
        assert_eq!(named.changed(&name, Some("2")), Turn::Nothing);
        assert_eq!(named.changed(&name, Some("3")), Turn::Read);
        assert_eq!(named.read(&name, Err(())), Turn::Changed);
        assert_eq!(secrets(&named), 1, "what was held stays while nobody can be asked");
        assert_eq!(named.failed_reads(), std::slice::from_ref(&name));
        assert_eq!(named.read(&name, Ok(Some(content(&name, "3", 1)))), Turn::Changed);
        assert!(named.failed_reads().is_empty());
        assert_eq!(named.unlisted(&BTreeSet::new(), |_| true), std::slice::from_ref(&name), "a list without it");
        assert_eq!(named.read(&name, Ok(Some(content(&name, "3", 1)))), Turn::Changed);
        assert_eq!(named.changed(&name, None), Turn::Changed);
        assert_eq!(secrets(&named), 0);
        assert_eq!(named.changed(&secret("a/2"), Some("1")), Turn::Nothing, "nobody wants it");
    }
}

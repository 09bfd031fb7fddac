//! What still keeps the operator from being ready, each with its reason.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Named obstacles; none means ready. Cheap to clone, shared.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<BTreeMap<String, Obstacle>>>);

#[derive(PartialEq, Eq)]
enum Obstacle {
    /// Not ready because of it.
    Block(String),
    /// Told, but ready all the same.
    Warning(String),
}

impl Readiness {
    /// Notes an obstacle, or puts a new reason to a known one. Returns whether that is news.
    pub(crate) fn block(&self, part: &str, reason: &str) -> bool {
        self.note(part, Obstacle::Block(reason.to_owned()))
    }

    /// Notes what should be told, though it keeps nobody from being served. Returns whether that is news.
    pub(crate) fn warn(&self, part: &str, reason: &str) -> bool {
        self.note(part, Obstacle::Warning(reason.to_owned()))
    }

    fn note(&self, part: &str, obstacle: Obstacle) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(part) == Some(&obstacle) {
            return false;
        }
        held.insert(part.to_owned(), obstacle);
        true
    }

    /// Takes an obstacle away.
    pub(crate) fn clear(&self, part: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Whether we are ready, and one line for each obstacle and warning.
    pub(crate) fn tell(&self) -> (bool, String) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = !held.values().any(|obstacle| matches!(obstacle, Obstacle::Block(_)));
        let line = |(part, obstacle): (&String, &Obstacle)| match obstacle {
            Obstacle::Block(reason) => format!("{part}: {reason}\n"),
            Obstacle::Warning(reason) => format!("warning: {part}: {reason}\n"),
        };
        (ready, held.iter().map(line).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_only_when_every_obstacle_is_gone() {
        let readiness = Readiness::default();
        assert!(readiness.block("a", "starting"));
        assert!(!readiness.block("a", "starting"));
        assert!(readiness.block("a", "forbidden"));
        readiness.block("b", "starting");
        readiness.clear("b");
        assert_eq!(readiness.tell(), (false, "a: forbidden\n".to_owned()));
        readiness.warn("a", "seen");
        assert_eq!(readiness.tell(), (true, "warning: a: seen\n".to_owned()));
        readiness.clear("a");
        assert_eq!(readiness.tell(), (true, String::new()));
    }
}

//! Identifiers of decisions: unique, not secret.

use std::cell::Cell;

/// Hands out identifiers of 32 hex digits: 64 random bits of the worker, then a count.
#[derive(Debug)]
pub struct DecisionIds {
    worker: u64,
    next: Cell<u64>,
}

impl DecisionIds {
    /// `worker` is drawn at random for each worker of each process.
    pub fn new(worker: u64) -> Self {
        Self { worker, next: Cell::new(0) }
    }

    /// The next identifier.
    pub fn draw(&self) -> String {
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        format!("{:016x}{count:016x}", self.worker)
    }
}

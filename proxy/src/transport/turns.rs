//! Whose exchanges with the application are under way. One client gets at most three times as many as are still free, so
//! that a quarter is left for the others, and of that a quarter for those who come after them (H2). Within the time of the
//! rule each is over, however slowly it is read.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use crate::peer::Peer;

/// Exchanges of one worker with one port.
#[derive(Clone, Default)]
pub(super) struct Turns(Rc<RefCell<Table>>);

#[derive(Default)]
struct Table {
    taken: u64,
    clients: HashMap<Peer, u64>,
}

/// One exchange, over when dropped.
pub(super) struct Turn {
    table: Rc<RefCell<Table>>,
    client: Peer,
}

/// What a client may have is this many times what is free.
const SHARE: u64 = 3;

impl Turns {
    /// Takes a turn of at most `most` in all; `None` when the client, or everybody together, has as many as it may.
    pub(super) fn take(&self, client: Peer, most: u64) -> Option<Turn> {
        let mut table = self.0.borrow_mut();
        let free = most.saturating_sub(table.taken);
        let held = table.clients.get(&client).copied().unwrap_or(0);
        if free == 0 || held >= free.saturating_mul(SHARE) {
            return None;
        }
        table.clients.insert(client, held.saturating_add(1));
        table.taken = table.taken.saturating_add(1);
        Some(Turn { table: Rc::clone(&self.0), client })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut table = self.table.borrow_mut();
        table.taken = table.taken.saturating_sub(1);
        match table.clients.get_mut(&self.client) {
            Some(held) if *held > 1 => *held -= 1,
            Some(_) | None => drop(table.clients.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(turns: &Turns, client: u8, most: u64) -> Vec<Turn> {
        let client = Peer::of([192, 0, 2, client].into());
        std::iter::from_fn(|| turns.take(client, most)).collect()
    }

    #[test]
    fn h2_a_client_leaves_a_quarter_to_the_next() {
        for (most, first, second) in [(1, 1, 0), (2, 2, 0), (4, 3, 1), (64, 48, 12), (256, 192, 48)] {
            let turns = Turns::default();
            let held = flood(&turns, 1, most);
            assert_eq!(held.len(), first, "of {most}");
            let others = flood(&turns, 2, most);
            assert_eq!(others.len(), second, "of {most}, after {first}");
            drop((held, others));
            assert!(turns.0.borrow().clients.is_empty() && turns.0.borrow().taken == 0);
        }
    }
}

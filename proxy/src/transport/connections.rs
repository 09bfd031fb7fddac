//! Which connections of a worker are open, and whose they are. One peer gets at most as many as are still free, so that
//! whoever floods is refused first. A connection on which nothing was asked yet is worth the least: it gives way to a
//! new one where its peer, or everybody together, has no more room (M5).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use tokio::sync::Notify;

use crate::peer::Peer;

/// Connections of one worker.
#[derive(Clone)]
pub(crate) struct Connections(Rc<RefCell<Table>>);

struct Table {
    most: usize,
    open: usize,
    next: u64,
    peers: HashMap<Peer, OfPeer>,
    /// Those on which nothing was asked yet, oldest first.
    silent: BTreeMap<u64, (Peer, Rc<Notify>)>,
}

#[derive(Default)]
struct OfPeer {
    open: usize,
    silent: BTreeSet<u64>,
}

/// A place among the open connections, given up when dropped.
pub(crate) struct Place {
    table: Rc<RefCell<Table>>,
    peer: Peer,
    number: u64,
    give_way: Rc<Notify>,
}

/// What comes of a new connection.
pub(crate) enum Admission {
    Admitted(Place),
    /// Another one, on which nothing was asked yet, has been told to give way.
    InPlaceOfAnother(Place),
    Refused,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Self {
        let table = Table { most, open: 0, next: 0, peers: HashMap::new(), silent: BTreeMap::new() };
        Self(Rc::new(RefCell::new(table)))
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.0.borrow().open
    }

    /// Takes a place for a new connection of this peer.
    pub(crate) fn enter(&self, peer: Peer) -> Admission {
        let mut table = self.0.borrow_mut();
        let free = table.most.saturating_sub(table.open);
        let held = table.peers.get(&peer).map_or(0, |of_peer| of_peer.open);
        let oldest = match (free, held < free) {
            (1.., true) => None,
            (1.., false) => Some(table.peers.get(&peer).and_then(|of_peer| of_peer.silent.first().copied())),
            (0, _) => Some(table.silent.first_key_value().map(|(number, _)| *number)),
        };
        let place = |table: &mut Table| Place {
            table: Rc::clone(&self.0),
            peer,
            number: table.next,
            give_way: table.insert(peer),
        };
        match oldest {
            None => Admission::Admitted(place(&mut table)),
            Some(None) => Admission::Refused,
            Some(Some(oldest)) => {
                table.tell(oldest);
                Admission::InPlaceOfAnother(place(&mut table))
            }
        }
    }
}

impl Connections {
    /// Tells every connection on which nothing was asked to give way.
    pub(crate) fn release_silent(&self) {
        let mut table = self.0.borrow_mut();
        while let Some(number) = table.silent.first_key_value().map(|(number, _)| *number) {
            table.tell(number);
        }
    }
}

impl Table {
    /// Told once, it is no longer among those that may be told.
    fn tell(&mut self, number: u64) {
        if let Some((_, silent)) = self.silent.get(&number) {
            silent.notify_one();
        }
        self.spoke(number);
    }

    fn insert(&mut self, peer: Peer) -> Rc<Notify> {
        let give_way = Rc::new(Notify::new());
        self.silent.insert(self.next, (peer, Rc::clone(&give_way)));
        let of_peer = self.peers.entry(peer).or_default();
        of_peer.open = of_peer.open.saturating_add(1);
        of_peer.silent.insert(self.next);
        self.open = self.open.saturating_add(1);
        self.next = self.next.wrapping_add(1);
        give_way
    }

    fn spoke(&mut self, number: u64) {
        if let Some((peer, _)) = self.silent.remove(&number)
            && let Some(of_peer) = self.peers.get_mut(&peer)
        {
            of_peer.silent.remove(&number);
        }
    }
}

impl Place {
    /// Resolves when another connection needs the place.
    pub(crate) fn wanted(&self) -> impl Future<Output = ()> + 'static + use<> {
        let give_way = Rc::clone(&self.give_way);
        async move { give_way.notified().await }
    }

    /// Something was asked: the place is kept.
    pub(crate) fn spoke(&self) {
        self.table.borrow_mut().spoke(self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.table.borrow_mut();
        table.spoke(self.number);
        table.open = table.open.saturating_sub(1);
        if let Some(of_peer) = table.peers.get_mut(&self.peer) {
            of_peer.open = of_peer.open.saturating_sub(1);
            if of_peer.open == 0 {
                table.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn peer(number: u8) -> Peer {
        Peer::of([192, 0, 2, number].into())
    }

    fn enter(connections: &Connections, number: u8) -> Option<Place> {
        match connections.enter(peer(number)) {
            Admission::Admitted(place) | Admission::InPlaceOfAnother(place) => Some(place),
            Admission::Refused => None,
        }
    }

    fn asked(connections: &Connections, number: u8) -> Option<Place> {
        enter(connections, number).inspect(Place::spoke)
    }

    #[test]
    fn m5_one_peer_gets_half_and_the_next_half_of_the_rest() {
        let connections = Connections::new(100);
        let flood = |number| std::iter::from_fn(|| asked(&connections, number)).collect::<Vec<_>>();
        let first = flood(1);
        assert_eq!(first.len(), 50);
        let second = flood(2);
        assert_eq!(second.len(), 25);
        for number in 3..20 {
            assert!(enter(&connections, number).is_some(), "{number}");
        }
        drop((first, second));
        assert_eq!(connections.open(), 0);
        assert!(connections.0.borrow().peers.is_empty() && connections.0.borrow().silent.is_empty());
    }

    #[test]
    fn m5_who_asked_nothing_gives_way_within_the_peer_and_among_all() {
        let connections = Connections::new(4);
        let silent = enter(&connections, 1).unwrap();
        let kept = asked(&connections, 1).unwrap();
        assert!(silent.wanted().now_or_never().is_none());
        // Its peer has its share.
        let next = asked(&connections, 1).unwrap();
        assert!(silent.wanted().now_or_never().is_some(), "the oldest silent one");
        assert!(kept.wanted().now_or_never().is_none() && next.wanted().now_or_never().is_none());
        assert!(enter(&connections, 1).is_none(), "nobody of this peer is silent");
        drop(silent);
        let (other, third) = (enter(&connections, 2).unwrap(), asked(&connections, 3));
        // Every place is taken; it does not matter whose the silent one is.
        assert!(third.is_some() && connections.open() == 4);
        let late = asked(&connections, 4);
        assert!(late.is_some() && other.wanted().now_or_never().is_some());
        assert!(enter(&connections, 5).is_none(), "everybody asked something");
    }
}

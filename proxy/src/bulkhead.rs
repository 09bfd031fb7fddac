//! Work for somebody else at a bounded pace: so many at a time, so many that wait, and of both one peer gets at most as
//! many as are still free. What finds no place is refused before anything is done for it; those that wait get their
//! turns in rounds, one for each peer, so that who comes anew does not stand behind a flood (H4, H5).

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::peer::Peer;

/// Bounds of one kind of work, shared by all workers.
pub(crate) struct Bulkhead {
    most_running: usize,
    most: usize,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    taken: usize,
    running: usize,
    peers: HashMap<Peer, usize>,
    waiting: HashMap<Peer, VecDeque<oneshot::Sender<Running>>>,
    /// Those that wait, who is next in front.
    round: VecDeque<Peer>,
}

/// A place among those that run or wait, given up when dropped.
pub(crate) struct Place {
    bulkhead: Arc<Bulkhead>,
    peer: Peer,
}

/// One of those that run; whoever is next gets it when it is dropped.
struct Running(Option<Arc<Bulkhead>>);

/// A turn; the place goes with it.
pub(crate) struct Turn {
    _running: Running,
    _place: Place,
}

/// Questions to one endpoint at the same time. Each has a connection of HTTP/1 to itself.
pub(crate) const QUESTIONS: usize = 64;

/// Questions that wait for their turn.
pub(crate) const QUESTIONS_WAITING: usize = 256;

/// Those of endpoints that are in use, by URL: whatever snapshot or rule asks there.
static ENDPOINTS: LazyLock<Mutex<HashMap<String, Weak<Bulkhead>>>> = LazyLock::new(Mutex::default);

impl Bulkhead {
    pub(crate) fn new(running: usize, waiting: usize) -> Arc<Self> {
        let most = running.saturating_add(waiting);
        Arc::new(Self { most_running: running, most, places: Mutex::default() })
    }

    /// That of an endpoint outside.
    pub(crate) fn of_endpoint(url: &str) -> Arc<Self> {
        let mut known = ENDPOINTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bulkhead) = known.get(url).and_then(Weak::upgrade) {
            return bulkhead;
        }
        known.retain(|_, bulkhead| bulkhead.strong_count() > 0);
        let fresh = Self::new(QUESTIONS, QUESTIONS_WAITING);
        known.insert(url.to_owned(), Arc::downgrade(&fresh));
        fresh
    }

    /// Takes a place; `None` when the peer, or everybody together, has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, peer: Peer) -> Option<Place> {
        let mut places = self.lock();
        let free = self.most.saturating_sub(places.taken);
        let held = places.peers.get(&peer).copied().unwrap_or(0);
        if free == 0 || (held > 0 && held >= free) {
            return None;
        }
        places.taken = places.taken.saturating_add(1);
        places.peers.insert(peer, held.saturating_add(1));
        Some(Place { bulkhead: Arc::clone(self), peer })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// A peer that asks and goes away again, over and over, leaves nothing behind in the meantime.
    fn forget_those_that_gave_up(&mut self, peer: Peer) {
        let Some(queue) = self.waiting.get_mut(&peer) else { return };
        queue.retain(|waiting| !waiting.is_closed());
        if queue.is_empty() {
            self.waiting.remove(&peer);
            self.round.retain(|waiting| *waiting != peer);
        }
    }

    /// Who is next, and its peer goes to the end of the round; those that gave up are passed over.
    fn next(&mut self) -> Option<oneshot::Sender<Running>> {
        while let Some(peer) = self.round.pop_front() {
            let Some(queue) = self.waiting.get_mut(&peer) else { continue };
            let next = std::iter::from_fn(|| queue.pop_front()).find(|waiting| !waiting.is_closed());
            if queue.is_empty() {
                self.waiting.remove(&peer);
            } else {
                self.round.push_back(peer);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

impl Place {
    /// Waits for the turn, so long at the most.
    pub(crate) async fn turn(self, patience: Duration) -> Option<Turn> {
        let running = match self.queue() {
            Ok(running) => running,
            Err(turn) => tokio::time::timeout(patience, turn).await.ok()?.ok()?,
        };
        Some(Turn { _running: running, _place: self })
    }

    /// The turn, or where it will be announced.
    fn queue(&self) -> Result<Running, oneshot::Receiver<Running>> {
        let mut places = self.bulkhead.lock();
        if places.running < self.bulkhead.most_running {
            places.running = places.running.saturating_add(1);
            return Ok(Running(Some(Arc::clone(&self.bulkhead))));
        }
        let (next, turn) = oneshot::channel();
        let queue = places.waiting.entry(self.peer).or_default();
        queue.push_back(next);
        if queue.len() == 1 {
            places.round.push_back(self.peer);
        }
        Err(turn)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(bulkhead) = self.0.take() else { return };
        loop {
            let next = {
                let mut places = bulkhead.lock();
                let next = places.next();
                if next.is_none() {
                    places.running = places.running.saturating_sub(1);
                }
                next
            };
            match next.map(|next| next.send(Self(Some(Arc::clone(&bulkhead))))) {
                // It gave up meanwhile: this one is not to be handed on twice.
                Some(Err(mut given_up)) => given_up.0 = None,
                Some(Ok(())) | None => return,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.bulkhead.lock();
        places.taken = places.taken.saturating_sub(1);
        places.forget_those_that_gave_up(self.peer);
        match places.peers.get_mut(&self.peer) {
            Some(held) if *held > 1 => *held = held.saturating_sub(1),
            Some(_) | None => drop(places.peers.remove(&self.peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(number: u8) -> Peer {
        Peer::of([192, 0, 2, number].into())
    }

    #[tokio::test(start_paused = true)]
    async fn h4_so_many_at_a_time_so_many_wait_and_the_rest_is_refused() {
        let bulkhead = Bulkhead::new(2, 4);
        let places: Vec<_> = (1..=8).filter_map(|number| bulkhead.enter(peer(number))).collect();
        assert_eq!(places.len(), 6);
        let mut turns = Vec::new();
        for place in places {
            let mut turn = Box::pin(place.turn(SECOND));
            let now = (&mut turn).now_or_never();
            turns.push((now.is_some(), now, turn));
        }
        let running: Vec<_> = turns.iter().map(|(running, ..)| *running).collect();
        assert_eq!(running, [true, true, false, false, false, false]);
        drop(turns);
        assert!(bulkhead.enter(peer(9)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn h4_who_waits_too_long_gives_up_and_its_place_is_free() {
        let bulkhead = Bulkhead::new(1, 1);
        let first = bulkhead.enter(peer(1)).unwrap().turn(SECOND).await;
        assert!(first.is_some());
        for number in 2..=200 {
            assert!(bulkhead.enter(peer(number % 2 + 2)).unwrap().turn(SECOND).await.is_none());
            let places = bulkhead.lock();
            assert!(places.waiting.is_empty() && places.round.is_empty(), "who gave up takes no room");
        }
        drop(first);
        assert!(bulkhead.enter(peer(2)).unwrap().turn(SECOND).await.is_some());
        assert!(bulkhead.lock().peers.is_empty() && bulkhead.lock().taken == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn h4_who_comes_anew_is_next_however_many_wait_of_those_that_flood() {
        let bulkhead = Bulkhead::new(1, 255);
        let flood = |number| std::iter::from_fn(|| bulkhead.enter(peer(number))).collect::<Vec<_>>();
        let mut first = bulkhead.enter(peer(1)).unwrap().turn(SECOND).await;
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let wait = |number: u8, place: Place| {
            let order = std::rc::Rc::clone(&order);
            async move {
                let turn = place.turn(SECOND).await;
                order.borrow_mut().push(number);
                drop(turn);
            }
        };
        let mut waiting = futures_util::stream::FuturesUnordered::new();
        for number in [1, 2] {
            waiting.extend(flood(number).into_iter().map(|place| wait(number, place)));
        }
        while futures_util::StreamExt::next(&mut waiting).now_or_never().is_some() {}
        waiting.push(wait(3, bulkhead.enter(peer(3)).unwrap()));
        while futures_util::StreamExt::next(&mut waiting).now_or_never().is_some() {}
        first.take();
        while futures_util::StreamExt::next(&mut waiting).await.is_some() {}
        assert!(order.borrow().len() > 180);
        assert_eq!(order.borrow().iter().position(|number| *number == 3), Some(2));
        assert_eq!(order.borrow()[..6], [1, 2, 3, 1, 2, 1]);
        let places = bulkhead.lock();
        assert_eq!((places.running, places.taken), (0, 0));
        assert!(places.waiting.is_empty() && places.round.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn h4_a_turn_that_was_given_up_is_not_lost() {
        let bulkhead = Bulkhead::new(1, 8);
        let first = bulkhead.enter(peer(1)).unwrap().turn(SECOND).await;
        let mut given_up = Box::pin(bulkhead.enter(peer(2)).unwrap().turn(SECOND));
        let mut next = Box::pin(bulkhead.enter(peer(3)).unwrap().turn(SECOND));
        assert!((&mut given_up).now_or_never().is_none() && (&mut next).now_or_never().is_none());
        // Announced, and dropped before it was looked at.
        drop(first);
        drop(given_up);
        drop(next.await.unwrap());
        assert!(bulkhead.enter(peer(4)).unwrap().turn(Duration::ZERO).await.is_some());
    }

    #[test]
    fn h4_one_peer_leaves_half_to_the_others() {
        let bulkhead = Bulkhead::new(QUESTIONS, QUESTIONS_WAITING);
        let flood = |number| std::iter::from_fn(|| bulkhead.enter(peer(number))).collect::<Vec<_>>();
        let first = flood(1);
        let places = QUESTIONS + QUESTIONS_WAITING;
        assert_eq!(first.len(), places / 2);
        assert_eq!(flood(2).len(), places / 4);
    }

    #[test]
    fn h4_one_endpoint_has_one_bulkhead_whoever_asks_there() {
        let first = Bulkhead::of_endpoint("https://login.example.com/introspect");
        assert!(Arc::ptr_eq(&first, &Bulkhead::of_endpoint("https://login.example.com/introspect")));
        assert!(!Arc::ptr_eq(&first, &Bulkhead::of_endpoint("https://login.example.com/token")));
    }
}

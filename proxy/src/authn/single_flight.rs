//! One question at a time for one token. The one who asks first starts a task of its own, so that a caller who hangs
//! up takes nobody's answer away.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::TokenDigest;

/// Questions under way. The lock is held for a look-up in a map, and only when a cache missed.
pub(super) struct SingleFlight<T> {
    running: Mutex<HashMap<TokenDigest, watch::Receiver<Option<T>>>>,
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    pub(super) fn new() -> Self {
        Self { running: Mutex::new(HashMap::new()) }
    }

    /// Joins the question about this token, or asks it, unless `ask` says at once why not. `None`: whoever asked was torn
    /// down before there was an answer.
    pub(super) async fn join<F>(
        self: std::sync::Arc<Self>,
        token: TokenDigest,
        ask: impl FnOnce() -> Result<F, T> + Send,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut answer = match self.enter(token, ask) {
            Ok(answer) => answer,
            Err(refused) => return Some(refused),
        };
        let found = answer.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }

    fn enter<F>(
        self: &std::sync::Arc<Self>,
        token: TokenDigest,
        ask: impl FnOnce() -> Result<F, T> + Send,
    ) -> Result<watch::Receiver<Option<T>>, T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.lock();
        // A question whose asker is gone has no answer to wait for.
        if let Some(answer) = running.get(&token).filter(|answer| answer.has_changed().is_ok()) {
            return Ok(answer.clone());
        }
        let question = ask()?;
        let (sender, receiver) = watch::channel(None);
        running.insert(token, receiver.clone());
        let flights = std::sync::Arc::clone(self);
        drop(tokio::spawn(async move {
            let answer = question.await;
            flights.lock().remove(&token);
            sender.send_replace(Some(answer));
        }));
        Ok(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenDigest, watch::Receiver<Option<T>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::authn::TokenDigester;

    #[tokio::test]
    async fn many_callers_make_one_question_even_when_the_first_hangs_up() {
        let flights = Arc::new(SingleFlight::<usize>::new());
        let asked = Arc::new(AtomicUsize::new(0));
        let token = TokenDigester::new(&[1; 64]).digest("token");
        let join = || {
            let (flights, asked) = (Arc::clone(&flights), Arc::clone(&asked));
            let ask = move || {
                Ok(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    asked.fetch_add(1, Ordering::SeqCst)
                })
            };
            flights.join(token, ask)
        };
        let mut first = Box::pin(join());
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        let others = futures_util::future::join_all((0..64).map(|_| join())).await;
        assert_eq!((others, asked.load(Ordering::SeqCst)), (vec![Some(0); 64], 1));
        assert_eq!(join().await, Some(1), "an answered question is not remembered here");
        let refuse = || Err::<std::future::Ready<usize>, _>(7);
        assert_eq!(Arc::clone(&flights).join(token, refuse).await, Some(7), "h4: refused before it is asked");
    }
}

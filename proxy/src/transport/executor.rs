//! Runs what hyper wants to run, on the worker that it belongs to.

use std::{cell::Cell, future::poll_fn, task::Poll};

use tokio::time::Instant;

/// Spawns on the current thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalExecutor;

/// The same for the streams of a client's connection, each of which ends at its own moment at the latest.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamExecutor;

tokio::task_local! {
    /// When the stream of this task ends, once its answer has begun.
    static ENDS_AT: Cell<Option<Instant>>;
}

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        drop(tokio::task::spawn_local(task));
    }
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        drop(tokio::task::spawn_local(ENDS_AT.scope(Cell::new(None), until_it_ends(task))));
    }
}

/// Has the stream of this task end at this moment; false outside of one.
pub(super) fn end_stream_at(moment: Instant) -> bool {
    ENDS_AT.try_with(|ends_at| ends_at.set(Some(moment))).is_ok()
}

/// Runs a stream to its end or to its moment. Dropped before its end it is reset, and gives up what it holds, whether
/// the client reads or not.
async fn until_it_ends(task: impl Future) {
    tokio::select! {
        biased;
        _ = task => {}
        () = moment() => {}
    }
}

/// Polled whenever the stream is, so that nobody has to be woken when the moment is set.
async fn moment() {
    let set = || ENDS_AT.try_with(Cell::get).ok().flatten();
    let ends_at = poll_fn(|_| set().map_or(Poll::Pending, Poll::Ready)).await;
    tokio::time::sleep_until(ends_at).await;
}

//! Where the process ends: at the n-th point that it passes.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Counts points down; at zero whoever passes waits for ever, and the owner of the future is told to drop it.
pub(super) struct Failpoint {
    left: Mutex<Option<u64>>,
    blown_at: Mutex<Option<String>>,
    blown: Notify,
}

impl Failpoint {
    /// `None`: never.
    pub(super) fn new(points: Option<u64>) -> Self {
        Self { left: Mutex::new(points), blown_at: Mutex::new(None), blown: Notify::new() }
    }

    /// A point between two awaits of the code under test.
    pub(super) async fn pass(&self, name: &str) {
        let ends = {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            match left.as_mut() {
                None => false,
                Some(0) => true,
                Some(count) => {
                    *count -= 1;
                    false
                }
            }
        };
        if ends {
            *self.blown_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
            self.blown.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Ends when the process is to end, with the point.
    pub(super) async fn blown(&self) -> String {
        self.blown.notified().await;
        self.blown_at.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }
}

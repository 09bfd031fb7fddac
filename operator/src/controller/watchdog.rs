//! Watches the compiler from beside it: a compilation that does not end fails `/livez`, and names the object.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portreeve_compiler::Progress;
use portreeve_crds::ObjectRef;
use prometheus::HistogramVec;
use tokio::time::Instant;

/// A compilation of everything that takes longer than this will not end.
const LONGEST: Duration = Duration::from_secs(30);

/// An object that takes longer than this is named in the log.
const SLOW: Duration = Duration::from_millis(250);

/// The compilation that is under way, if any. Cheap to clone, shared.
#[derive(Clone, Default)]
pub(crate) struct Watchdog(Arc<Mutex<Option<UnderWay>>>);

struct UnderWay {
    since: Instant,
    object: Option<(ObjectRef, Instant)>,
    objects: HistogramVec,
}

/// While it lives, a compilation is under way.
pub(crate) struct Watched(Watchdog);

impl Watchdog {
    /// A compilation begins.
    pub(crate) fn start(&self, objects: HistogramVec) -> Watched {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(UnderWay { since: Instant::now(), object: None, objects });
        Watched(self.clone())
    }

    /// Says why the process should be restarted, if it should.
    pub(crate) fn stuck(&self) -> Option<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let UnderWay { since, object, objects: _ } = held.as_ref()?;
        let elapsed = since.elapsed();
        let at = object.as_ref().map_or_else(|| "the objects".to_owned(), |(object, _)| object.to_string());
        (elapsed > LONGEST).then(|| format!("compiling {at} for {} s; delete or correct it\n", elapsed.as_secs()))
    }
}

impl UnderWay {
    /// Notes how long the object took that was looked at until now.
    fn finish_object(&mut self) {
        let Some((object, began)) = self.object.take() else { return };
        let elapsed = began.elapsed();
        self.objects.with_label_values(&[object.kind.as_str()]).observe(elapsed.as_secs_f64());
        if elapsed > SLOW {
            tracing::warn!(%object, ?elapsed, "this object takes long to compile");
        }
    }
}

impl Progress for Watched {
    fn object(&self, object: &ObjectRef) {
        let mut held = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = held.as_mut() {
            under_way.finish_object();
            under_way.object = Some((object.clone(), Instant::now()));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut held = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut under_way) = held.take() {
            under_way.finish_object();
        }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_crds::ObjectKind;

    use super::*;
    use crate::telemetry::Metrics;

    #[tokio::test(start_paused = true)]
    async fn c2_a_compilation_that_does_not_end_is_told_with_its_object_d7() {
        let (watchdog, metrics) = (Watchdog::default(), Metrics::new().unwrap());
        assert_eq!(watchdog.stuck(), None);
        let watched = watchdog.start(metrics.compile_objects.clone());
        watched.object(&ObjectRef::new(ObjectKind::ApiPolicy, "shop", "slow"));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(watchdog.stuck(), None);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(watchdog.stuck().unwrap(), "compiling ApiPolicy shop/slow for 31 s; delete or correct it\n");
        drop(watched);
        assert_eq!(watchdog.stuck(), None);
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("portreeve_operator_compile_object_seconds_sum{kind=\"ApiPolicy\"} 31"), "{text}");
    }
}

//! Requests without a pause, while something else happens; every one of them counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use tokio::{task::JoinHandle, time::sleep};

use crate::{kubectl::text, web::Web};

/// Callers at the same time.
const CALLERS: usize = 4;

/// Between two requests of a caller.
const PAUSE: Duration = Duration::from_millis(10);

type Reached = Arc<Mutex<BTreeSet<String>>>;

/// Requests that go on until `stop`.
#[derive(Debug)]
pub(crate) struct Traffic {
    ending: Arc<AtomicBool>,
    /// Pods that answered.
    reached: Reached,
    callers: Vec<JoinHandle<Tally>>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    good: u64,
    /// By kind, with how often.
    bad: BTreeMap<String, u64>,
    pods: usize,
}

impl Traffic {
    pub(crate) fn start(web: &Web, url: &str, token: &str) -> Self {
        let (ending, reached) = (Arc::new(AtomicBool::new(false)), Reached::default());
        let caller = |_| {
            let (web, url, token) = (web.clone(), url.to_owned(), token.to_owned());
            let (ending, reached) = (Arc::clone(&ending), Arc::clone(&reached));
            tokio::spawn(async move { call(&web, &url, &token, &ending, &reached).await })
        };
        Self { callers: (0..CALLERS).map(caller).collect(), ending, reached }
    }

    /// Whether this pod has answered.
    pub(crate) fn reached(&self, pod: &str) -> bool {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).contains(pod)
    }

    pub(crate) async fn stop(self) -> Result<Tally> {
        self.ending.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for caller in self.callers {
            let Tally { good, bad, pods: _ } = caller.await?;
            all.good += good;
            for (kind, count) in bad {
                *all.bad.entry(kind).or_default() += count;
            }
        }
        all.pods = self.reached.lock().unwrap_or_else(PoisonError::into_inner).len();
        Ok(all)
    }
}

impl Tally {
    /// Every request was answered well, and there were some.
    pub(crate) fn spotless(&self) -> Result<String> {
        let bad: u64 = self.bad.values().sum();
        ensure!(bad == 0, "{bad} of {} requests failed: {:?}", bad + self.good, self.bad);
        ensure!(self.good > 0, "no request was made");
        Ok(format!("0 of {} requests to {} pods failed", self.good, self.pods))
    }
}

async fn call(web: &Web, url: &str, token: &str, ending: &AtomicBool, reached: &Reached) -> Tally {
    let mut tally = Tally::default();
    while !ending.load(Ordering::Relaxed) {
        match web.get(url, Some(token)).await {
            Ok(answer) if answer.status == 200 => {
                tally.good += 1;
                let pod = answer.json().map(|body| text(&body, "/instance").to_owned()).unwrap_or_default();
                reached.lock().unwrap_or_else(PoisonError::into_inner).insert(pod);
            }
            Ok(answer) => *tally.bad.entry(answer.outcome()).or_default() += 1,
            Err(fault) => *tally.bad.entry(format!("{:#}", fault.root_cause())).or_default() += 1,
        }
        sleep(PAUSE).await;
    }
    tally
}

//! From a request to an answer, in a fixed order of stages: canonical request → route → authenticate → authorize →
//! credentials → upstream → record. A stage is one file below `stages/`; a refusal on the way is a [`Denial`].

mod access;
mod answer;
mod body;
mod build;
mod canonical;
mod challenge;
mod client_side;
mod cors;
mod decision_id;
mod denial;
mod dispatch;
mod fields;
mod forwarded;
mod guard;
mod hop;
mod interim;
mod metrics;
mod options;
mod order;
mod preflight;
mod protected_resource;
mod pseudonym;
mod record;
mod records;
mod request_body;
mod request_context;
mod respond;
mod router;
mod runtime;
mod service;
mod stages;

/// What docs/limits.md tells of.
pub(crate) mod bounds {
    pub(crate) use super::{
        answer::{UPGRADED_BUFFER, UPGRADED_IDLE},
        canonical::{MAX_COOKIES, MAX_FIELDS, MAX_HEAD_H2},
        order::PREFLIGHT_TIMEOUT,
        preflight::MAX_PREFLIGHTS,
        record::MAX_TEXT,
        records::{GATHERING, MAX_BYTES},
        request_body::{DISCARD_TIME, MAX_DISCARDED},
        stages::shadow::{DRY_RUN_TIME, MAX_DRY_RUNS},
    };
}

pub use access::{AccessLog, InvalidAccessLog};
pub use body::{AnswerBody, AtEnd, BodyFault, UpstreamBody};
pub use build::{BuildContext, Rejection, build};
pub use canonical::{CanonicalRequest, Connection, InvalidRequest, Scheme};
pub(crate) use canonical::{MAX_COOKIES, MAX_FIELDS, MAX_HEAD_H2};
pub use challenge::{Challenge, ChallengeScheme};
pub use client_side::ClientSide;
pub use decision_id::DecisionIds;
pub use denial::{Denial, TokenFault};
pub use dispatch::{Dispatch, Lane, UpstreamFault};
pub use interim::Interim;
pub(crate) use interim::bound as interim_bound;
pub use metrics::{Metrics, OpenConnection, RuleMetrics};
pub(crate) use preflight::MAX_PREFLIGHTS;
pub use preflight::PreflightFault;
pub use pseudonym::Pseudonym;
pub use record::DecisionRecord;
pub use records::{Records, WorkerRecords};
pub use request_body::{RequestBody, Upload};
pub use runtime::{Runtime, SharedRuntime};
pub use service::{RequestHandler, RequestHandlerConfig};
pub use stages::shadow::ShadowDecision;

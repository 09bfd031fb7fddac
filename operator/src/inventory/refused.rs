//! What the API server's refusals mean, and what to do about them. Object texts never get in.

use kube::{core::Status, runtime::watcher};

/// One line for a log: cause, place, cure. `resource` is e.g. `secrets in namespace shop`.
pub(crate) fn explain(fault: &kube::Error, resource: &str) -> String {
    match fault {
        kube::Error::Api(status) => explain_status(status, "use", resource),
        kube::Error::Service(_) | kube::Error::HyperError(_) => "the API server cannot be reached".to_owned(),
        // Other texts may hold parts of objects.
        other => format!("the call failed: {}", category(other)),
    }
}

/// The same for a watch.
pub(super) fn explain_watch(fault: &watcher::Error, resource: &str) -> String {
    match fault {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => explain_status(status, "list", resource),
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => explain_status(status, "watch", resource),
        watcher::Error::WatchError(status) => explain_status(status, "watch", resource),
        watcher::Error::InitialListFailed(fault)
        | watcher::Error::WatchStartFailed(fault)
        | watcher::Error::WatchFailed(fault) => format!("cannot watch {resource}: {}", explain(fault, resource)),
        watcher::Error::NoResourceVersion => format!("cannot watch {resource}: the answer has no resourceVersion"),
    }
}

fn explain_status(status: &Status, verb: &str, resource: &str) -> String {
    match status.code {
        403 => {
            let bare = resource.split(' ').next().unwrap_or(resource);
            let verbs = if verb == "use" { "the verbs that the chart's role lists" } else { "verbs get, list, watch" };
            format!("cannot {verb} {resource}: forbidden; grant {verbs} on {bare} to the operator's ServiceAccount")
        }
        404 if verb != "use" => format!("cannot {verb} {resource}: unknown; kubectl apply the definitions in crds/ first"),
        code => format!("cannot {verb} {resource}: the API server answered {code} {}", status.reason),
    }
}

fn category(fault: &kube::Error) -> &'static str {
    if matches!(fault, kube::Error::SerdeError(_)) { "an answer that is not understood" } else { "client error" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_grant_is_named_with_its_cure() {
        let status = Status { code: 403, ..Status::failure("c4n4ry", "Forbidden") };
        let told = explain_watch(
            &watcher::Error::InitialListFailed(kube::Error::Api(status.boxed())),
            "secrets in namespace shop",
        );
        assert_eq!(
            told,
            "cannot list secrets in namespace shop: forbidden; grant verbs get, list, watch on secrets to the operator's \
             ServiceAccount"
        );
    }
}

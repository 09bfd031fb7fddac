//! What the API server's refusals mean, and what to do about them. Object texts never get in.

use kube::{core::Status, runtime::watcher};

/// One line for a log: cause, place, cure. `resource` is e.g. `secrets in namespace shop`.
pub(crate) fn explain(fault: &kube::Error, resource: &str) -> String {
    if let kube::Error::Api(status) = fault {
        return explain_status(status, "use", resource);
    }
    // Texts of the library may hold parts of objects.
    let what = if matches!(fault, kube::Error::SerdeError(_)) {
        "the API server's answer is not understood"
    } else {
        "the API server cannot be reached"
    };
    format!("cannot use {resource}: {what}")
}

/// The same for a watch.
pub(super) fn explain_watch(fault: &watcher::Error, resource: &str) -> String {
    match fault {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => explain_status(status, "list", resource),
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) | watcher::Error::WatchError(status) => {
            explain_status(status, "watch", resource)
        }
        watcher::Error::InitialListFailed(fault)
        | watcher::Error::WatchStartFailed(fault)
        | watcher::Error::WatchFailed(fault) => explain(fault, resource),
        watcher::Error::NoResourceVersion => format!("cannot watch {resource}: the answer has no resourceVersion"),
    }
}

fn explain_status(status: &Status, verb: &str, resource: &str) -> String {
    match status.code {
        403 => {
            let bare = resource.split(' ').next().unwrap_or(resource);
            let missing = missing_verb(&status.message).unwrap_or(verb);
            let verbs = if verb == "use" { format!("verb {missing}") } else { "verbs get, list, watch".to_owned() };
            format!("cannot {missing} {resource}: forbidden; grant {verbs} on {bare} to the operator's ServiceAccount")
        }
        404 if verb != "use" => {
            format!("cannot {verb} {resource}: unknown; kubectl apply the definitions in crds/ first")
        }
        code => format!("cannot {verb} {resource}: the API server answered {code} {}", status.reason),
    }
}

/// The verb out of `... cannot VERB resource ...`; nothing else of the text is used.
fn missing_verb(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(" cannot ")?;
    let verb = rest.split(' ').next()?;
    (!verb.is_empty() && verb.len() < 16 && verb.bytes().all(|b| b.is_ascii_lowercase())).then_some(verb)
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

    #[test]
    fn a_call_names_the_verb_that_the_server_missed() {
        let message =
            "secrets \"c4n4ry\" is forbidden: User \"x\" cannot create resource \"secrets\" in API group \"\"";
        let status = Status { code: 403, ..Status::failure(message, "Forbidden") };
        let told = explain(&kube::Error::Api(status.boxed()), "secrets in namespace shop");
        assert!(
            told.starts_with("cannot create secrets in namespace shop: forbidden; grant verb create on secrets"),
            "{told}"
        );
        assert!(!told.contains("c4n4ry"));
    }
}

//! Pods that took credentials in when they started and cannot notice new ones: by an environment variable or a subPath.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// Whether a pod that began to run before `since` (seconds since 1970) still works with what the Secret held then. A
/// Secret mounted as a folder follows by itself.
pub(super) fn holds_old(pod: &Pod, secret: &str, since: u64) -> bool {
    let status = pod.status.as_ref();
    let over = status.and_then(|status| status.phase.as_deref()).is_some_and(|p| matches!(p, "Succeeded" | "Failed"));
    let started = status.and_then(|status| status.start_time.as_ref()).map(|time| time.0.as_second());
    let earlier = started.is_some_and(|at| u64::try_from(at).is_ok_and(|at| at <= since));
    !over && earlier && pod.spec.as_ref().is_some_and(|spec| is_fixed(spec, secret))
}

fn is_fixed(spec: &PodSpec, secret: &str) -> bool {
    let named = |volume: &&k8s_openapi::api::core::v1::Volume| {
        let own = volume.secret.as_ref().and_then(|own| own.secret_name.as_deref()) == Some(secret);
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        own || projected.filter_map(|source| source.secret.as_ref()).any(|source| source.name == secret)
    };
    let volumes: Vec<&str> = spec.volumes.iter().flatten().filter(named).map(|volume| volume.name.as_str()).collect();
    let every = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    every.into_iter().any(|container| in_environment(container, secret) || by_sub_path(container, &volumes))
}

fn in_environment(container: &Container, secret: &str) -> bool {
    let whole = container.env_from.iter().flatten().filter_map(|source| source.secret_ref.as_ref());
    let single = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
    whole
        .map(|source| source.name.as_str())
        .chain(single.filter_map(|source| source.secret_key_ref.as_ref()).map(|key| key.name.as_str()))
        .any(|name| name == secret)
}

fn by_sub_path(container: &Container, volumes: &[&str]) -> bool {
    let fixed = |mount: &k8s_openapi::api::core::v1::VolumeMount| {
        volumes.contains(&mount.name.as_str()) && (mount.sub_path.is_some() || mount.sub_path_expr.is_some())
    };
    container.volume_mounts.iter().flatten().any(fixed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::holds_old;

    #[test]
    fn only_what_was_fixed_at_the_start_counts() {
        let volume = json!([{"name": "v", "secret": {"secretName": "oauth"}}]);
        let container = |more: Value| {
            let mut container = json!({"name": "a"});
            container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"containers": [container], "volumes": volume})
        };
        for (name, spec, start, phase, expected) in [
            ("a folder", container(json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}]})), 1, "Running", false),
            (
                "one file of it",
                container(json!({"volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "client_id"}]})),
                1,
                "Running",
                true,
            ),
            ("all as variables", container(json!({"envFrom": [{"secretRef": {"name": "oauth"}}]})), 1, "Running", true),
            ("others as variables", container(json!({"envFrom": [{"secretRef": {"name": "x"}}]})), 1, "Running", false),
            (
                "one as variable",
                container(
                    json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "oauth", "key": "k"}}}]}),
                ),
                1,
                "Running",
                true,
            ),
            ("started later", container(json!({"envFrom": [{"secretRef": {"name": "oauth"}}]})), 11, "Running", false),
            ("over", container(json!({"envFrom": [{"secretRef": {"name": "oauth"}}]})), 1, "Succeeded", false),
        ] {
            let time = crate::clock::rfc3339(start);
            let pod = json!({"metadata": {}, "spec": spec, "status": {"phase": phase, "startTime": time}});
            assert_eq!(holds_old(&serde_json::from_value(pod).unwrap(), "oauth", 10), expected, "{name}");
        }
    }
}

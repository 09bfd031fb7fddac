//! What the fleet runs, seen against what is compiled now.

use std::collections::BTreeMap;

use portreeve_compiler::{FleetView, PodView};
use portreeve_policy::{NamespacedName, ResourceKind};

use crate::distribute::{PodState, Published};

/// A route is current on a pod when the pod runs it in the form that is compiled now.
pub(super) fn fleet_view(pods: &BTreeMap<NamespacedName, PodState>, published: &Published) -> FleetView {
    let of_pod = |(pod, state): (&NamespacedName, &PodState)| {
        let mut view = PodView::default();
        for (name, digest) in state.running.iter().filter(|(name, _)| name.kind == ResourceKind::Route) {
            let Ok(route) = name.name.parse::<NamespacedName>() else { continue };
            if published.routes.get(&route) == Some(digest) {
                view.current.insert(route);
            }
        }
        for (name, reason) in state.rejected.iter().filter(|(name, _)| name.kind == ResourceKind::Route) {
            if let Ok(route) = name.name.parse() {
                view.rejected.insert(route, reason.clone());
            }
        }
        (pod.clone(), view)
    };
    FleetView { pods: pods.iter().map(of_pod).collect() }
}

#[cfg(test)]
mod tests {
    use portreeve_policy::ResourceName;
    use portreeve_wire::Digest;

    use super::*;

    #[test]
    fn only_the_form_that_is_compiled_now_counts() {
        let name = |text: &str| text.parse::<NamespacedName>().unwrap();
        let (new, old) = (Digest::of(b"new"), Digest::of(b"old"));
        let published = Published::of_routes([(name("shop/a"), new), (name("shop/b"), new)].into());
        let state = PodState {
            running: [(ResourceName::route(&name("shop/a")), new), (ResourceName::route(&name("shop/b")), old)].into(),
            rejected: [(ResourceName::route(&name("shop/c")), "why".to_owned())].into(),
        };
        let view = fleet_view(&[(name("shop/pod"), state)].into(), &published);
        let pod = &view.pods[&name("shop/pod")];
        assert_eq!(pod.current, [name("shop/a")].into());
        assert_eq!(pod.rejected.len(), 1);
    }
}

//! What the fleet runs, seen against what is compiled now.

use std::{collections::BTreeMap, sync::Arc};

use portreeve_compiler::{FleetView, PodView};
use portreeve_policy::{Access, NamespacedName, ResourceKind, Route};

use crate::distribute::{PodState, Published};

/// A route is current on a pod when the pod runs it in the form that is compiled now. A token service that the pod cannot
/// run counts against the routes that need it.
pub(super) fn fleet_view(
    pods: &BTreeMap<NamespacedName, PodState>,
    published: &Published,
    routes: &BTreeMap<NamespacedName, Arc<Route>>,
) -> FleetView {
    let of_pod = |(pod, state): (&NamespacedName, &PodState)| {
        let mut view = PodView::default();
        for (name, digest) in state.running.iter().filter(|(name, _)| name.kind == ResourceKind::Route) {
            let Ok(route) = name.name.parse::<NamespacedName>() else { continue };
            if published.routes.get(&route) == Some(digest) {
                view.current.insert(route);
            }
        }
        for (name, reason) in &state.rejected {
            let Ok(rejected) = name.name.parse::<NamespacedName>() else { continue };
            match name.kind {
                ResourceKind::Route => drop(view.rejected.insert(rejected, reason.clone())),
                ResourceKind::Secret => {}
                ResourceKind::TokenService => {
                    let needs = |route: &NamespacedName| routes.get(route).is_some_and(|route| uses(route, &rejected));
                    for route in view.current.extract_if(.., needs) {
                        view.rejected.insert(route, format!("TokenService {rejected}: {reason}"));
                    }
                }
            }
        }
        (pod.clone(), view)
    };
    FleetView { pods: pods.iter().map(of_pod).collect() }
}

fn uses(route: &Route, service: &NamespacedName) -> bool {
    route.rules.iter().any(|rule| match &rule.access {
        Access::Guarded { authentication, .. } => authentication.token_services().any(|name| name == service),
        Access::Refused(_) => false,
    })
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
        let view = fleet_view(&[(name("shop/pod"), state)].into(), &published, &BTreeMap::new());
        let pod = &view.pods[&name("shop/pod")];
        assert_eq!(pod.current, [name("shop/a")].into());
        assert_eq!(pod.rejected.len(), 1);
    }
}

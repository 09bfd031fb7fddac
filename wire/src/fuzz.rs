//! What a fuzzer calls; see the module of the same name in `policy`.

use portreeve_policy::{ResourceKind, ResourceName};

use crate::{decode_resource, proto, refusing_route};

/// Every target of this crate.
pub const TARGETS: [portreeve_policy::fuzz::Target; 2] = [
    ("resource", |data| decode(data)),
    // A fuzzer does not find a compressed text by itself.
    ("resource_text", |data| decode(&zstd::encode_all(data, 1).unwrap_or_default())),
];

fn decode(payload: &[u8]) {
    let digest = crate::Digest::of(&zstd::decode_all(payload).unwrap_or_default());
    for kind in [ResourceKind::Route, ResourceKind::TokenService] {
        let name = ResourceName { kind, name: "a/b".to_owned() };
        let resource = proto::Resource {
            kind: "route".to_owned(),
            name: name.name.clone(),
            digest: digest.as_bytes().to_vec().into(),
            payload: payload.to_vec().into(),
        };
        drop(decode_resource(&name, &resource));
        drop(refusing_route(&resource));
    }
}

//! What the tests of several modules share.

use crate::{ClientMetadata, Deletion, Desired, Endpoint, InsecureHttp};

pub(crate) fn endpoint() -> Endpoint {
    Endpoint::parse("https://login.example.com/reg", InsecureHttp::Refused).unwrap()
}

pub(crate) fn desired_as(deletion: Deletion, change: impl FnOnce(&mut ClientMetadata)) -> Desired {
    let mut metadata = ClientMetadata {
        client_name: Some("shop".to_owned()),
        grant_types: vec!["client_credentials".to_owned()],
        ..ClientMetadata::default()
    };
    change(&mut metadata);
    Desired::new(&metadata.validate().unwrap(), endpoint(), "uid-1", 1, deletion)
}

pub(crate) fn desired_with(change: impl FnOnce(&mut ClientMetadata)) -> Desired {
    desired_as(Deletion::Keep, change)
}

//! A client of ours with the tokens that may open it.

use http::{Response, StatusCode};

use crate::{
    Desired, Error, JournalEntry, Registration, Secret, Step, Transport, Unmanageable,
    client::{described, failure, management_request},
};

/// The client and the tokens that may open it.
pub(super) struct Held {
    pub(super) registration: Registration,
    token: Secret,
    previous: Option<Secret>,
}

impl Held {
    /// Refuses a client that cannot be managed before any intent is written.
    pub(super) fn of(step: Step, desired: &Desired, entry: &JournalEntry) -> Result<Self, Error> {
        Self::new(step, desired, entry, entry.registration.as_ref(), entry.previous_token.clone())
    }

    /// A client that was replaced.
    pub(super) fn retired(desired: &Desired, entry: &JournalEntry, registration: &Registration) -> Result<Self, Error> {
        Self::new(Step::Retire, desired, entry, Some(registration), None)
    }

    fn new(
        step: Step,
        desired: &Desired,
        entry: &JournalEntry,
        registration: Option<&Registration>,
        previous: Option<Secret>,
    ) -> Result<Self, Error> {
        let token = registration.and_then(|own| own.registration_access_token.clone());
        let (Some(registration), Some(token)) = (registration.cloned(), token) else {
            return Err(Error::Unmanageable { step, reason: Unmanageable::NoToken });
        };
        management_request(step, desired, &desired.document_with(entry), &registration, &token)?;
        Ok(Self { registration, token, previous })
    }

    /// Sends the request; on 401 once more with the previous token, if there is one. Tells the token that was used.
    pub(super) async fn exchange<T: Transport>(
        &self,
        step: Step,
        desired: &Desired,
        entry: &JournalEntry,
        transport: &T,
    ) -> Result<(Secret, Response<Vec<u8>>), Error> {
        let document = desired.document_with(entry);
        let request = |token| management_request(step, desired, &document, &self.registration, token);
        let response = transport.send(request(&self.token)?).await?;
        match &self.previous {
            Some(previous) if response.status() == StatusCode::UNAUTHORIZED => {
                Ok((previous.clone(), transport.send(request(previous)?).await?))
            }
            Some(_) | None => Ok((self.token.clone(), response)),
        }
    }

    pub(super) fn described(
        &self,
        step: Step,
        desired: &Desired,
        response: &Response<Vec<u8>>,
        rotation_lost: bool,
    ) -> Result<Registration, Error> {
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(self.locked_out(rotation_lost));
        }
        described(step, response, desired.endpoint(), Some(&self.registration.client_id), &self.secrets())
    }

    pub(super) fn failure(&self, step: Step, response: &Response<Vec<u8>>) -> Error {
        failure(step, response, Some(&self.registration.client_id), &self.secrets())
    }

    pub(super) fn locked_out(&self, rotation_lost: bool) -> Error {
        Error::LockedOut { client_id: self.registration.client_id.clone(), rotation_lost }
    }

    fn secrets(&self) -> Vec<&Secret> {
        let Self { registration, token, previous } = self;
        [Some(token), previous.as_ref(), registration.client_secret.as_ref()].into_iter().flatten().collect()
    }
}

//! The application's answer on its way to the client.

use http::{HeaderValue, Response, StatusCode, header::VIA};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{AnswerBody, hop, stages::upgrade::Switch};

/// The answer as it goes to the client; after 101, both sides are joined.
pub(super) fn finish(
    mut response: Response<AnswerBody>,
    client_side: Option<(Switch, Option<OnUpgrade>)>,
) -> Response<AnswerBody> {
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    hop::strip(response.headers_mut());
    response.headers_mut().append(VIA, HeaderValue::from_static("1.1 portreeve"));
    if let (true, Some((switch, Some(client)))) = (switching, client_side) {
        switch.announce(response.headers_mut());
        if let Some(upstream) = response.extensions_mut().remove::<OnUpgrade>() {
            drop(tokio::task::spawn_local(join(client, upstream)));
        }
    }
    response
}

async fn join(client: OnUpgrade, upstream: OnUpgrade) {
    // Either side may leave at any time; then the other one is closed with it.
    if let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) {
        drop(tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await);
    }
}

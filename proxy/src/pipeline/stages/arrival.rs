//! Stage: what the request is, or the answer to one that is for the proxy itself.

use std::ops::ControlFlow;

use http::{Response, request::Parts};

use crate::pipeline::{
    AnswerBody, CanonicalRequest, Connection, Denial, Dispatch, RequestHandlerConfig, Runtime,
    canonical::check_authority,
    options::{about_the_server, forwards, is_of_the_server},
    request_context::RequestContext,
};

/// Reads the head into its one meaning. What the proxy answers for itself breaks off here.
pub(in crate::pipeline) fn arrival<D: Dispatch>(
    handler: &RequestHandlerConfig<D>,
    runtime: &Runtime,
    parts: &mut Parts,
    connection: &Connection,
    context: &mut RequestContext<D>,
) -> Result<ControlFlow<Response<AnswerBody>, CanonicalRequest>, Denial> {
    // Nobody knows where such a request ends, so that nothing else of it counts.
    if let Some(fault) = connection.framing.of_next_request() {
        return Err(Denial::of_framing(fault));
    }
    // Before anything is allocated for the request.
    if handler.pressure.is_high() {
        return Err(Denial::Overloaded);
    }
    if is_of_the_server(parts) {
        check_authority(parts, connection).map_err(Denial::InvalidRequest)?;
        context.metadata = true;
        return Ok(ControlFlow::Break(about_the_server()));
    }
    let mut request = CanonicalRequest::parse(parts, connection).map_err(Denial::InvalidRequest)?;
    context.understood(&request);
    // Before Max-Forwards is counted down and before any rule: a loop must end wherever it goes.
    if handler.pseudonym.is_in(&request.headers) {
        return Err(Denial::Loop);
    }
    if !forwards(&mut request) {
        context.metadata = true;
        return Ok(ControlFlow::Break(about_the_server()));
    }
    if let Some(document) = runtime.resources.find(&request) {
        context.metadata = true;
        return Ok(ControlFlow::Break(document));
    }
    Ok(ControlFlow::Continue(request))
}

//! TLS: takes a connection through its handshake, so that calls are read as plain text.

use std::rc::Rc;

use interloop::{
    Context, EventLoop, Result,
    net::{Address, Net},
};
use interloop_listen::{Permit, Tls, TlsAcceptor, TlsSettings};

use crate::{connection, shared::Server, stream::Stream};

/// Sets up the server's TLS, if it has any.
pub(crate) fn open<L: EventLoop, O>(cx: &Context<L, O>, settings: Option<&TlsSettings>) -> Result<Option<Tls>> {
    let meter = cx.meter().namespace("interloop_thrift");
    settings.map(|settings| Tls::new(cx, settings, &[], &meter)).transpose()
}

/// Serves a connection, once it is secured.
pub(crate) async fn serve<L: Net>(
    tls: TlsAcceptor,
    stream: L::Stream,
    peer: Address,
    server: Rc<Server>,
    permit: Permit,
) {
    match tls.accept(stream, server.shutdown.requested(), |time| (server.sleep)(time)).await {
        Ok(stream) => connection::serve::<L>(Stream::Tls(Box::new(stream)), peer, server, permit).await,
        Err(error) => log::debug!(target: &server.target, "a TLS handshake with {peer} failed: {error}"),
    }
}

//! The addresses of a host by its name.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    thread,
};

/// The system's resolver blocks: it is asked on a thread of its own, and only for what isn't an address already.
pub(crate) async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let ask = async move { Ok((host.as_str(), port).to_socket_addrs()?.collect()) };
    // It never waits for anything, so nobody ever has to schedule it anew.
    let (ask, answer) = async_task::spawn(ask, drop);
    thread::Builder::new().name("resolve".into()).spawn(move || ask.run())?;
    answer.fallible().await.unwrap_or_else(|| Err(io::Error::other("the look-up broke off")))
}

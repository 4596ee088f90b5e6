//! The addresses of a host by its name.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    thread,
};

/// Resolves a host. The system's resolver blocks, so it runs on a separate thread, and only for text that isn't an
/// address.
pub(crate) async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let ask = async move { Ok((host.as_str(), port).to_socket_addrs()?.collect()) };
    // It never waits for anything, so it never has to be scheduled again.
    let (ask, answer) = async_task::spawn(ask, drop);
    thread::Builder::new().name("resolve".into()).spawn(move || ask.run())?;
    answer.fallible().await.unwrap_or_else(|| Err(io::Error::other("the look-up broke off")))
}

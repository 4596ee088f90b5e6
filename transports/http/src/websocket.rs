//! WebSockets, on the loop of their server: the handshake, the protocol, the queues between it and the handler.

mod driver;
mod io;
mod message;
mod queues;
mod socket;
mod upgrade;

pub use self::{
    message::{Close, Message},
    queues::{InvalidCloseCode, SendError, WebSocketSender},
    socket::WebSocket,
    upgrade::WebSocketUpgrade,
};

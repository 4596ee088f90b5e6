//! A chat on three loops: web pages on tokio, a GTK window on the main thread, notifications of the desktop on smol.
//!
//! ```sh
//! chat --http-port 8000              # then open http://127.0.0.1:8000, and talk to whoever sits at the window
//! chat --http-port 8000 --name Ada   # what the one at the window is called
//! chat --tasks http                  # no window, no notifications
//! ```
//!
//! Four tasks, a file each; the library connects them. A value that belongs to one thread stays there, and other
//! threads reach it through a `Remote` of its type:
//!
//! ```text
//!  tokio                                main thread                     smol
//!  ─────                                ───────────                     ────
//!  http: a socket for each page         window: GTK                     notify: D-Bus
//!    │ say            ▲ hear              │ say    ▲ show   │ notify      │ present
//!    ▼                │                   │        │        ▼             ▼
//!  Remote<RefCell<Room>> ◄────────────────┘        │  Remote<Notifier>  Remote<Window>
//!  room: Rc<RefCell<Room>> ── Remote<Window> ──────┘
//! ```
//!
//! - `room`: the members, and the latest messages. Members are closures that hear; the room knows nothing of sockets or
//!   windows.
//! - `http`: WebSockets; `WebSocketSender` works from any thread. A page that reads too slowly is told so, and closed.
//! - `window`: shows messages, and sends the typed ones. Closing it stops the service.
//! - `notify`: a bubble for messages that arrive while the window isn't focused; a click on it brings the window up. If
//!   there is no bus, the chat goes on without notifications, after one warning.
//!
//! ^C closes the sockets (1001) and the window; then the room ends, since both require it.

use std::process::ExitCode;

fn main() -> ExitCode {
    chat::service().run()
}

//! A chat on three loops: web pages on tokio, a GTK window on the main thread, notifications of the desktop on smol.
//!
//! ```sh
//! chat --http-port 8000              # then open http://127.0.0.1:8000, and talk to whoever sits at the window
//! chat --http-port 8000 --name Ada   # what the one at the window is called
//! chat --tasks http                  # no window, no notifications
//! ```
//!
//! Four tasks, a file each; the library puts them together. What belongs to one thread stays there, and whoever is
//! elsewhere has a `Remote` of its type:
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
//! - `room`: who is in it, and the last of what was said. Members are closures that hear; the room knows nothing of
//!   sockets or windows.
//! - `http`: WebSockets; `WebSocketSender` works from any thread. Who takes too little is told so, and closed.
//! - `window`: shows what is said, and says what is typed. Closed, it stops the service.
//! - `notify`: a bubble for what is said while the window is not looked at; a click on it brings the window up. Where
//!   there is no bus, the chat goes on without, with one warning.
//!
//! ^C closes the sockets (1001) and the window; then the room ends, which both require.

use std::process::ExitCode;

fn main() -> ExitCode {
    chat::service().run()
}

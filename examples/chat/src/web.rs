//! The pages, with a WebSocket each. Their handlers run on tokio; the room answers by `call`.

use std::{cell::RefCell, net::IpAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{Html, Response},
    routing::get,
};
use interloop::{Remote, ServiceHandle};
use interloop_http::{Message, SendError, WebSocket, WebSocketSender, WebSocketUpgrade};
use tokio::time::{sleep, timeout};

use crate::{
    Options,
    room::{Event, HISTORY, LONGEST_TEXT, Room},
};

/// How many messages may wait for a page; the history must fit.
const QUEUE: usize = 2 * HISTORY;
/// How long a page may take to send its name.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// How long a page must wait after each message; what it sends meanwhile waits at the page.
const BREATH: Duration = Duration::from_millis(100);

type Shared = State<(Remote<RefCell<Room>>, ServiceHandle)>;

pub(crate) fn router(room: Remote<RefCell<Room>>, service: ServiceHandle) -> Router {
    let page = get(async || Html(include_str!("page.html")));
    Router::new().route("/", page).route("/chat", get(enter)).with_state((room, service))
}

async fn enter(State((room, service)): Shared, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let mut origins = service.own_options::<Options>().map_or_else(Vec::new, |options| options.origin);
    origins.extend(own_origin(&headers));
    let origins = origins.iter().map(String::as_str).collect::<Vec<_>>();
    // In UTF-8 a character has up to four bytes.
    let upgrade = upgrade.max_message_size(4 * LONGEST_TEXT).max_frame_size(4 * LONGEST_TEXT).queue(QUEUE);
    upgrade.origins(&origins).on_upgrade(|socket| talk(socket, room))
}

/// Returns the origin of the server's own page, if it was requested by an address or as localhost: anybody can make any
/// other name point here, for pages of other sites.
fn own_origin(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    (name == "localhost" || name.parse::<IpAddr>().is_ok()).then(|| format!("http://{host}"))
}

/// Closes the socket; callers use only codes that may be sent.
fn close(sender: &WebSocketSender, code: u16, why: impl Into<String>) {
    let _ = sender.close(code, why);
}

/// Treats the first message as the name, and all others as text.
async fn talk(mut socket: WebSocket, room: Remote<RefCell<Room>>) {
    let sender = socket.sender();
    let Ok(Some(Message::Text(name))) = timeout(INTRODUCTION, socket.next()).await else {
        return close(&sender, 1008, "say your name");
    };
    // It is called on the room's thread: a sender works from any.
    let hear = {
        let sender = sender.clone();
        move |event: &Event| match sender.try_send(serde_json::json!(event).to_string()) {
            Ok(()) => true,
            Err(SendError::Full) => {
                close(&sender, 1008, "you are too slow");
                false
            }
            Err(_) => false, // closed
        }
    };
    let member = match room.call(move |room| room.borrow_mut().join(&name, hear)).await {
        Ok(Ok(member)) => member,
        Ok(Err(why)) => return close(&sender, 1008, why),
        Err(gone) => return close(&sender, 1011, gone.to_string()),
    };
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message
            && room.call(move |room| room.borrow_mut().say(member, &text)).await.is_err()
        {
            break;
        }
        sleep(BREATH).await;
    }
    // If the room is gone, so are its members.
    let _ = room.post(move |room| room.borrow_mut().leave(member));
}

//! The HTTP API: `POST /say`, `GET /book`. The code is neutral: a router knows no runtime.

use std::cell::RefCell;

use async_channel::Sender;
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use interloop::Remote;

use crate::book::Book;

type Doors = State<(Sender<String>, Remote<RefCell<Book>>)>;

pub(crate) fn router(said: Sender<String>, book: Remote<RefCell<Book>>) -> Router {
    Router::new().route("/say", post(say)).route("/book", get(read)).with_state((said, book))
}

async fn say(State((said, _)): Doors, line: String) -> Result<&'static str, StatusCode> {
    let line = line.trim();
    if line.is_empty() || line.contains('\n') {
        return Err(StatusCode::BAD_REQUEST);
    }
    said.send(line.to_owned()).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok("heard\n")
}

/// Returns the book's page. The book may live on another loop: a call goes there and back.
async fn read(State((_, book)): Doors) -> Result<String, StatusCode> {
    book.call(|book| book.borrow().page()).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

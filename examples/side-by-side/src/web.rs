//! The pages: handlers on tokio that reach the board on its loop.

use std::cell::RefCell;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use interloop::{CallError, Remote, ServiceHandle};
use serde::Serialize;

/// The maximum length of a message, in bytes.
const LONGEST: usize = 500;
/// The maximum size of a body, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// A message with its number.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// Counted from 1.
    pub number: u64,
    /// The text of the message.
    pub text: String,
}

/// The operations of a board that the pages need. Its snapshot has the latest messages, as `messages`.
pub trait Board: 'static {
    /// The name of its count, in its snapshot and in words.
    const COUNTED: (&'static str, &'static str);

    /// The board at one moment: data that may leave its thread.
    type Snapshot: Serialize + Send + 'static;

    /// Adds a message; returns its number.
    fn say(&mut self, text: String) -> u64;

    /// Returns the board at this moment.
    fn snapshot(&self) -> Self::Snapshot;
}

type Shared<B> = State<(Remote<RefCell<B>>, ServiceHandle)>;

/// Returns the routes `GET /`, `GET /board`, `POST /say`, `GET /status`.
pub fn router<B: Board>(board: Remote<RefCell<B>>, service: ServiceHandle) -> Router {
    let (count, counted) = B::COUNTED;
    let page = include_str!("page.html").replace("{service}", service.name());
    let page = page.replace("{counted}", counted).replace("{count}", count);
    Router::new()
        .route("/", get(async move || Html(page)))
        .route("/board", get(show::<B>))
        .route("/say", post(say::<B>))
        .route("/status", get(status::<B>))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state((board, service))
}

async fn show<B: Board>(State((board, _)): Shared<B>) -> Result<Response, Unavailable> {
    let snapshot = board.call(|board| board.borrow().snapshot()).await?;
    Ok(Json(snapshot).into_response())
}

#[derive(Serialize)]
struct Said {
    number: u64,
}

async fn say<B: Board>(State((board, _)): Shared<B>, body: Bytes) -> Result<Response, Unavailable> {
    let refuse = |reason: String| Ok((StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response());
    let text = match std::str::from_utf8(&body) {
        Err(error) => return refuse(format!("the text is not UTF-8: {error}")),
        Ok("") => return refuse("the text is empty".to_owned()),
        Ok(text) if text.len() > LONGEST => {
            return refuse(format!("the text has {} bytes, at most {LONGEST} are taken", text.len()));
        }
        Ok(text) => text.to_owned(),
    };
    let number = board.call(|board| board.borrow_mut().say(text)).await?;
    Ok(Json(Said { number }).into_response())
}

async fn status<B: Board>(State((_, service)): Shared<B>) -> Response {
    Json(service.status()).into_response()
}

/// The board has stopped and can't be asked.
struct Unavailable(CallError);

impl From<CallError> for Unavailable {
    fn from(error: CallError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the board: {}\n", self.0)).into_response()
    }
}

//! `Hello, world` by axum alone, on tokio's current-thread runtime: `bare-axum 127.0.0.1:8000`.
//!
//! It follows axum's documentation: <https://docs.rs/axum/latest/axum/fn.serve.html>

use std::error::Error;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: bare-axum ADDRESS:PORT")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        axum::serve(listener, Router::new().route("/", get(async || "Hello, world"))).await?;
        Ok(())
    })
}

//! Sums by zbus alone, on the runtime that it brings: `bare-dbus unix:path=/tmp/bus`.
//!
//! It follows zbus's documentation: <https://docs.rs/zbus/latest/zbus/connection/struct.Builder.html>

use std::error::Error;
use std::future::pending;

use interloop_benches::baseline::dbus::{NAME, PATH, Sums};
use zbus::connection::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let bus = std::env::args().nth(1).ok_or("usage: bare-dbus ADDRESS")?;
    zbus::block_on(async {
        let _connection = Builder::address(&*bus).serve_at(PATH, Sums).name(NAME).build().await?;
        pending().await
    })
}

//! The shared parts of the steps: the window, and from the second step on the server.
//!
//! The program's window shows the lines that clients send over TCP, and answers each line with its number.
//! `docs/migrating.md` explains the steps.

use std::cell::Cell;
use std::io;

use gtk4::prelude::*;
use gtk4::{Application, ApplicationWindow, Label};
use interloop::Remote;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The contents of the window. They belong to GTK's thread.
#[derive(Debug)]
pub struct Board {
    label: Label,
    lines: Cell<usize>,
}

impl Board {
    /// Opens the window.
    pub fn open(application: &Application) -> Self {
        let label = Label::new(Some("nothing was said"));
        let window = ApplicationWindow::builder().application(application).title("leave-a-thread").child(&label);
        application.set_accels_for_action("window.close", &["<Ctrl>w"]);
        window.default_width(400).default_height(100).build().present();
        Self { label, lines: Cell::new(0) }
    }

    /// Shows a line, and returns its number.
    pub fn say(&self, line: &str) -> usize {
        self.label.set_text(line);
        self.lines.set(self.lines.get() + 1);
        self.lines.get()
    }
}

/// Accepts clients, for ever.
///
/// # Errors
///
/// Returns the system's error for the listening socket.
pub async fn serve(board: Remote<Board>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(talk(client, board.clone()));
    }
}

async fn talk(mut client: TcpStream, board: Remote<Board>) -> io::Result<()> {
    let (reader, mut writer) = client.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        // An answer without a message type and a oneshot; or the error that nobody is there any more.
        let number = board.call(move |board| board.say(&line)).await.map_err(io::Error::other)?;
        writer.write_all(format!("{number}\n").as_bytes()).await?;
    }
    Ok(())
}

//! Step 1, the starting point: GTK on the main thread, a runtime on another, a channel between them, and glue.

use std::{io, thread};

use gtk4::prelude::*;
use gtk4::{Application, gio::ApplicationFlags};
use leave_a_thread::Board;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

enum Message {
    Say(String, oneshot::Sender<usize>),
}

async fn serve(messages: async_channel::Sender<Message>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(talk(client, messages.clone()));
    }
}

async fn talk(mut client: TcpStream, messages: async_channel::Sender<Message>) -> io::Result<()> {
    let (reader, mut writer) = client.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let (sender, answer) = oneshot::channel();
        messages.send(Message::Say(line, sender)).await.map_err(io::Error::other)?;
        let number = answer.await.map_err(io::Error::other)?;
        writer.write_all(format!("{number}\n").as_bytes()).await?;
    }
    Ok(())
}

fn main() -> glib::ExitCode {
    let application = Application::new(None::<&str>, ApplicationFlags::NON_UNIQUE);
    application.connect_activate(|application| {
        let board = Board::open(application);
        let (sender, receiver) = async_channel::unbounded();
        // Nobody stops this thread, and nobody notices if it fails.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(sender))
        });
        glib::spawn_future_local(async move {
            while let Ok(message) = receiver.recv().await {
                match message {
                    Message::Say(line, answer) => _ = answer.send(board.say(&line)),
                }
            }
        });
    });
    application.run()
}

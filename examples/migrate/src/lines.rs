//! The TCP server: a line is an entry, `?` asks how many are filed, an empty line ends the visit.

use std::{cell::RefCell, io, net::SocketAddr, time::Duration};

use async_channel::Sender;
use futures_util::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, io::BufReader};
use interloop::{
    Context, Remote, Result, Task, clap,
    net::{Accept, Bound, Net},
};

use crate::book::Book;

/// The maximum length of a line, in bytes.
const LONGEST: u64 = 1000;

/// Serves lines to clients that connect.
pub(crate) struct Lines {
    visit: Visit,
}

/// The options of [`Lines`].
#[derive(clap::Args)]
pub(crate) struct LinesOptions {
    /// Listen on this port of 127.0.0.1; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

impl Lines {
    pub(crate) fn new(said: Sender<String>, book: Remote<RefCell<Book>>) -> Self {
        Self { visit: Visit { said, book } }
    }
}

impl<L: Net> Task<L> for Lines {
    type Options = LinesOptions;

    async fn run(&mut self, cx: Context<L, LinesOptions>) -> Result {
        let address = SocketAddr::from(([127, 0, 0, 1], cx.options().port));
        let mut listener = cx.listen(Bound::tcp(address)?)?;
        cx.bound(listener.address().clone());
        log::info!(target: cx.target(), "server started on {}", listener.address());
        cx.ready();
        while let Some(accepted) = cx.run_until_shutdown(listener.accept()).await {
            match accepted {
                // A child of the task: when the task ends, the visits end.
                Ok((stream, _)) => cx.spawn_local(self.visit.clone().serve::<L>(stream)).detach(),
                Err(error) => {
                    log::warn!(target: cx.target(), "can't accept a visitor: {error}");
                    cx.sleep(Duration::from_millis(100)).await;
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Visit {
    said: Sender<String>,
    book: Remote<RefCell<Book>>,
}

impl Visit {
    /// Serves one visit. A client that goes away in the middle is no concern of the server.
    async fn serve<L: Net>(self, mut stream: L::Stream) {
        if let Err(error) = self.talk::<L>(&mut stream).await {
            log::debug!("a visit broke off: {error}");
        }
    }

    async fn talk<L: Net>(&self, stream: &mut L::Stream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            (&mut stream).take(LONGEST).read_line(&mut line).await?;
            let answer = match line.trim() {
                "" => "good-bye\n".to_owned(),
                "?" => match self.book.call(|book| book.borrow().count()).await {
                    Ok(count) => format!("{count} lines\n"),
                    Err(_) => "the book is closed\n".to_owned(),
                },
                said => match self.said.send(said.to_owned()).await {
                    Ok(()) => "heard\n".to_owned(),
                    Err(_) => "the book is closed\n".to_owned(),
                },
            };
            stream.get_mut().write_all(answer.as_bytes()).await?;
            if line.trim().is_empty() {
                return stream.get_mut().close().await;
            }
        }
    }
}

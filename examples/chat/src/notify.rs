//! Desktop notifications over D-Bus, on smol: one bubble, with the latest message. A click on it brings the window up.

use std::{cell::RefCell, collections::HashMap, convert::Infallible, time::Duration};

use futures_channel::mpsc;
use futures_util::{
    StreamExt,
    future::{Either, select},
};
use interloop::{Context, Error, Remote, Result, Slot};
use interloop_dbus::{Bus, connect};
use interloop_smol::Smol;
use zbus::{Variant, proxy};

use crate::window::Window;

/// How many may wait for the desktop; further ones are dropped.
const WAITING: usize = 10;
/// How long to wait before the next attempt to find a bus.
const PAUSE: Duration = Duration::from_secs(10);

type Said = (String, String);

pub(crate) struct Notifier(RefCell<mpsc::Sender<Said>>);

impl Notifier {
    pub(crate) fn notify(&self, name: String, text: String) {
        let _ = self.0.borrow_mut().try_send((name, text));
    }
}

#[proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications"
)]
trait Notifications {
    #[allow(clippy::too_many_arguments, reason = "they are the specification's")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: HashMap<&str, Variant<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;

    #[zbus(signal)]
    fn action_invoked(&self, id: u32, action_key: &str) -> zbus::Result<()>;
}

pub(crate) async fn run(cx: Context<Smol>, slot: Slot<Notifier>, window: Remote<Window>) -> Result {
    let (sender, mut said) = mpsc::channel(WAITING);
    cx.fill(slot, Notifier(RefCell::new(sender)));
    let serve = async {
        loop {
            let Err(error) = serve(&cx, &mut said, &window).await;
            // Logged only once while it stays the same.
            cx.warn("bus", format_args!("there are no notifications: {error}"));
            cx.sleep(PAUSE).await;
        }
    };
    // Ready at once: the chat does not wait for a bus.
    cx.ready();
    cx.run_until_shutdown(serve).await;
    Ok(())
}

/// Shows notifications until the bus is gone.
async fn serve(cx: &Context<Smol>, said: &mut mpsc::Receiver<Said>, window: &Remote<Window>) -> Result<Infallible> {
    let connection = connect(cx, &Bus::Session).await?;
    let desktop = NotificationsProxy::new(&connection).await?;
    let mut clicks = desktop.receive_action_invoked().await?;
    let mut bubble = 0;
    loop {
        match select(said.next(), clicks.next()).await {
            Either::Left((Some((name, text)), _)) => {
                let (text, actions) = (plain(&text), ["default", "Show the chat"]);
                // It replaces a bubble that is still there, so that bubbles don't pile up.
                let notify = desktop.notify("chat", bubble, "", &name, &text, &actions, HashMap::new(), -1);
                bubble = notify.await?;
                cx.clear_warning("bus");
            }
            Either::Right((Some(click), _)) if click.args()?.id == bubble => {
                // With `--tasks` there may be no window.
                let _ = window.post(Window::present);
            }
            Either::Right((Some(_), _)) => {}
            _ => return Err(Error::new("the bus is gone")),
        }
    }
}

/// Escapes markup, which a bubble's text may contain: messages have none.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

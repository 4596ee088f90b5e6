//! Notifications of the desktop, by D-Bus, on smol: one bubble, with the last of what was said. A click on it brings
//! the window up.

use std::{cell::RefCell, collections::HashMap, convert::Infallible, pin::pin, time::Duration};

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

/// How many may wait for the desktop; of more nobody needs to be told.
const WAITING: usize = 10;
/// After how long a bus is looked for again.
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
            // Logged once, as long as it is the same.
            cx.warn("bus", format_args!("there are no notifications: {error}"));
            cx.sleep(PAUSE).await;
        }
    };
    // Ready at once: the chat does not wait for a bus.
    select(pin!(cx.until_shutdown()), pin!(serve)).await;
    Ok(())
}

/// Until the bus is gone.
async fn serve(cx: &Context<Smol>, said: &mut mpsc::Receiver<Said>, window: &Remote<Window>) -> Result<Infallible> {
    let connection = connect(cx, &Bus::Session).await?;
    let desktop = NotificationsProxy::new(&connection).await?;
    let mut clicks = desktop.receive_action_invoked().await?;
    let mut bubble = 0;
    loop {
        match select(said.next(), clicks.next()).await {
            Either::Left((Some((name, text)), _)) => {
                let (text, actions) = (plain(&text), ["default", "Show the chat"]);
                // One that is still there is replaced: whoever says much makes no heap of them.
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

/// A bubble's text may have markup: what others say has none.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

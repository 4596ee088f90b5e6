//! Decides which callers may control the service.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use interloop::Shutdown;
use zbus::{
    Connection, Variant, fdo,
    message::{Flags, Header},
    proxy,
    runtime::traits::Runtime,
};

use crate::runtime::LoopRuntime;

/// How long polkit may take if it asks nobody.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long it may take if somebody must enter a password.
const WITH_A_PERSON: Duration = Duration::from_secs(120);

/// CheckAuthorization's flag for that.
const ALLOW_USER_INTERACTION: u32 = 1;

/// Checks the caller, which the bus identifies: the service's own user and root may control it, others may only read.
pub(crate) async fn permit(connection: &Connection, header: &Header<'_>) -> fdo::Result<()> {
    let sender = header.sender().ok_or_else(|| fdo::Error::AccessDenied("the caller has no name".to_owned()))?;
    let bus = fdo::DBusProxy::new(connection).await?;
    let user = bus.get_connection_unix_user(sender.clone().into()).await?;
    if may_control(user, rustix::process::geteuid().as_raw()) {
        return Ok(());
    }
    Err(fdo::Error::AccessDenied(format!("user {user} may not control this service")))
}

fn may_control(user: u32, own: u32) -> bool {
    user == 0 || user == own
}

/// Applies [`permit`], and if that refuses, polkit, if the service has an action.
pub(crate) struct Permit {
    action: Option<Arc<str>>,
    /// For the time limit.
    runtime: LoopRuntime,
    stop: Shutdown,
    target: Arc<str>,
    /// Whether the log has been told since polkit last answered.
    is_missed: AtomicBool,
}

impl Permit {
    pub(crate) fn new(action: Option<Arc<str>>, runtime: LoopRuntime, stop: Shutdown, target: Arc<str>) -> Self {
        Self { action, runtime, stop, target, is_missed: AtomicBool::new(false) }
    }

    pub(crate) async fn check(&self, connection: &Connection, header: &Header<'_>) -> fdo::Result<()> {
        let permitted = permit(connection, header).await;
        match (&permitted, &self.action, header.sender()) {
            (Err(fdo::Error::AccessDenied(_)), Some(action), Some(caller)) => {
                let may_ask = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
                self.ask(connection, caller, action, may_ask).await
            }
            _ => permitted,
        }
    }

    async fn ask(&self, connection: &Connection, caller: &str, action: &str, may_ask: bool) -> fdo::Result<()> {
        static ASKED: AtomicU64 = AtomicU64::new(0);
        let authority = AuthorityProxy::new(connection).await?;
        // polkit requires it to differ from those of other pending checks.
        let id = format!("interloop-{}", ASKED.fetch_add(1, Ordering::Relaxed));
        let subject = ("system-bus-name", HashMap::from([("name", Variant::from(caller))]));
        let (flags, limit) = if may_ask { (ALLOW_USER_INTERACTION, WITH_A_PERSON) } else { (0, AT_ONCE) };
        let details = HashMap::new();
        let answer = authority.check_authorization(&subject, action, &details, flags, &id);
        let given_up = async {
            match select(pin!(self.stop.requested()), pin!(self.runtime.sleep(limit))).await {
                Either::Left(_) => "the service stops".to_owned(),
                Either::Right(_) => format!("no answer within {limit:?}"),
            }
        };
        let why = match select(pin!(answer), pin!(given_up)).await {
            Either::Left((Ok((is_authorized, is_challenge, _)), _)) => {
                self.is_missed.store(false, Ordering::Relaxed);
                return match (is_authorized, is_challenge && !may_ask) {
                    (true, _) => Ok(()),
                    (false, true) => Err(fdo::Error::InteractiveAuthorizationRequired(format!(
                        "polkit would have to ask somebody about {action}"
                    ))),
                    (false, false) => Err(fdo::Error::AccessDenied(format!("polkit does not permit {action}"))),
                };
            }
            Either::Left((Err(error), _)) => error.to_string(),
            Either::Right((why, _)) => {
                // The answer isn't needed any more.
                let _ = authority.cancel_check_authorization(&id).await;
                why
            }
        };
        let why = format!("polkit can't be asked about {action}: {why}");
        if !self.is_missed.swap(true, Ordering::Relaxed) {
            log::warn!(target: &self.target, "{why}");
        }
        Err(fdo::Error::AccessDenied(why))
    }
}

#[proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    /// Returns whether it is authorized; whether it might be, if somebody were asked; and details.
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action: &str,
        details: &HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;

    #[zbus(no_reply)]
    fn cancel_check_authorization(&self, cancellation_id: &str) -> zbus::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::may_control;

    #[test]
    fn root_and_the_services_own_user_may_control_it_and_nobody_else() {
        assert!(may_control(0, 1000) && may_control(1000, 1000));
        assert!(!may_control(1001, 1000) && !may_control(1001, 0));
    }
}

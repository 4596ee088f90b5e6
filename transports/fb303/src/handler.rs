//! fb303 by Thrift: what a processor of generated code calls.

use std::{collections::BTreeMap, time::Duration};

use interloop::ServiceHandle;
use thrift::{
    ApplicationErrorKind,
    protocol::{TInputProtocol, TOutputProtocol},
    server::TProcessor,
};

use crate::{
    Base, Refused,
    fb303::{FacebookServiceSyncHandler, FacebookServiceSyncProcessor, FbStatus},
};

/// fb303 for Thrift: a processor by itself or in a [`Multiplexed`](interloop_thrift::Multiplexed), and the base of
/// services that extend it, by [`HasFb303`].
///
/// `setOption`, `reinitialize` and `shutdown` are refused unless that is [allowed](Self::allow_control): with an
/// application exception, or, of those that have no answer, with a warning in the log. `getCpuProfile` answers folded
/// stacks, with the feature `profile`, where that is [allowed](Self::allow_profiles).
///
/// ```no_run
/// use interloop::{Service, Thread};
/// use interloop_fb303::Fb303;
/// use interloop_thrift::{Multiplexed, ThriftServer};
/// # use thrift::{protocol::{TInputProtocol, TOutputProtocol}, server::TProcessor};
/// # struct Prices;
/// # impl TProcessor for Prices {
/// #     fn process(&self, _: &mut dyn TInputProtocol, _: &mut dyn TOutputProtocol) -> thrift::Result<()> { Ok(()) }
/// # }
///
/// let mut service = Service::new("shop");
/// let fb303 = Fb303::new(service.handle());
/// let services = Multiplexed::new().default_service("fb303", fb303).service("Prices", Prices);
/// service.task_on::<Thread>("thrift", ThriftServer::new(services));
/// service.run();
/// ```
#[derive(Clone, Debug)]
pub struct Fb303 {
    base: Base,
    control: bool,
    profiles: bool,
}

impl Fb303 {
    /// Answers for this service.
    pub fn new(service: ServiceHandle) -> Self {
        Self { base: Base::new(service), control: false, profiles: false }
    }

    /// Whether clients may set options, have the configuration read again, and stop the service. They may not by
    /// default.
    #[must_use]
    pub fn allow_control(self, allowed: bool) -> Self {
        Self { control: allowed, ..self }
    }

    /// Whether clients may have [profiles](Base::cpu_profile) taken: they may not by default. The handler blocks for
    /// that long, so the server has to have [workers](interloop_thrift::ThriftServer::workers), one more than are to
    /// answer meanwhile.
    #[must_use]
    pub fn allow_profiles(self, allowed: bool) -> Self {
        Self { profiles: allowed, ..self }
    }

    /// What it answers.
    pub fn base(&self) -> &Base {
        &self.base
    }

    fn may_control(&self, method: &str) -> thrift::Result<()> {
        if self.control {
            return Ok(());
        }
        Err(Refused::new(format!("{method} is not allowed")).into())
    }

    /// Of a call without an answer the log is told.
    fn log(&self, method: &str, done: thrift::Result<()>) -> thrift::Result<()> {
        if let Err(error) = &done {
            log::warn!(target: self.base.name(), "fb303: {method} was called, in vain: {error}");
        }
        done
    }
}

impl From<Refused> for thrift::Error {
    fn from(refused: Refused) -> Self {
        thrift::new_application_error(ApplicationErrorKind::InternalError, refused.to_string())
    }
}

impl TProcessor for Fb303 {
    fn process(&self, from: &mut dyn TInputProtocol, to: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        FacebookServiceSyncProcessor::new(self.clone()).process(from, to)
    }
}

/// A handler that answers fb303 too: for a service that `extends fb303.FacebookService`.
///
/// All methods of fb303 are there for whoever implements this. What Thrift's compiler has made looks for its base at
/// `crate::fb303`.
///
/// ```
/// use interloop_fb303::{Fb303, HasFb303};
///
/// // In main.rs, beside `mod shop;`:
/// pub use interloop_fb303::fb303;
///
/// struct Shop {
///     fb303: Fb303,
/// }
///
/// impl HasFb303 for Shop {
///     fn fb303(&self) -> &Fb303 {
///         &self.fb303
///     }
/// }
///
/// // impl ShopSyncHandler for Shop: the methods of its own.
/// # fn is_base(shop: Shop) { let _ = fb303::FacebookServiceSyncProcessor::new(shop); }
/// # fn main() {}
/// ```
pub trait HasFb303 {
    /// What answers.
    fn fb303(&self) -> &Fb303;
}

impl HasFb303 for Fb303 {
    fn fb303(&self) -> &Fb303 {
        self
    }
}

impl<H: HasFb303> FacebookServiceSyncHandler for H {
    fn handle_get_name(&self) -> thrift::Result<String> {
        Ok(self.fb303().base.name().to_owned())
    }

    fn handle_get_version(&self) -> thrift::Result<String> {
        Ok(self.fb303().base.version())
    }

    fn handle_get_status(&self) -> thrift::Result<FbStatus> {
        Ok(FbStatus(self.fb303().base.status() as i32))
    }

    fn handle_get_status_details(&self) -> thrift::Result<String> {
        Ok(self.fb303().base.status_details())
    }

    fn handle_get_counters(&self) -> thrift::Result<BTreeMap<String, i64>> {
        Ok(self.fb303().base.counters())
    }

    fn handle_get_counter(&self, key: String) -> thrift::Result<i64> {
        Ok(self.fb303().base.counter(&key)?)
    }

    fn handle_set_option(&self, key: String, value: String) -> thrift::Result<()> {
        self.fb303().may_control("setOption")?;
        Ok(self.fb303().base.set_option(&key, &value)?)
    }

    fn handle_get_option(&self, key: String) -> thrift::Result<String> {
        Ok(self.fb303().base.option(&key)?)
    }

    fn handle_get_options(&self) -> thrift::Result<BTreeMap<String, String>> {
        Ok(self.fb303().base.options())
    }

    fn handle_get_cpu_profile(&self, seconds: i32) -> thrift::Result<String> {
        let this = self.fb303();
        if Base::has_profiler() && !this.profiles {
            return Err(Refused::new(
                "profiles are not allowed: they would block the loop of a server without workers",
            )
            .into());
        }
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(this.base.cpu_profile(duration)?.folded())
    }

    fn handle_alive_since(&self) -> thrift::Result<i64> {
        Ok(self.fb303().base.alive_since())
    }

    fn handle_reinitialize(&self) -> thrift::Result<()> {
        let this = self.fb303();
        // What a reload finds wrong it logs itself.
        this.log("reinitialize", this.may_control("reinitialize"))?;
        this.base.reinitialize()?;
        Ok(())
    }

    fn handle_shutdown(&self) -> thrift::Result<()> {
        let this = self.fb303();
        this.log("shutdown", this.may_control("shutdown"))?;
        this.base.shutdown();
        Ok(())
    }

    fn handle_get_exported_values(&self) -> thrift::Result<BTreeMap<String, String>> {
        Ok(self.fb303().base.exported_values())
    }

    fn handle_get_exported_value(&self, key: String) -> thrift::Result<String> {
        Ok(self.fb303().base.exported_value(&key)?)
    }
}

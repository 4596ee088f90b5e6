//! Several services at one address.

use std::{collections::BTreeMap, fmt, ops::Deref, rc::Rc};

use thrift::{
    ApplicationErrorKind,
    protocol::{TInputProtocol, TMessageIdentifier, TOutputProtocol, TStoredInputProtocol},
    server::TProcessor,
};

/// A processor of several services, which clients call by `{service}:{method}`, as Thrift's multiplexed protocol does.
///
/// [`new`](Self::new) creates one for any thread; [`local`](Multiplexed::local) is for processors that are `!Send`.
///
/// ```
/// # use thrift::{protocol::{TInputProtocol, TOutputProtocol}, server::TProcessor};
/// # struct Any;
/// # impl TProcessor for Any {
/// #     fn process(&self, _: &mut dyn TInputProtocol, _: &mut dyn TOutputProtocol) -> thrift::Result<()> { Ok(()) }
/// # }
/// # let (calculator, echo) = (Any, Any);
/// use interloop_thrift::{Multiplexed, ThriftServer};
///
/// let services = Multiplexed::new().service("Calculator", calculator).default_service("Echo", echo);
/// let server = ThriftServer::new(services);
/// ```
pub struct Multiplexed<P = Box<dyn TProcessor + Send + Sync>> {
    services: BTreeMap<String, P>,
    /// The service for clients that name none.
    default: Option<String>,
}

impl Multiplexed {
    /// Creates one without services.
    pub fn new() -> Self {
        Self { services: BTreeMap::new(), default: None }
    }

    /// Adds a service. It replaces one with the same name.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>, processor: impl TProcessor + Send + Sync + 'static) -> Self {
        self.services.insert(name.into(), Box::new(processor));
        self
    }

    /// Adds a service that also answers clients that name none.
    #[must_use]
    pub fn default_service(self, name: impl Into<String>, processor: impl TProcessor + Send + Sync + 'static) -> Self {
        let name = name.into();
        let mut this = self.service(name.clone(), processor);
        this.default = Some(name);
        this
    }
}

impl Default for Multiplexed {
    fn default() -> Self {
        Self::new()
    }
}

impl Multiplexed<Rc<dyn TProcessor>> {
    /// Creates one without services, for services that may be `!Send`: for
    /// [`ThriftServer::with`](crate::ThriftServer::with).
    pub fn local() -> Self {
        Self { services: BTreeMap::new(), default: None }
    }

    /// Adds a service. It replaces one with the same name.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>, processor: impl TProcessor + 'static) -> Self {
        self.services.insert(name.into(), Rc::new(processor));
        self
    }

    /// Adds a service that also answers clients that name none.
    #[must_use]
    pub fn default_service(self, name: impl Into<String>, processor: impl TProcessor + 'static) -> Self {
        let name = name.into();
        let mut this = self.service(name.clone(), processor);
        this.default = Some(name);
        this
    }
}

impl<P: Deref<Target: TProcessor>> TProcessor for Multiplexed<P> {
    fn process(&self, from: &mut dyn TInputProtocol, to: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        let message = from.read_message_begin()?;
        let (service, method) = match message.name.split_once(':') {
            Some((service, method)) => (Some(service), method),
            None => (self.default.as_deref(), &*message.name),
        };
        let Some(processor) = service.and_then(|service| self.services.get(service)) else {
            let text = match service {
                Some(service) => format!("unknown service {service}"),
                None => format!("no service is named, as in {{service}}:{}", message.name),
            };
            return Err(thrift::new_application_error(ApplicationErrorKind::UnknownMethod, text));
        };
        let begin = TMessageIdentifier::new(method, message.message_type, message.sequence_number);
        processor.process(&mut TStoredInputProtocol::new(from, begin), to)
    }
}

impl<P> fmt::Debug for Multiplexed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.services.keys().collect::<Vec<_>>();
        f.debug_struct("Multiplexed").field("services", &services).field("default", &self.default).finish()
    }
}

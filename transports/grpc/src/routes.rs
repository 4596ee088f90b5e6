//! Finds the service that answers.

use std::{collections::BTreeMap, convert::Infallible, fmt, future::poll_fn, pin::Pin, sync::Arc};

use http::{Request, Response};
use tonic::body::Body;
use tower_service::Service;

/// The future of a handler, which returns its answer.
pub(crate) type Handling = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

type Route = Arc<dyn Fn(Request<Body>) -> Handling + Send + Sync>;

/// Services by name.
#[derive(Clone, Default)]
pub(crate) struct Routes(BTreeMap<&'static str, Route>);

impl Routes {
    pub(crate) fn add<S>(&mut self, name: &'static str, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let route = move |request| -> Handling {
            let mut service = service.clone();
            Box::pin(async move {
                let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
                let Ok(response) = service.call(request).await;
                response
            })
        };
        self.0.insert(name, Arc::new(route));
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// Returns the service of a path: `/package.Service/Method`.
    pub(crate) fn find(&self, path: &str) -> Option<&Route> {
        self.0.get(path.strip_prefix('/')?.split_once('/')?.0)
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

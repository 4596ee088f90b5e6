//! A service that an async function creates, on the server's loop, before the server listens.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use http::{Request, Response};
use interloop::{Context, Result, Task, net::Net, options::OptionDefaults};
use tower_service::Service;

use super::HttpServer;
use crate::{
    body::{Body, BoxError},
    options::HttpOptions,
};

/// The placeholder for the service of [`HttpServer::from_fn`] until it is created.
pub struct FromFn<L, F> {
    make: Option<F>,
    on: PhantomData<fn() -> L>,
}

impl<L, F> fmt::Debug for FromFn<L, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}

impl HttpServer<()> {
    /// Serves the result of an async function, such as a router whose state needs a connection to a database.
    ///
    /// The function runs on the server's loop as the first step of the task: the server listens, and is ready, once it
    /// has returned. It gets the task's [`Context`]. If it fails, the start fails with its error; an
    /// [`Error::skip`](interloop::Error::skip) skips the task. A stop meanwhile drops its future and ends the task in
    /// order; [`start_timeout`](interloop::service::TaskSettings::start_timeout) does the same, as a failure.
    ///
    /// ```no_run
    /// use axum::{Router, extract::State, routing::get};
    /// use interloop::Service;
    /// use interloop_http::HttpServer;
    /// use interloop_tokio::Tokio;
    ///
    /// # #[derive(Clone)]
    /// # struct Pool;
    /// # impl Pool {
    /// #     async fn connect(_: &str) -> std::io::Result<Self> { Ok(Self) }
    /// #     fn size(&self) -> u32 { 1 }
    /// # }
    /// let mut service = Service::new("hello");
    /// let http = HttpServer::from_fn(async |_| {
    ///     let pool = Pool::connect("postgres://localhost").await?;
    ///     let router = Router::new().route("/", get(async |State(pool): State<Pool>| pool.size().to_string()));
    ///     Ok(router.with_state(pool))
    /// });
    /// service.task_on::<Tokio>("http", http.port(8000));
    /// service.run();
    /// ```
    ///
    /// If the function uses its context, its loop must be named: `HttpServer::from_fn(async |cx: Context<Tokio,
    /// HttpOptions>| ..)`, or `HttpServer::from_fn::<Tokio, _>(async |cx| ..)`. A task that can be restarted is
    /// recreated for each incarnation, and so is its state:
    ///
    /// ```no_run
    /// # use axum::Router;
    /// # use interloop::{RestartPolicy, Service};
    /// # use interloop_http::HttpServer;
    /// # use interloop_tokio::Tokio;
    /// # let mut service = Service::new("hello");
    /// let make = || HttpServer::from_fn(async |_| Ok(Router::<()>::new()));
    /// service.task_with::<Tokio>("http", make).restart(RestartPolicy::on_failure());
    /// ```
    #[expect(clippy::type_complexity, reason = "an alias can have nothing opaque in it")]
    pub fn from_fn<L, S>(
        make: impl AsyncFnOnce(Context<L, HttpOptions>) -> Result<S> + Send + 'static,
    ) -> HttpServer<FromFn<L, impl AsyncFnOnce(Context<L, HttpOptions>) -> Result<S> + Send + 'static>>
    where
        L: Net,
    {
        HttpServer::new(FromFn { make: Some(make), on: PhantomData })
    }
}

impl<L, F, S, B> Task<L> for HttpServer<FromFn<L, F>>
where
    L: Net,
    F: AsyncFnOnce(Context<L, HttpOptions>) -> Result<S> + Send + 'static,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Options = HttpOptions;

    async fn run(&mut self, cx: Context<L, HttpOptions>) -> Result {
        let make = self.service.make.take().expect("a task value runs once");
        cx.starting("its service is still being made");
        match cx.run_until_shutdown(make(cx.clone())).await {
            Some(service) => {
                let service = service?;
                self.serve_with(&cx, cx.options(), |_| service).await
            }
            None => Ok(()),
        }
    }

    fn defaults(&self) -> OptionDefaults {
        self.defaults()
    }

    fn check(&self, options: &HttpOptions) -> Result {
        self.check(options)
    }
}

//! All loops together, with nothing to do, and any number of tasks on them: for the tests of idleness and of the time a
//! stop takes.

use std::process::ExitCode;

use axum::Router;
use interloop::{Context, EventLoop, NoOptions, Result, Service, Task, Thread};
use interloop_async_std::AsyncStd;
use interloop_calloop::Calloop;
use interloop_compio::Compio;
use interloop_glib::Glib;
use interloop_http::HttpServer;
use interloop_mio::Mio;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

struct Idle;

impl<L: EventLoop> Task<L> for Idle {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> Result {
        cx.until_shutdown().await;
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut service = Service::new("idle");
    service.event_loop("private", Glib::private());
    service.event_loop("second", Tokio::default());
    service.event_loop("third", Thread);
    service.task_on::<Thread>("alone", Idle);
    service.task_on::<Tokio>("http", HttpServer::new(Router::new()));
    for number in 0..10 {
        service.task_on::<Tokio>(format!("tokio-{number}"), Idle);
        service.task_on::<Tokio>(format!("second-{number}"), Idle).on("second");
        service.task_on::<Glib>(format!("glib-{number}"), Idle);
        service.task_on::<Glib>(format!("private-{number}"), Idle).on("private");
        service.task_on::<Thread>(format!("third-{number}"), Idle).on("third");
        service.task_on::<AsyncStd>(format!("async-std-{number}"), Idle);
        service.task_on::<Smol>(format!("smol-{number}"), Idle);
        service.task_on::<Compio>(format!("compio-{number}"), Idle);
        service.task_on::<Calloop>(format!("calloop-{number}"), Idle);
        service.task_on::<Mio>(format!("mio-{number}"), Idle);
    }
    service.run()
}

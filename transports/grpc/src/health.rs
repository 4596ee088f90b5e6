//! gRPC health checks, answered from the service itself.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use futures_util::{Stream, stream};
use interloop::{ServiceHandle, Shutdown, State, service::Transitions};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

pub(crate) fn server(service: ServiceHandle, shutdown: Shutdown) -> HealthServer<impl Health + Clone> {
    HealthServer::new(Checks { service, shutdown })
}

#[derive(Clone)]
pub(crate) struct Checks {
    service: ServiceHandle,
    /// The shutdown of the server's task.
    shutdown: Shutdown,
}

impl Checks {
    /// Returns the status of the service or task with this name; None if there is none.
    fn look(&self, name: &str) -> Option<ServingStatus> {
        let serving =
            if name.is_empty() { self.service.is_ready() } else { self.service.task_state(name)? == State::Running };
        Some(if serving { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

/// One `Watch` stream.
struct Watching {
    checks: Checks,
    name: String,
    steps: Transitions,
    told: Option<ServingStatus>,
    is_over: bool,
}

impl Watching {
    /// Returns the next change. It reports the last one when the task is asked to stop, and then ends.
    async fn next(&mut self) -> Option<ServingStatus> {
        let mut task_stops = pin!(self.checks.shutdown.requested());
        while !self.is_over {
            let Self { checks, name, steps, told, is_over } = self;
            let change = poll_fn(|cx| {
                if task_stops.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                // Takes all steps so far, to be woken by further ones: readiness changes after steps, and wakes as they
                // do.
                while let Poll::Ready(step) = pin!(steps.next()).poll(cx) {
                    if step.is_none() {
                        return Poll::Ready(None);
                    }
                }
                let found = checks.look(name).unwrap_or(ServingStatus::ServiceUnknown);
                if *told == Some(found) { Poll::Pending } else { Poll::Ready(Some(found)) }
            })
            .await;
            match change {
                Some(status) => {
                    *told = Some(status);
                    return change;
                }
                None => *is_over = true,
            }
        }
        let last = (self.told == Some(ServingStatus::Serving)).then_some(ServingStatus::NotServing)?;
        self.told = Some(last);
        Some(last)
    }
}

#[tonic::async_trait]
impl Health for Checks {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.look(&request.get_ref().service) {
            Some(status) => Ok(Response::new(HealthCheckResponse { status: status.into() })),
            None => Err(Status::not_found("no task has this name")),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watching = Watching {
            checks: self.clone(),
            name: request.into_inner().service,
            steps: self.service.watch(),
            told: None,
            is_over: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(watching, async |mut watching| {
            let status = watching.next().await?;
            Some((Ok(HealthCheckResponse { status: status.into() }), watching))
        }))))
    }
}

//! A gRPC service with health checks and reflection, on the loop that the user chooses.
//!
//! ```sh
//! grpc-health --grpc-port 50051 --grpc-loop glib
//! grpc_health_probe -addr 127.0.0.1:50051
//! grpcurl -plaintext -d '{"value": 3}' 127.0.0.1:50051 tally.Tally/Add
//! ```
//!
//! tonic-prost-build generated `tally.rs` from `tally.proto`, and protoc generated `tally.bin`, the descriptors that
//! tell grpcurl how to call it. Health checks take `""`, the whole service, or a task's name. When the service is asked
//! to stop, a stream of `Follow` ends by itself: the server waits for open calls.

/// The code that tonic-prost-build generated.
#[allow(clippy::all, reason = "generated")]
pub mod tally;

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use interloop::{Service, Shutdown, Thread};
use interloop_glib::Glib;
use interloop_grpc::GrpcServer;
use interloop_tokio::Tokio;
use tally::{
    Amount, Nothing,
    tally_server::{Tally, TallyServer},
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

#[derive(Default)]
struct Shared(watch::Sender<u64>);

#[tonic::async_trait]
impl Tally for Shared {
    async fn add(&self, request: Request<Amount>) -> Result<Response<Amount>, Status> {
        let amount = request.into_inner().value;
        let mut value = None;
        self.0.send_if_modified(|total| {
            value = total.checked_add(amount);
            *total = value.unwrap_or(*total);
            value.is_some() && amount > 0
        });
        let value = value.ok_or_else(|| Status::out_of_range("the total would be too large"))?;
        log::info!("{amount} more make {value}");
        Ok(Response::new(Amount { value }))
    }

    type FollowStream = Pin<Box<dyn Stream<Item = Result<Amount, Status>> + Send>>;

    async fn follow(&self, request: Request<Nothing>) -> Result<Response<Self::FollowStream>, Status> {
        // Each request carries it.
        let shutdown = request.extensions().get::<Shutdown>().cloned();
        let shutdown = shutdown.ok_or_else(|| Status::internal("it is not served by a task"))?;
        let mut totals = self.0.subscribe();
        totals.mark_changed();
        let totals = stream::unfold(totals, async |mut totals| {
            totals.changed().await.ok()?;
            let value = *totals.borrow_and_update();
            Some((Ok(Amount { value }), totals))
        });
        Ok(Response::new(Box::pin(totals.take_until(async move { shutdown.requested().await }))))
    }
}

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("grpc-health");
    let server = GrpcServer::new()
        .add_service(TallyServer::new(Shared::default()))
        .with_health()
        .with_reflection([include_bytes!("tally.bin")]);
    service.task_any::<(Thread, Tokio, Glib)>("grpc", server);
    service
}

//! A gRPC service that doubles a number, for all servers; its interface is that of the example `grpc-health`.

use std::pin::Pin;

use futures_util::Stream;
use grpc_health::tally::tally_server::Tally;
use grpc_health::tally::{Amount, Nothing};
use tonic::{Request, Response, Status};

/// Doubles a number.
#[derive(Clone, Copy, Debug)]
pub struct Doubles;

#[tonic::async_trait]
impl Tally for Doubles {
    async fn add(&self, request: Request<Amount>) -> Result<Response<Amount>, Status> {
        Ok(Response::new(Amount { value: request.into_inner().value.wrapping_mul(2) }))
    }

    type FollowStream = Pin<Box<dyn Stream<Item = Result<Amount, Status>> + Send>>;

    async fn follow(&self, _: Request<Nothing>) -> Result<Response<Self::FollowStream>, Status> {
        Err(Status::unimplemented("nobody asks for it"))
    }
}

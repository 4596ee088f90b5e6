//! A load of gRPC calls from several connections, with several calls at a time on each, by tonic's client.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use grpc_health::tally::Amount;
use grpc_health::tally::tally_client::TallyClient;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tonic::transport::{Channel, Endpoint};

use crate::baseline::grpc::LOAD;
use crate::connections::{Left, take};
use crate::pin::{Cpus, run_on};
use crate::process::{Program, Server, listens};
use crate::suite::{Failure, Sample};

/// Starts the server on one CPU, and loads it with `n` calls from another; returns its CPU time for each call.
pub fn cpu_per_call(program: Program, n: u32) -> Result<Sample, Failure> {
    let cpus = Cpus::get();
    let server = run_on(cpus.first, move || Server::start_until(program, listens))?;
    run_on(cpus.second, move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address()))?.tcp_nodelay(true);
        let mut channels = Vec::new();
        for _ in 0..LOAD.0 {
            channels.push(runtime.block_on(endpoint.connect())?);
        }
        // Every connection is served before the time begins.
        run(&runtime, &channels, (n / 10).max((LOAD.0 * LOAD.1) as u32))?;
        let before = server.cpu_time()?;
        let elapsed = run(&runtime, &channels, n)?;
        Ok(Sample::of_cpu(n, server.cpu_time()? - before, elapsed))
    })
}

fn run(runtime: &Runtime, channels: &[Channel], n: u32) -> Result<Duration, Failure> {
    let left = Rc::new(Cell::new(n));
    let tasks = LocalSet::new();
    let begin = Instant::now();
    tasks.block_on(runtime, async {
        let channels = channels.iter().flat_map(|channel| std::iter::repeat_n(channel, LOAD.1));
        let calls =
            |channel: &Channel| tokio::task::spawn_local(calls(TallyClient::new(channel.clone()), left.clone()));
        let running: Vec<_> = channels.map(calls).collect();
        for task in running {
            task.await??;
        }
        Ok(begin.elapsed())
    })
}

async fn calls(mut client: TallyClient<Channel>, left: Left) -> io::Result<()> {
    while take(&left) {
        let doubled = client.add(Amount { value: 21 }).await.map_err(io::Error::other)?;
        if doubled.into_inner().value != 42 {
            return Err(io::Error::other("twice 21 isn't 42"));
        }
    }
    Ok(())
}

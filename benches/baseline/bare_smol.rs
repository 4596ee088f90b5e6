//! `Hello, world` by hyper alone, on smol's executor: `bare-smol 127.0.0.1:8000`.
//!
//! It follows smol's example: <https://github.com/smol-rs/smol/blob/master/examples/hyper-server.rs>

use std::convert::Infallible;
use std::error::Error;

use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use smol::LocalExecutor;
use smol::net::TcpListener;
use smol_hyper::rt::FuturesIo;

async fn hello(_: Request<hyper::body::Incoming>) -> Result<Response<http_body_util::Full<Bytes>>, Infallible> {
    let mut response = Response::new(Bytes::from_static(b"Hello, world").into());
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    Ok(response)
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: bare-smol ADDRESS:PORT")?;
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let serve = http1::Builder::new().serve_connection(FuturesIo::new(stream), service_fn(hello));
            executor.spawn(serve).detach();
        }
    }))
}

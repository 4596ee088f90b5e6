//! gRPC reflection: the services of a server, and the files that describe them, for clients that lack these files.

mod descriptors;
mod index;
mod messages;

use std::{
    convert::Infallible,
    future::{Future, Ready, poll_fn, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use interloop::Shutdown;
use tonic::{
    Code, Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
};
use tonic_prost::ProstCodec;
use tower_service::Service;

use self::{
    index::Index,
    messages::{Answer, Error, ExtensionNumbers, Files, Named, Question, Request, Response, Services},
};

/// Both versions, which differ only in their names.
pub(crate) const NAMES: [&str; 2] = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
/// protoc's output for `proto`: it includes health, since the file of tonic-health has a name that many files have.
const OWN: &[u8] = include_bytes!("reflection/own.bin");

/// The maximum length of a request: longer than any name.
const QUESTION: usize = 16 << 10;
/// After this many answers on one stream, others get their turn.
const TURN: usize = 64;

/// Serialized `FileDescriptorSet`s, which describe a server's services.
#[derive(Clone, Default)]
pub(crate) struct FileSets(Vec<Bytes>);

impl FileSets {
    pub(crate) fn add(&mut self, set: &[u8]) {
        self.0.push(Bytes::copy_from_slice(set));
    }

    /// Indexes them and those of the server's own services.
    fn index(&self) -> interloop::Result<Index> {
        // The user's come first, since messages number the sets.
        Index::new(self.0.iter().chain([&Bytes::from_static(OWN)]))
    }

    pub(crate) fn check(&self) -> interloop::Result {
        self.index().map(drop)
    }
}

/// The service, under either name.
#[derive(Clone)]
pub(crate) struct Reflection(Arc<Served>);

struct Served {
    index: Index,
    services: Services,
    /// The shutdown of the server's task.
    shutdown: Shutdown,
}

impl Reflection {
    pub(crate) fn new<'a>(
        sets: &FileSets,
        services: impl Iterator<Item = &'a str>,
        shutdown: Shutdown,
    ) -> interloop::Result<Self> {
        let mut services: Vec<_> = services.map(|name| Named { name: name.to_owned() }).collect();
        services.sort_by(|one, other| one.name.cmp(&other.name));
        services.dedup();
        let services = Services { services };
        Ok(Self(Arc::new(Served { index: sets.index()?, services, shutdown })))
    }

    /// Returns the services that no file describes.
    pub(crate) fn undescribed(&self) -> impl Iterator<Item = &str> {
        let Served { index, services, .. } = &*self.0;
        let names = services.services.iter().map(|service| service.name.as_str());
        names.filter(|name| index.by_symbol(name).is_none())
    }
}

impl Service<http::Request<Body>> for Reflection {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let reflection = self.clone();
        Box::pin(async move {
            if request.uri().path().splitn(3, '/').nth(2) != Some("ServerReflectionInfo") {
                return Ok(Status::unimplemented("there is no such method").into_http());
            }
            let codec = ProstCodec::<Response, Request>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(QUESTION), None);
            Ok(grpc.streaming(reflection, request).await)
        })
    }
}

impl StreamingService<Request> for Reflection {
    type Response = Response;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Response, Status>> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Request>>) -> Self::Future {
        let talk = Talk {
            served: self.0.clone(),
            questions: request.into_inner(),
            told: vec![false; self.0.index.len()],
            turn: 0,
        };
        let answers = stream::unfold(talk, async |mut talk| Some((talk.next().await?, talk)));
        ready(Ok(tonic::Response::new(Box::pin(answers))))
    }
}

/// One stream.
struct Talk {
    served: Arc<Served>,
    questions: Streaming<Request>,
    /// The files that this client has.
    told: Vec<bool>,
    turn: usize,
}

impl Talk {
    /// Returns the next answer. When asked to stop, it answers what has come, within its turn, and ends.
    async fn next(&mut self) -> Option<Result<Response, Status>> {
        let Self { served, questions, told, turn } = self;
        if *turn == TURN {
            if served.shutdown.is_requested() {
                return None;
            }
            pause().await;
            *turn = 0;
        }
        *turn += 1;
        let mut stops = served.shutdown.requested();
        let question = poll_fn(|cx| match Pin::new(&mut *questions).poll_next(cx) {
            Poll::Pending => Pin::new(&mut stops).poll(cx).map(|()| None),
            come => come,
        });
        Some(question.await?.map(|request| served.respond(request, told)))
    }
}

/// Lets others go on. Twice, because after the first pause the body sends what it has, and asks for more at once.
async fn pause() {
    let mut left = 2;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Served {
    fn respond(&self, request: Request, told: &mut [bool]) -> Response {
        let answer = match &request.question {
            Some(question) => self.answer(question, told),
            None => error(Code::InvalidArgument, "nothing is asked"),
        };
        Response { valid_host: request.host.clone(), original_request: Some(request), answer: Some(answer) }
    }

    fn answer(&self, question: &Question, told: &mut [bool]) -> Answer {
        let index = &self.index;
        let file = match question {
            Question::ListServices(_) => return Answer::Services(self.services.clone()),
            Question::AllExtensionNumbersOfType(name) => {
                return match index.extension_numbers(name) {
                    Some(numbers) => {
                        Answer::ExtensionNumbers(ExtensionNumbers { base_type_name: name.clone(), numbers })
                    }
                    None => error(Code::NotFound, "no message has this name"),
                };
            }
            Question::FileByFilename(name) => index.by_name(name).ok_or("no file has this name"),
            Question::FileContainingSymbol(name) => index.by_symbol(name).ok_or("no file declares this"),
            Question::FileContainingExtension(extension) => index
                .by_extension(&extension.containing_type, extension.number)
                .ok_or("no file has an extension of this number for this message"),
        };
        match file {
            Ok(file) => Answer::Files(Files { files: index.with_imports(file, told) }),
            Err(why) => error(Code::NotFound, why),
        }
    }
}

fn error(code: Code, message: &str) -> Answer {
    Answer::Error(Error { code: code.into(), message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, task::Waker};

    use http_body::Body as _;
    use interloop::{Service as Host, Thread, task_fn};

    use super::*;

    /// A shutdown that is never requested, as long as the service exists.
    fn shutdown() -> (interloop::Running, Shutdown) {
        let (say, said) = mpsc::channel();
        let mut service = Host::new("test");
        let task = task_fn::<Thread>(async move |cx| {
            say.send(cx.shutdown())?;
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("task", task);
        (service.start().expect("the configuration works"), said.recv().expect("the task runs"))
    }

    #[test]
    fn others_have_their_turn_between_answers() {
        let (running, shutdown) = shutdown();
        let mut reflection = Reflection::new(&FileSets::default(), NAMES.into_iter(), shutdown).expect("it is whole");
        // Without a symbol's name, so the answer takes a few bytes.
        let questions = "\0\0\0\0\x02\x22\0".repeat(10 * TURN);
        let uri = format!("/{}/ServerReflectionInfo", NAMES[0]);
        let request = http::Request::post(uri).body(Body::new(questions)).expect("it is a request");
        let mut cx = Context::from_waker(Waker::noop());
        let mut call = Service::call(&mut reflection, request);
        let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else { panic!("it waits for nothing") };
        let mut body = response.into_body();
        // The amounts that come without a pause.
        let mut gulps = vec![0];
        loop {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(Some(frame)) => {
                    let length = frame.expect("it is in order").into_data().map_or(0, |data| data.len());
                    *gulps.last_mut().expect("there is one") += length;
                }
                Poll::Ready(None) => break,
                Poll::Pending => gulps.push(0),
            }
            assert!(gulps.len() < 100, "it doesn't end");
        }
        let (most, all) = (*gulps.iter().max().expect("there is one"), gulps.iter().sum::<usize>());
        assert_eq!(all % (10 * TURN), 0, "all answers are alike");
        assert_eq!(most, all / 10, "{gulps:?}");
        assert_eq!(running.stop().code, 0);
    }
}

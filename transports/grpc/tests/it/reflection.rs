//! Reflection: by bytes, and by Python's own gRPC, which knows only what reflection tells it about the services.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::util::{
    Hosting, eventually,
    frames::{DATA, HEADERS, LAST, Raw},
    host_set, variants, watchdog,
};
use interloop::{Service, Thread, net::Net};
use interloop_grpc::GrpcServer;
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
    descriptor_proto::ExtensionRange,
    field_descriptor_proto::{Label, Type},
};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

/// A set of files, which an answer contains too.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Numbers {
    #[prost(string, tag = "1")]
    of: String,
    #[prost(int32, repeated, tag = "2")]
    numbers: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct Failure {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(bytes = "vec", tag = "2")]
    question: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    files: Option<Files>,
    #[prost(message, optional, tag = "5")]
    numbers: Option<Numbers>,
    #[prost(message, optional, tag = "6")]
    services: Option<Services>,
    #[prost(message, optional, tag = "7")]
    failure: Option<Failure>,
}

// The fields of a request.
const HOST: u8 = 1;
const FILE: u8 = 3;
const SYMBOL: u8 = 4;
const EXTENSION: u8 = 5;
const NUMBERS: u8 = 6;
const LIST: u8 = 7;

fn field(tag: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [&[tag << 3 | 2, u8::try_from(value.len()).expect("it is short")], value].concat()
}

fn extension(of: &str, number: u8) -> Vec<u8> {
    field(EXTENSION, [&field(1, of)[..], &[0x10, number]].concat())
}

/// Returns a message as it goes over the wire.
fn message(payload: &[u8]) -> Vec<u8> {
    [&[0][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// One stream, on a connection of its own.
struct Talk {
    client: Raw,
    read: Vec<u8>,
    ended: bool,
}

impl Talk {
    fn new(hosting: &Hosting, version: &str) -> Self {
        let mut client = Raw::connect(hosting.port());
        client.open(1, &format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"));
        Self { client, read: Vec::new(), ended: false }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.client.send(1, 0, bytes);
    }

    fn half_close(&mut self) {
        self.client.send(1, LAST, b"");
    }

    /// Returns None when the server has ended it.
    fn next(&mut self) -> Option<Answer> {
        loop {
            if let Some((head, rest)) = self.read.split_at_checked(5) {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let answer = Answer::decode(payload).expect("it is an answer");
                    self.read.drain(..5 + length);
                    return Some(answer);
                }
            }
            if self.ended {
                assert_eq!(self.read, b"", "a part of an answer");
                return None;
            }
            let frame = self.client.next().expect("the connection is open");
            self.ended = frame.kind == HEADERS && frame.flags & LAST != 0;
            if frame.kind == DATA && !frame.payload.is_empty() {
                self.client.take(1, frame.payload.len() as u32);
                self.read.extend(frame.payload);
            }
        }
    }

    fn ask(&mut self, question: &[u8]) -> Answer {
        self.send(&message(question));
        let answer = self.next().expect("the stream goes on");
        assert_eq!(answer.question, question);
        answer
    }

    fn files(&mut self, question: &[u8]) -> Vec<Vec<u8>> {
        let answer = self.ask(question);
        answer.files.clone().unwrap_or_else(|| panic!("no files: {answer:?}")).files
    }
}

fn a_file(name: &str, package: &str, imports: &[&str]) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(format!("test/{name}.proto")),
        package: Some(package.to_owned()),
        dependency: imports.iter().map(|name| format!("test/{name}.proto")).collect(),
        ..FileDescriptorProto::default()
    }
}

fn a_field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

fn an_extension(name: &str, number: i32) -> FieldDescriptorProto {
    FieldDescriptorProto { extendee: Some(".test.Word".to_owned()), ..a_field(name, number, Type::String) }
}

fn an_enum(name: &str, value: &str) -> EnumDescriptorProto {
    let value = EnumValueDescriptorProto { name: Some(value.to_owned()), number: Some(0), options: None };
    EnumDescriptorProto { name: Some(name.to_owned()), value: vec![value], ..EnumDescriptorProto::default() }
}

fn a_message(name: &str) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), ..DescriptorProto::default() }
}

/// `test.Echo`, and its files: echo imports word, word imports deep; more has extensions of a message in word.
struct Described {
    deep: Vec<u8>,
    word: Vec<u8>,
    more: Vec<u8>,
    echo: Vec<u8>,
}

impl Described {
    fn new() -> Self {
        let deep = FileDescriptorProto { message_type: vec![a_message("Deepest")], ..a_file("deep", "test.deep", &[]) };
        let word = DescriptorProto {
            field: vec![
                a_field("value", 1, Type::Bytes),
                FieldDescriptorProto { oneof_index: Some(0), ..a_field("left", 2, Type::String) },
                FieldDescriptorProto {
                    type_name: Some(".test.deep.Deepest".to_owned()),
                    ..a_field("deepest", 3, Type::Message)
                },
            ],
            nested_type: vec![DescriptorProto {
                enum_type: vec![an_enum("Kind", "NONE")],
                field: vec![a_field("inner", 1, Type::Int32)],
                ..a_message("Part")
            }],
            extension_range: vec![ExtensionRange { start: Some(100), end: Some(200), options: None }],
            oneof_decl: vec![OneofDescriptorProto { name: Some("side".to_owned()), options: None }],
            ..a_message("Word")
        };
        let word = FileDescriptorProto {
            message_type: vec![word],
            enum_type: vec![an_enum("Mood", "GOOD")],
            ..a_file("word", "test", &["deep"])
        };
        let more = FileDescriptorProto {
            extension: vec![an_extension("more", 102)],
            message_type: vec![DescriptorProto { extension: vec![an_extension("held", 101)], ..a_message("Holder") }],
            ..a_file("more", "test", &["word"])
        };
        let method = |name: &str, client: bool, server: bool| MethodDescriptorProto {
            name: Some(name.to_owned()),
            input_type: Some(".test.Word".to_owned()),
            output_type: Some(".test.Word".to_owned()),
            client_streaming: Some(client),
            server_streaming: Some(server),
            options: None,
        };
        let service = ServiceDescriptorProto {
            name: Some("Echo".to_owned()),
            method: vec![
                method("Say", false, false),
                method("Many", false, true),
                method("Count", true, false),
                method("Chat", true, true),
            ],
            options: None,
        };
        let echo = FileDescriptorProto { service: vec![service], ..a_file("echo", "test", &["word"]) };
        // An unknown field must be preserved: custom options are such fields.
        let bytes = |file: FileDescriptorProto| [&file.encode_to_vec()[..], b"\xc0\x3e\x07"].concat();
        Self { deep: bytes(deep), word: bytes(word), more: bytes(more), echo: bytes(echo) }
    }

    /// Two sets, which share a file.
    fn sets(&self) -> [Vec<u8>; 2] {
        [&[&self.deep, &self.word, &self.echo][..], &[&self.deep, &self.word, &self.more]].map(set)
    }
}

fn set<B: AsRef<[u8]>>(files: &[B]) -> Vec<u8> {
    Files { files: files.iter().map(|file| file.as_ref().to_vec()).collect() }.encode_to_vec()
}

fn hosting<L: Net>(arguments: &[&str]) -> (Described, Hosting) {
    let described = Described::new();
    let hosting = host_set::<L>(arguments, |server| server.with_reflection(described.sets()));
    (described, hosting)
}

fn ended(hosting: &Hosting, status: u8) -> u64 {
    let method = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    hosting.counter(&format!("calls{{method=\"{method}\",status=\"{status}\"}}"))
}

fn each_kind_of_question_is_answered<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (described, hosting) = hosting::<L>(arguments);
        let Described { deep, word, more, echo } = &described;
        for version in ["v1", "v1alpha"] {
            let mut talk = Talk::new(&hosting, version);
            let services = talk.ask(&field(LIST, "*")).services.expect("a list").services;
            let names: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
            let [v1, v1alpha] = ["v1", "v1alpha"].map(|version| format!("grpc.reflection.{version}.ServerReflection"));
            assert_eq!(names, ["grpc.health.v1.Health", &v1, &v1alpha, "test.Echo"]);
            for (symbol, file) in [
                ("test.Echo", echo),
                ("test.Echo.Chat", echo),
                ("test.Word", word),
                ("test.Word.value", word),
                ("test.Word.side", word),
                ("test.Word.Part", word),
                ("test.Word.Part.inner", word),
                ("test.Word.Part.Kind", word),
                ("test.Word.Part.NONE", word),
                ("test.Mood", word),
                ("test.GOOD", word),
                ("test.more", more),
                ("test.Holder.held", more),
                ("test.deep.Deepest", deep),
            ] {
                assert_eq!(&talk.files(&field(SYMBOL, symbol))[0], file, "{symbol}");
            }
            for name in services.into_iter().map(|service| service.name) {
                talk.files(&field(SYMBOL, name));
            }
            for (name, file) in [("echo", echo), ("word", word), ("more", more), ("deep", deep)] {
                assert_eq!(&talk.files(&field(FILE, format!("test/{name}.proto")))[0], file);
            }
            let of = talk.files(&field(FILE, format!("grpc/reflection/{version}/reflection.proto")));
            let of = FileDescriptorProto::decode(&*of[0]).expect("it is a file");
            assert_eq!(of.package(), format!("grpc.reflection.{version}"));
            for number in [101, 102] {
                assert_eq!(&talk.files(&extension("test.Word", number))[0], more);
            }
            let numbers = talk.ask(&field(NUMBERS, "test.Word")).numbers.expect("numbers");
            assert_eq!((numbers.of.as_str(), &numbers.numbers[..]), ("test.Word", &[101, 102][..]));
            let none = talk.ask(&field(NUMBERS, "test.Word.Part")).numbers.expect("numbers");
            assert_eq!((none.of.as_str(), &none.numbers[..]), ("test.Word.Part", &[][..]));
            let of_host = [field(HOST, "here"), field(LIST, "")].concat();
            assert_eq!(talk.ask(&of_host).host, "here");
        }
        assert_eq!(hosting.running.stop().code, 0);
    }
}

fn imports_come_along_once_a_stream<L: Net>() {
    let _watchdog = watchdog();
    let (described, hosting) = hosting::<L>(&[]);
    let Described { deep, word, more, echo } = described;
    let mut talk = Talk::new(&hosting, "v1");
    assert_eq!(talk.files(&field(SYMBOL, "test.Echo")), [&echo, &word, &deep].map(Clone::clone));
    assert_eq!(talk.files(&field(SYMBOL, "test.more")), std::slice::from_ref(&more));
    assert_eq!(talk.files(&field(SYMBOL, "test.Word")), std::slice::from_ref(&word));
    let mut another = Talk::new(&hosting, "v1");
    assert_eq!(another.files(&field(SYMBOL, "test.more")), [more, word, deep]);
    assert_eq!(hosting.running.stop().code, 0);
}

fn what_there_is_not_is_an_answer_too<L: Net>() {
    let _watchdog = watchdog();
    let (_, hosting) = hosting::<L>(&[]);
    let mut talk = Talk::new(&hosting, "v1");
    for (question, code) in [
        (field(FILE, "test/none.proto"), 5),
        (field(FILE, ""), 5),
        (field(SYMBOL, "test.None"), 5),
        (field(SYMBOL, "test"), 5),
        (field(SYMBOL, ""), 5),
        (extension("test.Word", 103), 5),
        (extension("test.None", 101), 5),
        (field(NUMBERS, "test.None"), 5),
        // It exists, and is no message.
        (field(NUMBERS, "test.Echo"), 5),
        (Vec::new(), 3),
        (field(HOST, "here"), 3),
        // An unknown field.
        (field(15, "?"), 3),
    ] {
        // A server that doesn't know a field can't repeat it.
        talk.send(&message(&question));
        let answer = talk.next().expect("the stream goes on");
        assert_eq!(answer.failure.as_ref().map(|failure| failure.code), Some(code), "{question:?}: {answer:?}");
        assert!(answer.failure.is_some_and(|failure| !failure.message.is_empty()));
    }
    assert!(talk.ask(&field(LIST, "")).services.is_some());
    talk.half_close();
    assert_eq!(talk.next(), None);
    eventually("it has ended in order", || ended(&hosting, 0) == 1);
    assert_eq!(hosting.running.stop().code, 0);
}

fn garbage_ends_its_stream_alone<L: Net>() {
    let _watchdog = watchdog();
    let (_, hosting) = hosting::<L>(&[]);
    let mut bystander = Talk::new(&hosting, "v1");
    assert!(bystander.ask(&field(LIST, "")).services.is_some());
    let long = message(&[field(FILE, [b'x'; 100]).repeat(1000)].concat());
    for (bytes, status) in [
        (message(b"\x1a\x7fshort"), 13),
        (message(b"\x1a\x02\xff\xfe"), 13),
        (message(&[0xff; 100]), 13),
        (b"\xff\xff\xff\xff\xff\xff\xff".to_vec(), 13),
        // A message with the compressed flag.
        (b"\x01\0\0\0\x01\0".to_vec(), 13),
        (b"\0\xff\xff\xff\xff".to_vec(), 11),
        (long[..16_000].to_vec(), 11),
    ] {
        let before = ended(&hosting, status);
        let mut talk = Talk::new(&hosting, "v1");
        assert!(talk.ask(&field(LIST, "")).services.is_some());
        talk.send(&bytes);
        assert_eq!(talk.next(), None);
        eventually(&format!("{bytes:?} ends with {status}"), || ended(&hosting, status) == before + 1);
        assert!(bystander.ask(&field(LIST, "")).services.is_some());
    }
    assert_eq!(hosting.counter("panics"), 0);
    assert_eq!(hosting.running.stop().code, 0);
}

fn who_leaves_leaves_nothing_behind<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (_, hosting) = hosting::<L>(arguments);
        let half = &message(&field(LIST, "all"))[..7];
        for (at, bytes) in [&b""[..], half].into_iter().enumerate() {
            let before = ended(&hosting, 1);
            let mut reset = Talk::new(&hosting, "v1");
            let mut gone = Talk::new(&hosting, "v1");
            for talk in [&mut reset, &mut gone] {
                assert!(talk.ask(&field(LIST, "")).services.is_some());
                talk.send(bytes);
            }
            reset.client.reset(1);
            drop(gone);
            eventually(&format!("both are gone, {at}"), || ended(&hosting, 1) == before + 2);
        }
        // In order, with and without a request.
        let mut quiet = Talk::new(&hosting, "v1");
        quiet.half_close();
        assert_eq!(quiet.next(), None);
        let mut asked = Talk::new(&hosting, "v1");
        asked.send(&message(&field(LIST, "")));
        asked.half_close();
        assert!(asked.next().is_some_and(|answer| answer.services.is_some()));
        assert_eq!(asked.next(), None);
        eventually("both have ended", || ended(&hosting, 0) == 2);
        eventually("no connection is left of the first ones", || hosting.counter("open_connections") <= 3);
        assert_eq!(hosting.running.stop().code, 0);
    }
}

fn thousands_of_questions_on_one_stream_keep_nobody_waiting<L: Net>() {
    const QUESTIONS: usize = 20_000;
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (_, hosting) = hosting::<L>(arguments);
        let mut flood = Talk::new(&hosting, "v1");
        // With its first answer it agrees to the server's windows, which have room for all requests.
        assert!(flood.ask(&field(LIST, "")).services.is_some());
        // Room for all answers: the server need not wait for this client.
        flood.client.take(1, 1 << 30);
        let question = message(&field(SYMBOL, "test.None"));
        let questions = question.repeat(QUESTIONS);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let flooding = thread::spawn(move || {
            for chunk in questions.chunks(16_000) {
                flood.send(chunk);
            }
            flood.half_close();
            let answered = std::iter::from_fn(|| flood.next()).filter(|answer| answer.failure.is_some()).count();
            is_over.store(true, Ordering::SeqCst);
            answered
        });
        let mut other = Talk::new(&hosting, "v1");
        let mut answers = 0;
        while !over.load(Ordering::SeqCst) {
            assert!(other.ask(&field(LIST, "")).services.is_some());
            answers += 1;
        }
        assert!(answers > 0);
        assert_eq!(flooding.join().expect("it doesn't panic"), QUESTIONS);
        assert_eq!(hosting.running.stop().code, 0);
    }
}

fn open_streams_end_with_the_server<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (_, hosting) = hosting::<L>(arguments);
        let mut talks = ["v1", "v1alpha"].map(|version| Talk::new(&hosting, version));
        for talk in &mut talks {
            assert!(talk.ask(&field(LIST, "")).services.is_some());
        }
        // A client that asks without end, and reads nothing.
        let mut flood = Talk::new(&hosting, "v1");
        assert!(flood.ask(&field(LIST, "")).services.is_some());
        let questions = message(&field(SYMBOL, "test.None")).repeat(40_000);
        questions.chunks(16_000).for_each(|chunk| flood.send(chunk));
        // It has begun to answer, and ends once there is room for the rest of its turn.
        assert!(flood.next().is_some());
        hosting.running.request_shutdown("test");
        for talk in &mut talks {
            assert_eq!(talk.next(), None);
        }
        let answered = std::iter::from_fn(|| flood.next()).count();
        assert!(answered < 39_999, "the rest is not answered");
        let report = hosting.running.join();
        assert_eq!(report.code, 0, "{report}");
    }
}

fn a_client_of_another_language_calls_what_it_is_told_of<L: Net>() {
    let _watchdog = watchdog();
    let (_, hosting) = hosting::<L>(&[]);
    let said = Command::new(PYTHON)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reflection.py"))
        .arg(hosting.port().port().to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("there is a python3");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(text.lines().last(), Some("through"));
    assert_eq!(hosting.running.stop().code, 0);
}

crate::util::on_each_loop! {
    each_kind_of_question_is_answered,
    imports_come_along_once_a_stream,
    what_there_is_not_is_an_answer_too,
    garbage_ends_its_stream_alone,
    who_leaves_leaves_nothing_behind,
    thousands_of_questions_on_one_stream_keep_nobody_waiting,
    open_streams_end_with_the_server,
    a_client_of_another_language_calls_what_it_is_told_of,
}

#[test]
fn what_describes_nothing_is_one_line_and_78() {
    let _watchdog = watchdog();
    let Described { deep, word, echo, .. } = Described::new();
    let elsewhere = FileDescriptorProto { package: Some("elsewhere".to_owned()), ..a_file("deep", "", &[]) };
    let unreadable = "file descriptor set 2 of reflection can't be read: ";
    for (second, why) in [
        (b"garbage".to_vec(), unreadable),
        (deep.clone(), unreadable),
        (set(&[&deep])[..20].to_vec(), unreadable),
        (Vec::new(), "file descriptor set 2 of reflection can't be read: there is no file in it"),
        (set(&[b""]), "file descriptor set 2 of reflection can't be read: a file in it has no name"),
        (
            set(&[elsewhere.encode_to_vec()]),
            "reflection has two files test/deep.proto, of the packages \"test.deep\" and \"elsewhere\"",
        ),
        (set(&[echo]), "reflection has test/echo.proto without test/word.proto, which it imports"),
    ] {
        for arguments in [&[][..], &["--dry-run"]] {
            let mut service = Service::new("test");
            let server = GrpcServer::new().with_reflection([set(&[&deep])]).with_reflection([&second]);
            service.task_on::<Thread>("grpc", server);
            service.arguments(arguments);
            let error = service.start().expect_err("it can't work");
            let text = error.to_string();
            assert!(text.starts_with(&format!("test: task grpc: {why}")) && !text.contains('\n'), "{text}");
            assert_eq!(error.code(), 78);
        }
    }
    // In any order, and any number of times.
    let sets = [set(&[&word, &deep]), set(&[&deep]), set(&[&deep, &word])];
    let mut service = Service::new("test");
    service.task_on::<Thread>("grpc", GrpcServer::new().with_reflection(sets));
    assert_eq!(service.start().expect("it works").stop().code, 0);
}

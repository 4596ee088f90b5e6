//! Tests the room and its pages, without window and notifications: `--tasks http` leaves them out. GTK would need the
//! main thread, which a test doesn't have.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use interloop::testing::{RunningTest, TestService};
use socket2::SockRef;
use tungstenite::{Error, Message, WebSocket, client::IntoClientRequest, http::HeaderValue, protocol::CloseFrame};

const SOON: Duration = Duration::from_secs(10);

struct Page(WebSocket<TcpStream>);

impl Page {
    /// Asks to enter, from a page of this origin.
    fn open(test: &RunningTest, stream: TcpStream, origin: Option<&str>) -> Result<Self, u16> {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut request = format!("ws://{}/chat", test.tcp("http")).into_client_request().unwrap();
        origin.map(|origin| request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap()));
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    fn enter(test: &RunningTest, name: &str) -> Self {
        let stream = TcpStream::connect(test.tcp("http")).unwrap();
        let mut page = Self::open(test, stream, None).unwrap();
        page.say(name);
        page
    }

    fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    fn hear(&mut self) -> Result<String, CloseFrame> {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(close) => return Err(close.unwrap()),
                _ => {}
            }
        }
    }

    fn hears(&mut self, kind: &str, name: &str, text: Option<&str>) {
        let text = text.map(|text| format!(r#","text":"{text}""#)).unwrap_or_default();
        assert_eq!(self.hear().unwrap(), format!(r#"{{"kind":"{kind}","name":"{name}"{text}}}"#));
    }

    /// Returns the code and the reason.
    fn closed(mut self) -> (u16, String) {
        loop {
            if let Err(close) = self.hear() {
                return (close.code.into(), close.reason.to_string());
            }
        }
    }
}

fn start() -> RunningTest {
    TestService::new(chat::service()).args(["--tasks", "http", "--http-port", "0"]).start()
}

#[test]
fn who_is_in_the_room_hears_and_newcomers_hear_what_was_said() {
    let test = start();
    let mut ada = Page::enter(&test, "Ada");
    ada.hears("joined", "Ada", None);
    ada.say("  <b>hello</b> ");
    ada.hears("said", "Ada", Some("<b>hello</b>"));
    let mut bob = Page::enter(&test, "Bob");
    bob.hears("said", "Ada", Some("<b>hello</b>"));
    bob.hears("joined", "Bob", None);
    ada.hears("joined", "Bob", None);
    ada.say(&"x".repeat(501));
    assert!(ada.hear().unwrap().starts_with(r#"{"kind":"refused","why":"that is too long"#));
    drop(bob);
    ada.hears("left", "Bob", None);
    assert_eq!(test.counter("room.said"), 1);
    test.stop().assert_clean();
    assert_eq!(ada.closed(), (1001, "the server stops".to_owned()));
}

#[test]
fn who_has_no_name_of_its_own_is_not_let_in() {
    let test = start();
    let mut ada = Page::enter(&test, "Ada");
    ada.hears("joined", "Ada", None);
    for name in ["", " ", "a name that goes on and on", "a\nb"] {
        assert_eq!(Page::enter(&test, name).closed(), (1008, "a name has 1 to 20 characters".to_owned()));
    }
    assert_eq!(Page::enter(&test, "ada").closed(), (1008, "somebody is called so already".to_owned()));
    let crowd = (1..100).map(|number| Page::enter(&test, &number.to_string())).collect::<Vec<_>>();
    (1..100).for_each(|_| drop(ada.hear().unwrap()));
    assert_eq!(Page::enter(&test, "one too many").closed(), (1008, "the room is full".to_owned()));
    drop((ada, crowd));
    test.stop().assert_clean();
}

#[test]
fn pages_of_other_origins_are_not_let_in() {
    let test = TestService::new(chat::service());
    let test = test.args(["--tasks", "http", "--http-port", "0", "--origin", "https://chat.example"]).start();
    let address = test.tcp("http");
    let open = |origin: &str| Page::open(&test, TcpStream::connect(address).unwrap(), Some(origin)).map(drop);
    assert_eq!(open(&format!("http://{address}")), Ok(()));
    assert_eq!(open("https://chat.example"), Ok(()));
    for origin in ["https://elsewhere.example", "http://localhost", "null"] {
        assert_eq!(open(origin), Err(403), "{origin}");
    }
    test.stop().assert_clean();
}

#[test]
fn who_is_too_slow_is_told_so_and_others_are_not_kept_waiting() {
    let test = start();
    let stream = TcpStream::connect(test.tcp("http")).unwrap();
    // Otherwise the system buffers megabytes, which take a long time to fill.
    SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    let mut slow = Page::open(&test, stream, None).unwrap();
    slow.say("Slow");
    test.wait_until("it is in", || test.counter("http.messages_received") == 1);
    let mut talkers = (0..20).map(|number| Page::enter(&test, &number.to_string())).collect::<Vec<_>>();
    // Four bytes per character.
    let long = "\u{1f980}".repeat(500);
    let begun = Instant::now();
    let mut is_left = false;
    while !is_left {
        talkers.iter_mut().for_each(|talker| talker.say(&long));
        for talker in &mut talkers {
            let mut heard = 0;
            while heard < 20 {
                let event = talker.hear().unwrap();
                heard += usize::from(event.contains("said"));
                is_left |= event == r#"{"kind":"left","name":"Slow"}"#;
            }
        }
        assert!(begun.elapsed() < 2 * SOON, "it is still waited for");
    }
    assert_eq!(slow.closed(), (1008, "you are too slow".to_owned()));
    drop(talkers);
    test.stop().assert_clean();
}

//! A false bus, malicious clients, misbehaving handlers.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use interloop::{Report, Service, net::Net};
use interloop_dbus::Lost;

use crate::util::{
    Daemon, Echo, PATIENCE, eventually, on_each_loop, said, start, wait_for_counter,
    wire::{self, CALL, Client, FalseBus, NO_REPLY, Raw},
};

on_each_loop! {
    a_bus_that_begins_wrongly_fails_the_start
    a_bus_that_is_slow_or_silent_fails_the_start_in_time
    a_bus_that_never_stops_talking_is_left
    a_bus_that_goes_mad_is_left_and_asked_again
    a_bus_that_falls_silent_at_first_leaves_nothing_behind
    a_bus_that_falls_silent_later_does_not_hold_up_the_stop
    half_a_message_holds_up_no_stop
    a_client_that_reads_nothing_costs_others_nothing
    a_flood_of_signals_nobody_wants_holds_up_nothing
    what_a_client_gets_wrong_is_its_own_affair
    nobody_says_in_the_buss_name_that_ours_is_lost
    calls_that_are_not_answered_yet_are_bounded_and_others_are_served
    a_flood_of_calls_whose_answers_nobody_takes_is_not_read_on
    a_crowd_of_calls_that_wait_for_answers_to_their_own_gets_them
    a_call_that_wants_no_answer_gets_no_error
    calls_that_wait_for_an_object_are_bounded_too
    two_floods_of_calls_leave_room_for_others_and_for_the_stop
    the_stop_does_not_wait_for_who_comes_after_it_has_begun
    an_answer_to_who_has_left_harms_nobody
    a_handler_that_blocks_is_left_behind_in_time
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("there is one");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Far more than any of this should take, and far less than is claimed or sent.
const MEMORY: usize = 64 << 20;

/// Returns the report of a service on a false bus.
fn fails<L: Net>(bus: &FalseBus, timeout: Duration) -> Report {
    let mut service = Service::new("lonely");
    let dbus = Echo::default().service_at(&bus.address()).when_lost(Lost::Wait).connect_timeout(timeout);
    service.task_on::<L>("dbus", dbus).stop_timeout(Duration::from_secs(3));
    let report = service.start().expect("it can be started").join();
    assert_eq!(report.code, 1, "{report:?}");
    assert!(report.stuck.is_empty(), "{report:?}");
    report
}

fn a_bus_that_begins_wrongly_fails_the_start<L: Net>() {
    let words: [&[u8]; 14] = [
        b"\n",
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xfe\r\n",
        b"OK\r\n",
        b"OK 12\r\n",
        b"REJECTED\r\n",
        b"REJECTED DBUS_COOKIE_SHA1\r\n",
        b"ERROR\r\n",
        b"DATA zz\r\n",
        b"AUTH EXTERNAL\r\n",
        b"OK 0123456789abcdef0123456789abcdef\r\nNONSENSE\r\n",
        b"OK 0123456789abcdef0123456789abcdef\r\nOK ffffffffffffffffffffffffffffffff\r\n",
        b"",
    ];
    for words in words {
        let bus = FalseBus::start(move |mut stream, _| {
            let _ = stream.write_all(words);
            if !words.is_empty() {
                wire::listen(stream);
            }
        });
        let report = fails::<L>(&bus, PATIENCE);
        assert!(!format!("{report:?}").contains("Panicked"), "{words:?}: {report:?}");
    }

    // Not before: zbus has panicked by now, and a backtrace keeps everything that it read of the program.
    let before = resident();
    let hello = |answer: Raw| answer.bytes();
    let claims = |at: usize, length: u32| {
        let mut bytes = Raw::answer(1).text(":1.1").bytes();
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    let byte = |at: usize, byte: u8| {
        let mut bytes = Raw::answer(1).text(":1.1").bytes();
        bytes[at] = byte;
        bytes
    };
    let answers = [
        claims(4, u32::MAX),
        claims(12, u32::MAX),
        claims(12, 1 << 26 | 1),
        claims(12, 3),
        claims(8, 0),
        byte(0, b'x'),
        byte(1, 0),
        byte(1, 9),
        byte(17, 9),
        hello(Raw::answer(1)),
        hello(Raw::answer(1).text("")),
        hello(Raw::answer(1).text("not a name")),
        hello(Raw::answer(1).body("u", &[1, 0, 0, 0])),
        hello(Raw::answer(1).body("s", &[0xff, 0xff, 0xff, 0xff])),
        hello(Raw::answer(1).body("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaas", &[0; 4])),
        hello(Raw::answer(1).body("(((", &[0; 4])),
        hello(Raw::signal("/", "org.freedesktop.DBus", "NameAcquired").text(":1.1")),
        hello(Raw::new(wire::ERROR).number(5, 1).string(4, b's', "org.example.Error.No").text("no")),
    ];
    for answer in answers {
        let shown = format!("{answer:?}");
        let bus = FalseBus::start(move |mut stream, _| {
            if wire::let_in(&mut stream).is_ok() {
                let _ = stream.write_all(&answer);
                // A reader that waits for more finds the end.
                let _ = stream.shutdown(std::net::Shutdown::Write);
                wire::listen(stream);
            }
        });
        let report = fails::<L>(&bus, PATIENCE);
        assert!(!format!("{report:?}").contains("Panicked"), "{shown}: {report:?}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more than before");
}

fn a_bus_that_is_slow_or_silent_fails_the_start_in_time<L: Net>() {
    let timeout = Duration::from_millis(500);
    let behaviours: [fn(UnixStream, usize); 3] = [
        |stream, _| wire::listen(stream),
        |mut stream, _| {
            // A byte now and then, of a line without end.
            while stream.write_all(b"O").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        },
        |mut stream, _| {
            // Lets the client in, and begins an answer to Hello.
            if wire::let_in(&mut stream).is_ok() {
                let _ = stream.write_all(&Raw::answer(1).text(":1.1").bytes()[..20]);
                wire::listen(stream);
            }
        },
    ];
    for behave in behaviours {
        let bus = FalseBus::start(behave);
        let begin = Instant::now();
        let report = fails::<L>(&bus, timeout);
        assert!(format!("{report:?}").contains("the bus has not let us in within 500ms"), "{report:?}");
        assert!(begin.elapsed() >= timeout);
    }
}

fn a_bus_that_never_stops_talking_is_left<L: Net>() {
    let before = resident();
    let bus = FalseBus::start(|mut stream, _| while stream.write_all(&[b'O'; 4096]).is_ok() {});
    let report = fails::<L>(&bus, PATIENCE);
    assert!(format!("{report:?}").contains("says too much before it lets anyone in"), "{report:?}");
    let grown = resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more than before");
}

fn a_bus_that_goes_mad_is_left_and_asked_again<L: Net>() {
    let before = resident();
    let claims = |at: usize, length: u32| {
        let mut bytes = Raw::signal("/", "org.example.Mad", "Mad").text("mad").bytes();
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    let whole = Raw::signal("/", "org.example.Mad", "Mad").text("mad").bytes();
    let mads: Vec<Vec<u8>> = vec![
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 1 << 20],
        claims(4, u32::MAX),
        claims(12, u32::MAX),
        claims(8, 0),
        whole[..17].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        Raw::new(CALL).bytes(),
        Raw::new(9).bytes(),
        Raw::call("Say").string(77, b's', "what").bytes(),
        Raw::call("Say").body("{{", &[0; 8]).bytes(),
        Raw::call("Say").string(3, b's', "Twice").bytes(),
        Vec::new(),
    ];
    let count = mads.len() as u64;
    let bus = FalseBus::start(move |mut stream, nth| {
        let Some(mad) = mads.get(nth) else { return wire::behave(stream) };
        if wire::until_named(&mut stream, 2).is_ok() {
            let _ = stream.write_all(mad);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            wire::listen(stream);
        }
    });
    let running = start::<L>(Echo::default().service_at(&bus.address()).when_lost(Lost::Wait));
    wait_for_counter(&running.handle(), "connections", count + 1);
    let task = running.handle().status().tasks.remove(0);
    assert_eq!((task.counters["bus_losses"], task.counters["panics"]), (count, 0));
    let grown = resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more than before");
    assert_eq!(running.stop().code, 0);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}

fn a_bus_that_falls_silent_at_first_leaves_nothing_behind<L: Net>() {
    // The first lets it in, the next ones only half: they are silent when asked for the name.
    let silent = 5;
    let bus = FalseBus::start(move |mut stream, nth| match nth {
        0 => {
            let _ = wire::until_named(&mut stream, 2);
        }
        nth if nth <= silent => {
            let Ok(mut to) = stream.try_clone() else { return };
            if wire::let_in(&mut stream).is_ok() {
                // Hello, and the first of its matches.
                for _ in 0..2 {
                    let _ = wire::answer_one(&mut stream, &mut to);
                }
                wire::listen(stream);
            }
        }
        _ => wire::behave(stream),
    });
    let before = descriptors();
    let dbus = Echo::default().service_at(&bus.address()).when_lost(Lost::Wait);
    let running = start::<L>(dbus.connect_timeout(Duration::from_millis(100)));
    wait_for_counter(&running.handle(), "connections", 2);
    assert_eq!(bus.connections.load(Ordering::Acquire), silent + 2);
    // Both ends of the last one are in this process, and so are the loop's own descriptors.
    eventually("the others are closed", || descriptors() <= before + 11);
    assert_eq!(running.stop().code, 0);
}

fn a_bus_that_falls_silent_later_does_not_hold_up_the_stop<L: Net>() {
    // It reads and answers nothing, or doesn't even read.
    for reads in [true, false] {
        let held = Mutex::new(Vec::new());
        let bus = FalseBus::start(move |mut stream, _| {
            if wire::until_named(&mut stream, 2).is_ok() {
                if reads { wire::listen(stream) } else { held.lock().expect("no panic").push(stream) }
            }
        });
        let running = start::<L>(Echo::default().service_at(&bus.address()).when_lost(Lost::Wait));
        let begin = Instant::now();
        let report = running.stop();
        assert_eq!(report.code, 0, "{report}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }
}

fn half_a_message_holds_up_no_stop<L: Net>() {
    let before = resident();
    let call = Raw::call("Say").text("hello").bytes();
    let mut huge = call.clone();
    // Nearly all of the allowed 128 MiB.
    huge[4..8].copy_from_slice(&(120_u32 << 20).to_le_bytes());
    for half in [call[..1].to_vec(), call[..17].to_vec(), call[..call.len() - 1].to_vec(), huge] {
        let sent = Arc::new(AtomicBool::new(false));
        let is_sent = sent.clone();
        let bus = FalseBus::start(move |mut stream, _| {
            if wire::until_named(&mut stream, 2).is_ok() {
                is_sent.store(stream.write_all(&half).is_ok(), Ordering::Release);
                wire::listen(stream);
            }
        });
        let running = start::<L>(Echo::default().service_at(&bus.address()).when_lost(Lost::Wait));
        eventually("the half is sent", || sent.load(Ordering::Acquire));
        let begin = Instant::now();
        let report = running.stop();
        assert_eq!(report.code, 0, "{report}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more than before");
}

fn a_client_that_reads_nothing_costs_others_nothing<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(Echo::default().service(&daemon));
    let before = resident();
    let mut client = Client::of(&daemon);
    // Their answers are 96 MB: the bus keeps them, or disconnects the client.
    let mut call = Raw::call("Say").text(&"x".repeat(32 << 10));
    for serial in 0..3000 {
        call.serial = serial + 10;
        if !client.sends(&call.bytes()) {
            break;
        }
    }
    assert_eq!(daemon.say("hello"), "('hello',)");
    // And a client that leaves half a message behind.
    let mut halved = Client::of(&daemon);
    assert!(halved.sends(&call.bytes()[..1000]), "the bus reads");
    assert_eq!(daemon.say("hello"), "('hello',)");
    let grown = resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more than before");
    let begin = Instant::now();
    let report = running.stop();
    assert_eq!(report.code, 0, "{report}");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

/// The bus answers all the same, or it doesn't.
fn a_flood_of_signals_nobody_wants_holds_up_nothing<L: Net>() {
    for answers in [true, false] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let bus = FalseBus::start(move |mut stream, _| {
            if wire::until_named(&mut stream, 1).is_err() {
                return;
            }
            let Ok(to) = stream.try_clone() else { return };
            let (to, count) = (Arc::new(Mutex::new(to)), count.clone());
            // The lock is not fair.
            let wants_to_answer = Arc::new(AtomicBool::new(false));
            let flood = thread::spawn({
                let (to, wants_to_answer) = (to.clone(), wants_to_answer.clone());
                move || {
                    let signals = Raw::signal("/", "org.example.Mad", "Mad").text("mad").bytes().repeat(64);
                    while to.lock().expect("no panic").write_all(&signals).is_ok() {
                        count.fetch_add(64, Ordering::AcqRel);
                        while wants_to_answer.load(Ordering::Acquire) {
                            thread::yield_now();
                        }
                    }
                }
            });
            while let Ok(call) = wire::read_message(&mut stream) {
                if let Some(answer) = wire::answer_to(&call).filter(|_| answers) {
                    wants_to_answer.store(true, Ordering::Release);
                    let _ = to.lock().expect("no panic").write_all(&answer.bytes());
                    wants_to_answer.store(false, Ordering::Release);
                }
            }
            let _ = stream.shutdown(std::net::Shutdown::Both);
            flood.join().expect("no panic");
        });
        let running = start::<L>(Echo::default().service_at(&bus.address()));
        // More than any socket holds: it is being read.
        eventually("it is flooded", || sent.load(Ordering::Acquire) > 20_000);
        let begin = Instant::now();
        let report = running.stop();
        assert_eq!(report.code, 0, "{answers}: {report:?}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{answers}: {:?}", begin.elapsed());
    }
}

fn what_a_client_gets_wrong_is_its_own_affair<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(Echo::default().service(&daemon));
    let nested = |depth: usize| {
        let mut body = Vec::new();
        for _ in 0..depth {
            body.extend([1, b'v', 0]);
        }
        body.extend([1, b'y', 0, 7]);
        Raw::call("Say").body("v", &body)
    };
    let mut without_interface = Raw::new(CALL);
    without_interface =
        without_interface.string(1, b'o', crate::util::PATH).string(3, b's', "Say").string(6, b's', crate::util::NAME);
    let wrongs = [
        // The bus may let these through.
        Raw::call("Say"),
        Raw::call("Say").body("u", &[1, 0, 0, 0]),
        Raw::call("Say").body("ss", b"\x01\0\0\0a\0\0\0\x01\0\0\0b\0"),
        Raw::call("Say").body("as", &[0; 4]),
        Raw::call("Say").body("(s)", b"\x01\0\0\0a\0"),
        Raw::call("Say").body("a{sv}", &[0; 8]),
        Raw::call("Say").body("h", &[0; 4]),
        Raw::call("Say").string(77, b's', "of another age").text("hello"),
        Raw::call("Say").number(78, 7).text("hello"),
        Raw::call("Say").flags(0xf8).text("hello"),
        Raw::call("Nothing"),
        Raw::call("Nothing").flags(NO_REPLY),
        without_interface.text("hello"),
        nested(20),
        nested(63),
        Raw::new(9).string(6, b's', crate::util::NAME).text("hello"),
        Raw::new(wire::RETURN).number(5, 1).string(6, b's', crate::util::NAME).text("hello"),
        Raw::new(wire::ERROR).number(5, 2).string(4, b's', "org.example.No").string(6, b's', crate::util::NAME),
        Raw::signal("/", "org.example.Mad", "Mad").string(6, b's', crate::util::NAME).text("hello"),
        // And hangs up on these.
        Raw::call("Say").body("s", &[0xff; 4]),
        Raw::call("Say").body("s", b"\x02\0\0\0\xff\xfe\0"),
        Raw::call("Say").body("b", &[2, 0, 0, 0]),
        Raw::call("Say").body("{{", &[0; 8]),
        Raw::call("Say").string(3, b's', "Twice"),
        Raw::call("not a member").text("hello"),
        nested(200),
    ];
    for wrong in wrongs {
        let mut client = Client::of(&daemon);
        client.send(&wrong);
        let mut right = Raw::call("Say").text("right");
        right.serial = 3;
        client.send(&right);
        // None once the bus has hung up.
        let answered = client.answer_to(3);
        assert_ne!(answered, Some(false), "{:?}", wrong.bytes());
        assert_eq!(daemon.say("still here"), "('still here',)", "{:?}", wrong.bytes());
    }
    let status = running.handle().status();
    let counters = &status.tasks[0].counters;
    assert_eq!((counters["connections"], counters["bus_losses"], counters["panics"]), (1, 0, 0));
    assert_eq!(running.stop().code, 0);
}

fn nobody_says_in_the_buss_name_that_ours_is_lost<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(Echo::default().service(&daemon));
    let mut client = Client::of(&daemon);
    let bus = ("/org/freedesktop/DBus", "org.freedesktop.DBus");
    for member in ["NameLost", "NameAcquired", "NameOwnerChanged"] {
        client.send(&Raw::signal(bus.0, bus.1, member).string(6, b's', crate::util::NAME).text(crate::util::NAME));
        // Also in the sender's field.
        let lie = Raw::signal(bus.0, bus.1, member).string(7, b's', bus.1).string(6, b's', crate::util::NAME);
        client.send(&lie.text(crate::util::NAME));
    }
    let mut right = Raw::call("Say").text("right");
    right.serial = 3;
    client.send(&right);
    // Everything before it has been read.
    assert_eq!(client.answer_to(3), Some(true));
    let status = running.handle().status();
    assert_eq!(status.tasks[0].counters["name_losses"], 0);
    assert_eq!(status.tasks[0].gauges["name_owned"], 1.0);
    assert_eq!(daemon.say("still mine"), "('still mine',)");
    assert_eq!(running.stop().code, 0);
}

fn calls_that_are_not_answered_yet_are_bounded_and_others_are_served<L: Net>() {
    let daemon = Daemon::start();
    let echo = Echo::default();
    let running = start::<L>(echo.service(&daemon).max_calls(64));
    let (before, flood) = (resident(), 20_000);
    let mut client = Client::of(&daemon);
    // A quarter of the permitted calls wait, and with them their contents.
    let wait = Raw::call("WaitWith").flags(NO_REPLY).text(&"x".repeat(8 << 10));
    for _ in 0..flood {
        client.send(&wait);
    }
    assert_eq!(daemon.say("meanwhile"), "('meanwhile',)");
    wait_for_counter(&running.handle(), "refused", flood - 16);
    let grown = resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more than before");
    echo.gate.wait_for(16);
    // A caller that wants an answer gets one.
    let mut call = Raw::call("WaitWith").text("more");
    call.serial = 3;
    client.send(&call);
    assert_eq!(client.answer_to(3), Some(false));
    // Four such clients take all permits.
    let mut others = [Client::of(&daemon), Client::of(&daemon), Client::of(&daemon)];
    for other in &mut others {
        for _ in 0..16 {
            other.send(&Raw::call("WaitWith").flags(NO_REPLY).text("more"));
        }
    }
    echo.gate.wait_for(64);
    let answer = daemon.say("no room");
    assert!(answer.contains("LimitsExceeded: too many calls are being answered"), "{answer}");
    echo.gate.open();
    eventually("there is room again", || daemon.say("room") == "('room',)");
    assert_eq!(running.stop().code, 0);
}

/// Returns how many of these calls the other end takes before it takes nothing for a while.
fn flood(stream: &mut UnixStream, calls: usize, call: &Raw) -> usize {
    let mut call = call.clone();
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    for sent in 0..calls {
        call.serial = sent as u32 + 10;
        if stream.write_all(&call.bytes()).is_err() {
            return sent;
        }
    }
    calls
}

fn a_flood_of_calls_whose_answers_nobody_takes_is_not_read_on<L: Net>() {
    // Refused calls, and those that zbus answers by itself: 160 MB each.
    let text = "x".repeat(8 << 10);
    let ping = Raw::new(CALL).string(1, b'o', crate::util::PATH).string(2, b's', "org.freedesktop.DBus.Peer");
    let ping = ping.string(3, b's', "Ping").string(6, b's', crate::util::NAME);
    for call in [Raw::call("WaitWith"), ping] {
        let call = call.string(7, b's', ":1.7").text(&text);
        let (before, sent) = (resident(), Arc::new(Mutex::new(None)));
        let count = sent.clone();
        let bus = FalseBus::start(move |mut stream, _| {
            if wire::until_named(&mut stream, 1).is_ok() {
                *count.lock().expect("no panic") = Some(flood(&mut stream, 20_000, &call));
            }
        });
        let running = start::<L>(Echo::default().service_at(&bus.address()).max_calls(64));
        eventually("it is flooded", || sent.lock().expect("no panic").is_some());
        let sent = sent.lock().expect("no panic").expect("it is");
        assert!(sent < 10_000, "{sent} calls were taken");
        let grown = resident().saturating_sub(before);
        assert!(grown < MEMORY, "{grown} bytes more than before");
        // The bus has left.
        assert_eq!(running.join().code, 1);
    }
}

fn a_crowd_of_calls_that_wait_for_answers_to_their_own_gets_them<L: Net>() {
    let crowd = 200;
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    let bus = FalseBus::start(move |mut stream, _| {
        if wire::until_named(&mut stream, 1).is_err() {
            return;
        }
        let call = Raw::call("Relay").string(7, b's', ":1.7").text(&"x".repeat(8 << 10));
        assert_eq!(flood(&mut stream, crowd, &call), crowd);
        let (mut to, mut questions) = (stream.try_clone().expect("it is open"), Vec::new());
        // None is answered until all are there.
        while let Ok(message) = wire::read_message(&mut stream) {
            if wire::asks(&message, "Ask") {
                questions.extend(wire::answer_to(&message));
                if questions.len() == crowd {
                    questions.iter().for_each(|answer| to.write_all(&answer.bytes()).expect("it is read"));
                }
            } else if let Some(answer) = wire::answer_to(&message) {
                to.write_all(&answer.bytes()).expect("it is read");
            } else if message[1] == wire::RETURN {
                count.fetch_add(1, Ordering::AcqRel);
            }
        }
    });
    let running = start::<L>(Echo::default().service_at(&bus.address()));
    eventually("all are answered", || answered.load(Ordering::Acquire) == crowd);
    assert_eq!(running.stop().code, 0);
}

fn a_call_that_wants_no_answer_gets_no_error<L: Net>() {
    // The number of answers and of errors.
    let heard = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let count = heard.clone();
    let bus = FalseBus::start(move |mut stream, _| {
        if wire::until_named(&mut stream, 1).is_err() {
            return;
        }
        let mut to = stream.try_clone().expect("it is open");
        // A call that panics, one to an unknown method, and one that is answered.
        let calls = [Raw::call("Crash").flags(NO_REPLY), Raw::call("Nothing").flags(NO_REPLY), Raw::call("Wait")];
        for (mut call, serial) in calls.into_iter().zip(10..) {
            call.serial = serial;
            to.write_all(&call.string(7, b's', ":1.7").bytes()).expect("it is read");
        }
        while let Ok(message) = wire::read_message(&mut stream) {
            if let Some(answer) = wire::answer_to(&message) {
                to.write_all(&answer.bytes()).expect("it is read");
            }
            match message[1] {
                wire::RETURN => count[0].fetch_add(1, Ordering::AcqRel),
                wire::ERROR => count[1].fetch_add(1, Ordering::AcqRel),
                _ => 0,
            };
        }
    });
    let echo = Echo::default();
    let running = start::<L>(echo.service_at(&bus.address()));
    wait_for_counter(&running.handle(), "panics", 1);
    echo.gate.wait_for(1);
    echo.gate.open();
    // Everything has been sent by then.
    assert_eq!(running.stop().code, 0);
    drop(bus);
    assert_eq!([&heard[0], &heard[1]].map(|count| count.load(Ordering::Acquire)), [1, 0]);
}

fn calls_that_wait_for_an_object_are_bounded_too<L: Net>() {
    let daemon = Daemon::start();
    let echo = Echo::default();
    let running = start::<L>(echo.service(&daemon).max_calls(64));
    let (mut first, mut client) = (Client::of(&daemon), Client::of(&daemon));
    first.send(&Raw::call("Wait").flags(NO_REPLY));
    echo.gate.wait_for(1);
    // They want exclusive access to the object.
    let flood = 1000;
    for _ in 0..flood {
        client.send(&Raw::call("Count").flags(NO_REPLY));
    }
    wait_for_counter(&running.handle(), "refused", flood - 16);
    echo.gate.open();
    wait_for_counter(&running.handle(), "calls", 17);
    assert_eq!(daemon.say("hello"), "('hello',)");
    assert_eq!(running.stop().code, 0);
}

fn two_floods_of_calls_leave_room_for_others_and_for_the_stop<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(Echo::default().service(&daemon));
    let is_over = Arc::new(AtomicBool::new(false));
    // Each as fast as it is answered, fifty at a time. When the name is gone the client is told at once, and goes on.
    let floods = [0, 1].map(|_| {
        let (mut client, is_over) = (Client::of(&daemon), is_over.clone());
        thread::spawn(move || {
            let mut answers = 0;
            while !is_over.load(Ordering::Acquire) {
                let mut last = Raw::call("Say").text("flood");
                last.serial = 3;
                for _ in 0..49 {
                    client.send(&Raw::call("Say").flags(NO_REPLY).text("flood"));
                }
                client.send(&last);
                answers += u32::from(client.answer_to(3) == Some(true));
            }
            answers
        })
    });
    wait_for_counter(&running.handle(), "calls", 500);
    for _ in 0..5 {
        assert_eq!(daemon.say("meanwhile"), "('meanwhile',)");
    }
    let begin = Instant::now();
    let report = running.stop();
    assert_eq!(report.code, 0, "{report:?}");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    is_over.store(true, Ordering::Release);
    for flood in floods {
        assert!(flood.join().expect("no panic") > 0);
    }
}

fn the_stop_does_not_wait_for_who_comes_after_it_has_begun<L: Net>() {
    let daemon = Daemon::start();
    let echo = Echo::default();
    let dbus = echo.service(&daemon);
    let handle = dbus.handle();
    let running = start::<L>(dbus);
    let own = handle.connection().expect("it is ready").unique_name().expect("a bus gave it").to_string();
    let first = daemon.call_later("org.example.Echo.Wait");
    echo.gate.wait_for(1);
    running.handle().request_shutdown("test");
    eventually("the name is gone", || !daemon.gdbus("org.freedesktop.DBus.Peer.Ping", &[]).status.success());
    // By the connection's name instead of the service's: it exists until the first is answered.
    let mut client = Client::of(&daemon);
    let late =
        Raw::new(CALL).string(1, b'o', crate::util::PATH).string(2, b's', crate::util::NAME).string(3, b's', "Forever");
    client.send(&late.string(6, b's', &own).flags(NO_REPLY));
    echo.forever.wait_for(1);
    echo.gate.open();
    assert!(said(&first.join().expect("no panic")).ends_with("string \"through\""));
    assert_eq!(running.join().code, 0);
}

fn an_answer_to_who_has_left_harms_nobody<L: Net>() {
    let daemon = Daemon::start();
    let echo = Echo::default();
    let running = start::<L>(echo.service(&daemon));
    for nth in 1..=3 {
        let mut client = Client::of(&daemon);
        client.send(&Raw::call("Wait"));
        // The bus lets no two calls with one serial through.
        let mut crash = Raw::call("Crash");
        crash.serial = 3;
        client.send(&crash);
        wait_for_counter(&running.handle(), "panics", nth);
        echo.gate.wait_for(nth as usize);
        drop(client);
    }
    echo.gate.open();
    assert_eq!(daemon.say("hello"), "('hello',)");
    let status = running.handle().status();
    assert_eq!(status.tasks[0].counters["connections"], 1);
    assert_eq!(running.stop().code, 0);
}

fn a_handler_that_blocks_is_left_behind_in_time<L: Net>() {
    let daemon = Daemon::start();
    let echo = Echo::default();
    let running = start::<L>(echo.service(&daemon));
    let mut client = Client::of(&daemon);
    client.send(&Raw::call("Block").flags(NO_REPLY));
    echo.gate.wait_for(1);
    let begin = Instant::now();
    let report = running.stop();
    let took = begin.elapsed();
    // A stop timeout of 3 s, and 1 s more for the loop.
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(report.code, 124, "{report:?}");
    assert_eq!(report.stuck.len(), 1, "{report:?}");
    echo.gate.open();
}

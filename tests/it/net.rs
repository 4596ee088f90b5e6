//! The reactor by itself: what an adapter relies on.
#![cfg(target_os = "linux")]

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io::{ErrorKind, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    path::Path,
    rc::Rc,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::util::{block_on, watched};
use interloop::net::{Bound, Interest, Reactor, ReactorWatch, SocketRef, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A watched socket, and its other end.
fn pair(reactor: &Reactor) -> (ReactorWatch, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ReactorWatch::new(reactor, ours.into()).unwrap(), theirs)
}

/// Returns whether the reactor's descriptor shows that a turn is due.
fn is_due(reactor: &Reactor) -> bool {
    let fd = reactor.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

#[test]
fn one_turn_tells_all_sources_however_many() {
    let reactor = Reactor::new().unwrap();
    let mut pairs: Vec<_> = (0..600).map(|_| pair(&reactor)).collect();
    reactor.turn().unwrap();
    assert!(!is_due(&reactor));
    pairs.iter_mut().for_each(|(_, theirs)| theirs.write_all(&[1]).unwrap());
    assert!(is_due(&reactor));
    reactor.turn().unwrap();
    assert_eq!(pairs.iter().filter(|(ours, _)| ours.is_ready(Interest::Read)).count(), 600);
    assert!(!is_due(&reactor));
}

#[test]
fn an_event_of_a_source_that_has_left_is_not_told_to_its_successor() {
    let reactor = Reactor::new().unwrap();
    let places: Vec<_> = (0..2).map(|_| Rc::new(RefCell::new(Some(pair(&reactor))))).collect();
    reactor.turn().unwrap();
    let successor = Rc::new(RefCell::new(None));
    for (index, place) in places.iter().enumerate() {
        // The first one notified takes the other's place, with a new source that has nothing to read.
        let (other, successor, reactor) = (places[1 - index].clone(), successor.clone(), reactor.clone());
        let pairs = place.borrow();
        pairs.as_ref().unwrap().0.on_ready(move || {
            if successor.borrow().is_none() {
                drop(other.take());
                *successor.borrow_mut() = Some(pair(&reactor));
            }
        });
    }
    for place in &places {
        place.borrow_mut().as_mut().unwrap().1.write_all(&[1]).unwrap();
    }
    reactor.turn().unwrap();
    let successor = successor.take().expect("one of the two was told");
    assert!(!successor.0.is_ready(Interest::Read), "the successor was told of what had come for another");
}

#[test]
fn a_callback_is_told_each_edge_and_readiness_holds_until_it_is_cleared() {
    let reactor = Reactor::new().unwrap();
    let (ours, mut theirs) = pair(&reactor);
    reactor.turn().unwrap();
    let told = Rc::new(Cell::new(0));
    let counted = told.clone();
    ours.on_ready(move || counted.set(counted.get() + 1));
    for edge in 1..=3 {
        theirs.write_all(&[1]).unwrap();
        reactor.turn().unwrap();
        reactor.turn().unwrap();
        assert_eq!(told.get(), edge);
        assert!(ours.is_ready(Interest::Read));
    }
    ours.clear(Interest::Read);
    assert!(!ours.is_ready(Interest::Read));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(ours.poll_ready(Interest::Read, &mut cx).is_pending());
    assert!(matches!(ours.poll_ready(Interest::Write, &mut cx), Poll::Ready(Ok(()))));
}

#[test]
fn whoever_waits_is_woken_from_another_thread_however_early() {
    watched(|| {
        let reactor = Reactor::new().unwrap();
        let waker = reactor.waker().unwrap();
        // Before the wait: it is not lost.
        waker.wake();
        reactor.wait(None).unwrap();
        let other = thread::spawn(move || waker.wake());
        reactor.wait(None).unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_wait_lasts_as_long_as_it_may() {
    let reactor = Reactor::new().unwrap();
    let (begun, time) = (Instant::now(), Duration::from_millis(20));
    reactor.wait(Some(time)).unwrap();
    assert!(begun.elapsed() >= time);
}

#[test]
fn a_sleep_makes_a_turn_due_and_one_that_was_given_up_does_no_harm() {
    watched(|| {
        let reactor = Reactor::new().unwrap();
        let begun = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        let mut late = std::pin::pin!(reactor.sleep(Duration::from_millis(40)));
        assert!(late.as_mut().poll(&mut cx).is_pending());
        {
            let early = std::pin::pin!(reactor.sleep(Duration::from_millis(10)));
            assert!(early.poll(&mut cx).is_pending());
        }
        while late.as_mut().poll(&mut cx).is_pending() {
            reactor.wait(None).unwrap();
        }
        assert!(begun.elapsed() >= Duration::from_millis(40));
    });
}

#[test]
fn a_thread_without_a_loop_has_no_reactor() {
    let error = Reactor::current().unwrap_err();
    assert_eq!(error.to_string(), "no loop with a reactor drives this thread");
}

#[test]
fn a_file_can_not_be_watched() {
    let reactor = Reactor::new().unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let error = ReactorWatch::new(&reactor, file.into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[test]
fn what_can_not_be_listened_on_is_named_with_its_cause() {
    let taken = Bound::tcp(([127, 0, 0, 1], 0).into()).unwrap();
    let address = taken.address().unwrap().tcp().unwrap();
    let error = Bound::tcp(address).unwrap_err();
    assert_eq!(error.to_string(), format!("can't listen on {address}"));
    assert_eq!(error.cause().kind(), ErrorKind::AddrInUse);
    let missing = Bound::unix(Path::new("/nowhere/at/all"), 0o600, None).unwrap_err();
    assert_eq!(missing.to_string(), "can't listen on /nowhere/at/all");
    assert_eq!(missing.cause().kind(), ErrorKind::NotFound);
}

#[test]
fn waiting_for_readiness_is_a_future_too() {
    watched(|| {
        let reactor = Reactor::new().unwrap();
        let (ours, _theirs) = pair(&reactor);
        reactor.turn().unwrap();
        block_on(ours.ready(Interest::Write)).unwrap();
        let polled = block_on(poll_fn(|cx| Poll::Ready(ours.poll_ready(Interest::Read, cx))));
        assert!(polled.is_pending());
    });
}

#[test]
fn a_watch_in_a_box_is_one_too() {
    watched(|| {
        let reactor = Reactor::new().unwrap();
        let (ours, mut theirs) = pair(&reactor);
        let number = ours.as_fd().as_raw_fd();
        let ours: Box<dyn Watch> = Box::new(ours);
        assert_eq!(ours.fd().as_raw_fd(), number);
        theirs.write_all(&[1]).unwrap();
        reactor.turn().unwrap();
        block_on(ours.ready(Interest::Read)).unwrap();
        ours.clear(Interest::Read);
        let polled = block_on(poll_fn(|cx| Poll::Ready(ours.poll_ready(Interest::Read, cx))));
        assert!(polled.is_pending());
    });
}

#[test]
fn a_reference_to_a_socket_is_that_socket() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let socket = SocketRef::from(&ours);
    assert_eq!(socket.as_fd().as_raw_fd(), ours.as_raw_fd());
    // And can be made of what is one.
    assert_eq!(SocketRef::from(&socket).as_fd().as_raw_fd(), ours.as_raw_fd());
}

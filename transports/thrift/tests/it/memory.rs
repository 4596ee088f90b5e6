//! The size that a message declares takes no memory. The process has limited memory, and an allocation beyond that ends
//! it.

use std::io::{Read, Write};

use crate::util::{Handler, calc::TCalculatorSyncClient, calculator, closed, host, watchdog};
use interloop::net::Net;
use interloop_thrift::Wire;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Less than the declared size, and more than a few threads take.
const LIMIT: u64 = 1600 << 20;

fn what_is_promised_is_not_allocated<L: Net>() {
    let _watchdog = watchdog();
    setrlimit(Resource::As, Rlimit { current: Some(LIMIT), maximum: None }).expect("the limit allows it");
    // So that only the walk and the decoder's own limits apply.
    let arguments = ["--thrift-max-frame-size", "2047MiB", "--thrift-max-container-size", "2147483647"];
    let hosting = host::<L>(calculator(&Handler::default()), &arguments);
    let string = b"\x80\x01\0\x01\0\0\0\x03act\0\0\0\x01\x0b\0\x01\x7f\xff\xff\xff";
    let list = b"\x80\x01\0\x01\0\0\0\x03act\0\0\0\x01\x0f\0\x01\x0c\x7f\0\0\0";
    let name = b"\x82\x21\x01\xff\xff\xff\xff\x07";
    for bytes in [&string[..], list, name] {
        let framed = [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        for bytes in [bytes, &framed] {
            let mut stream = hosting.raw();
            stream.write_all(bytes).expect("it is open");
            stream.shutdown(std::net::Shutdown::Write).expect("it is open");
            closed(&stream);
        }
        // A frame that says it is long.
        let mut stream = hosting.raw();
        stream.write_all(&[&b"\x7f\xe0\0\0"[..], bytes].concat()).expect("it is open");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        closed(&stream);
    }
    // A number that the handler's decoder treats as the length of a string: the walk accepts it.
    let number = b"\x80\x01\0\x01\0\0\0\x03act\0\0\0\x01\x0a\0\x01\x7f\xff\xff\xff\0\0\0\0\0";
    let mut stream = hosting.raw();
    stream.write_all(number).expect("it is open");
    stream.read_exact(&mut [0; 4]).expect("an answer");
    hosting.calculator(Wire::framed()).ping().expect("others are served");
    hosting.stop();
}

crate::util::on_each_loop! {
    what_is_promised_is_not_allocated,
}

use proptest::prelude::*;
use thrift::protocol::{
    TBinaryOutputProtocol, TCompactOutputProtocol, TFieldIdentifier, TListIdentifier, TMapIdentifier,
    TMessageIdentifier, TMessageType, TOutputProtocol, TSetIdentifier, TStructIdentifier, TType,
};

use super::*;

const LIMITS: Limits = Limits { message: 1 << 20, string: 1 << 16, container: 1 << 12, nesting: 64 };
const PROTOCOLS: [Protocol; 2] = [Protocol::Binary, Protocol::Compact];

/// A value of any type, as the thrift crate writes it.
#[derive(Clone, Debug)]
enum Value {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Struct(Vec<(i16, Value)>),
    /// The same value this many times, since all elements are of one type.
    List(Box<Value>, usize),
    Set(Box<Value>, usize),
    Map(Box<(Value, Value)>, usize),
}

impl Value {
    fn kind(&self) -> TType {
        match self {
            Self::Bool(_) => TType::Bool,
            Self::I8(_) => TType::I08,
            Self::I16(_) => TType::I16,
            Self::I32(_) => TType::I32,
            Self::I64(_) => TType::I64,
            Self::Double(_) => TType::Double,
            Self::Bytes(_) => TType::String,
            Self::Struct(_) => TType::Struct,
            Self::List(..) => TType::List,
            Self::Set(..) => TType::Set,
            Self::Map(..) => TType::Map,
        }
    }

    fn write(&self, to: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        match self {
            Self::Bool(value) => to.write_bool(*value),
            Self::I8(value) => to.write_i8(*value),
            Self::I16(value) => to.write_i16(*value),
            Self::I32(value) => to.write_i32(*value),
            Self::I64(value) => to.write_i64(*value),
            Self::Double(value) => to.write_double(*value),
            Self::Bytes(value) => to.write_bytes(value),
            Self::Struct(fields) => {
                to.write_struct_begin(&TStructIdentifier::new("s"))?;
                let mut last = 0;
                for (id, value) in fields {
                    // In order, as generated code writes them.
                    last += id;
                    to.write_field_begin(&TFieldIdentifier::new("f", value.kind(), last))?;
                    value.write(to)?;
                    to.write_field_end()?;
                }
                to.write_field_stop()?;
                to.write_struct_end()
            }
            Self::List(value, count) => {
                to.write_list_begin(&TListIdentifier::new(value.kind(), *count as i32))?;
                (0..*count).try_for_each(|_| value.write(to))?;
                to.write_list_end()
            }
            Self::Set(value, count) => {
                to.write_set_begin(&TSetIdentifier::new(value.kind(), *count as i32))?;
                (0..*count).try_for_each(|_| value.write(to))?;
                to.write_set_end()
            }
            Self::Map(pair, count) => {
                to.write_map_begin(&TMapIdentifier::new(pair.0.kind(), pair.1.kind(), *count as i32))?;
                for _ in 0..*count {
                    pair.0.write(to)?;
                    pair.1.write(to)?;
                }
                to.write_map_end()
            }
        }
    }
}

fn message(protocol: Protocol, name: &str, sequence: i32, arguments: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    {
        let mut to: Box<dyn TOutputProtocol + '_> = match protocol {
            Protocol::Binary => Box::new(TBinaryOutputProtocol::new(&mut bytes, true)),
            Protocol::Compact => Box::new(TCompactOutputProtocol::new(&mut bytes)),
        };
        let begin = TMessageIdentifier::new(name, TMessageType::Call, sequence);
        to.write_message_begin(&begin).expect("memory takes all");
        arguments.write(&mut *to).expect("memory takes all");
        to.write_message_end().expect("memory takes all");
    }
    bytes
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<f64>().prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            fields(inner.clone()),
            (inner.clone(), 0..18usize).prop_map(|(value, count)| Value::List(value.into(), count)),
            (inner.clone(), 0..4usize).prop_map(|(value, count)| Value::Set(value.into(), count)),
            ((inner.clone(), inner), 0..4usize).prop_map(|(pair, count)| Value::Map(pair.into(), count)),
        ]
    })
}

fn fields(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    // Steps of more than 15 are encoded in another way.
    prop::collection::vec((1..40i16, value), 0..5).prop_map(Value::Struct)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_is_whole_at_its_end_and_nowhere_before(
        arguments in fields(value()), name in "[a-z:]{0,12}", sequence: i32, rest in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        for protocol in PROTOCOLS {
            let bytes = message(protocol, &name, sequence, &arguments);
            prop_assume!(bytes.len() < LIMITS.message);
            let mut walker = Walker::new(protocol, LIMITS);
            for split in 1..bytes.len() {
                prop_assert_eq!(walker.walk(&bytes[..split]), Walked::More, "{:?} at {}", protocol, split);
            }
            prop_assert_eq!(walker.walk(&bytes), Walked::Whole(bytes.len()));
            let header = walker.header().expect("it is whole");
            prop_assert_eq!((header.kind, header.sequence), (Kind::Call, sequence));
            prop_assert_eq!(&bytes[header.name.clone()], name.as_bytes());
            // The same in one go, and with bytes that follow.
            let longer = [&bytes[..], &rest].concat();
            prop_assert_eq!(Walker::new(protocol, LIMITS).walk(&longer), Walked::Whole(bytes.len()));
        }
    }

    #[test]
    fn any_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200), pieces in 1..20usize) {
        for protocol in PROTOCOLS {
            // With a valid head, so that more than the head is checked.
            for head in [0, 6] {
                let good = message(protocol, "", 0, &Value::Struct(Vec::new()));
                let head = head.min(bytes.len()).min(good.len());
                bytes[..head].copy_from_slice(&good[..head]);
                let at_one_go = Walker::new(protocol, LIMITS).walk(&bytes);
                let mut walker = Walker::new(protocol, LIMITS);
                let mut last = Walked::More;
                for end in (0..bytes.len()).step_by(pieces).chain([bytes.len()]) {
                    last = walker.walk(&bytes[..end]);
                    if last != Walked::More {
                        break;
                    }
                }
                prop_assert_eq!(last, at_one_go);
            }
        }
    }

    #[test]
    fn a_changed_byte_does_no_harm(arguments in fields(value()), at: prop::sample::Index, byte: u8) {
        for protocol in PROTOCOLS {
            let mut bytes = message(protocol, "change", 7, &arguments);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Walked::Whole(length) = Walker::new(protocol, LIMITS).walk(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}

/// A head, followed by these bytes.
fn headed(protocol: Protocol, rest: &[u8]) -> Vec<u8> {
    let mut bytes = message(protocol, "m", 1, &Value::Struct(Vec::new()));
    bytes.pop(); // the end of the struct
    bytes.extend_from_slice(rest);
    bytes
}

fn fault(protocol: Protocol, rest: &[u8]) -> Walked {
    Walker::new(protocol, LIMITS).walk(&headed(protocol, rest))
}

#[test]
fn sizes_are_judged_before_what_they_promise_has_come() {
    let too_large = |what, size| Walked::Bad(Fault::TooLarge(what, size));
    let negative = |what| Walked::Bad(Fault::Negative(what));
    // A string of -1 bytes, one of 2 GiB, and one of one byte more than is allowed.
    assert_eq!(fault(Protocol::Binary, b"\x0b\0\x01\xff\xff\xff\xff"), negative("string"));
    assert_eq!(fault(Protocol::Binary, b"\x0b\0\x01\x7f\xff\xff\xff"), too_large("string", 0x7fff_ffff));
    assert_eq!(fault(Protocol::Binary, b"\x0b\0\x01\0\x01\0\x01"), too_large("string", 0x1_0001));
    assert_eq!(fault(Protocol::Binary, b"\x0b\0\x01\0\x01\0\0"), Walked::More);
    // 4 GiB - 1, and 2 GiB - 1.
    assert_eq!(fault(Protocol::Compact, b"\x18\xff\xff\xff\xff\x0f"), negative("string"));
    assert_eq!(fault(Protocol::Compact, b"\x18\xff\xff\xff\xff\x07"), too_large("string", 0x7fff_ffff));
    // Lists of structs, each of which may take one byte.
    assert_eq!(fault(Protocol::Binary, b"\x0f\0\x01\x0c\xff\xff\xff\xfe"), negative("container"));
    assert_eq!(fault(Protocol::Binary, b"\x0f\0\x01\x0c\0\0\x10\x01"), too_large("container", 0x1001));
    assert_eq!(fault(Protocol::Binary, b"\x0f\0\x01\x0c\0\0\x10\0"), Walked::More);
    assert_eq!(fault(Protocol::Compact, b"\x19\xfc\xff\xff\xff\xff\x07"), too_large("container", 0x7fff_ffff));
    // Maps.
    assert_eq!(fault(Protocol::Binary, b"\x0d\0\x01\x08\x08\x7f\xff\xff\xff"), too_large("container", 0x7fff_ffff));
    assert_eq!(fault(Protocol::Compact, b"\x1b\xff\xff\xff\xff\x07\x55"), too_large("container", 0x7fff_ffff));
    // The name of the method.
    let name = Walker::new(Protocol::Binary, LIMITS).walk(b"\x80\x01\0\x01\x7f\xff\xff\xff");
    assert_eq!(name, too_large("string", 0x7fff_ffff));
    let name = Walker::new(Protocol::Compact, LIMITS).walk(b"\x82\x21\x01\xff\xff\xff\xff\x0f");
    assert_eq!(name, negative("string"));
}

#[test]
fn what_has_no_room_in_the_message_is_bad_at_once() {
    let limits = Limits { message: 40, ..LIMITS };
    for (rest, what) in [(&b"\x0b\0\x01\0\0\0\x28"[..], "message"), (b"\x0f\0\x01\x0a\0\0\0\x05", "container")] {
        let walked = Walker::new(Protocol::Binary, limits).walk(&headed(Protocol::Binary, rest));
        assert!(matches!(&walked, Walked::Bad(Fault::TooLarge(of, _)) if *of == what), "{walked:?}");
    }
    // Elements that exceed it without declaring any size.
    let bools = headed(Protocol::Binary, &b"\x02\0\x01\x01".repeat(10));
    assert!(matches!(Walker::new(Protocol::Binary, limits).walk(&bools), Walked::Bad(Fault::TooLarge("message", _))));
}

#[test]
fn nesting_ends_where_the_limit_is() {
    for (protocol, open) in [(Protocol::Binary, &b"\x0c\0\x01"[..]), (Protocol::Compact, b"\x1c")] {
        assert_eq!(fault(protocol, &open.repeat(63)), Walked::More);
        assert_eq!(fault(protocol, &open.repeat(64)), Walked::Bad(Fault::Nested));
        assert_eq!(fault(protocol, &open.repeat(10_000)), Walked::Bad(Fault::Nested));
    }
    // Lists of lists of lists.
    assert_eq!(
        fault(Protocol::Binary, &[b"\x0f\0\x01", &b"\x0f\0\0\0\x01".repeat(64)[..]].concat()),
        Walked::Bad(Fault::Nested)
    );
    assert_eq!(fault(Protocol::Compact, &[b"\x19", &b"\x19".repeat(64)[..]].concat()), Walked::Bad(Fault::Nested));
    // The innermost of bytes, which are skipped in one go: 63 levels and this one, and one more.
    let bytes = |lists: usize| fault(Protocol::Compact, &[b"\x19", &b"\x19".repeat(lists)[..], b"\x13"].concat());
    assert_eq!((bytes(62), bytes(63)), (Walked::More, Walked::Bad(Fault::Nested)));
}

#[test]
fn what_is_no_type_no_version_and_no_number_is_bad() {
    assert_eq!(fault(Protocol::Binary, b"\x07\0\x01"), Walked::Bad(Fault::Type(7)));
    assert_eq!(fault(Protocol::Binary, b"\x0f\0\x01\x01\0\0\0\x01"), Walked::Bad(Fault::Type(1)));
    assert_eq!(fault(Protocol::Compact, b"\x1e"), Walked::Bad(Fault::Type(14)));
    assert_eq!(fault(Protocol::Compact, b"\x15\xff\xff\xff\xff\xff\x01"), Walked::Bad(Fault::Varint));
    assert_eq!(fault(Protocol::Compact, &[b"\x16", &b"\xff".repeat(10)[..]].concat()), Walked::Bad(Fault::Varint));
    let walk = |protocol, bytes: &[u8]| Walker::new(protocol, LIMITS).walk(bytes);
    assert_eq!(walk(Protocol::Binary, b"\x80\x02"), Walked::Bad(Fault::Version));
    assert_eq!(walk(Protocol::Compact, b"\x82\x22"), Walked::Bad(Fault::Version));
    assert_eq!(walk(Protocol::Binary, b"\x80\x01\0\x05"), Walked::Bad(Fault::MessageType(5)));
    assert_eq!(walk(Protocol::Compact, b"\x82\x01"), Walked::Bad(Fault::MessageType(0)));
}

#[test]
fn a_message_that_comes_byte_by_byte_is_looked_at_once() {
    // Otherwise this would be 10^10 steps.
    let list = Value::List(Value::I32(300).into(), 4000);
    let bytes = message(Protocol::Compact, "m", 1, &Value::Struct((0..20).map(|_| (1, list.clone())).collect()));
    let mut walker = Walker::new(Protocol::Compact, LIMITS);
    for split in 1..bytes.len() {
        assert_eq!(walker.walk(&bytes[..split]), Walked::More);
    }
    assert_eq!(walker.walk(&bytes), Walked::Whole(bytes.len()));
}

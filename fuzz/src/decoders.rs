//! The walk against Apache's decoders: of what it has found to be whole, these take every byte, within the limits, or they refuse it.

use thrift::protocol::{TFieldIdentifier, TInputProtocol, TType};

use crate::{
    LIMITS,
    walk::{Protocol, Walked, Walker},
    wire,
};

/// A message of either protocol, as its first byte says.
///
/// # Panics
///
/// If something is wrong.
pub fn decoders(bytes: &[u8]) {
    let Some(protocol) = bytes.first().copied().and_then(Protocol::of) else { return };
    let mut walker = Walker::new(protocol, LIMITS);
    let Walked::Whole(end) = walker.walk(bytes) else { return };
    assert!(end <= bytes.len().min(LIMITS.message), "{end} of {}", bytes.len());
    let header = walker.header().expect("it is whole").clone();
    let mut rest = &bytes[..end];
    {
        let mut from = wire::input(protocol, &mut rest, end, &LIMITS);
        // The name may be no text.
        let Ok(begin) = from.read_message_begin() else { return };
        assert_eq!((begin.name.as_bytes(), begin.sequence_number), (&bytes[header.name.clone()], header.sequence));
        // What it has no types for, it refuses.
        if walk(&mut *from, TType::Struct, 0).is_err() {
            return;
        }
    }
    assert!(rest.is_empty(), "{} bytes are left of {end}", rest.len());
}

/// Decodes a value, with all the allocations that generated code would make.
fn walk(from: &mut dyn TInputProtocol, kind: TType, depth: usize) -> thrift::Result<()> {
    assert!(depth <= LIMITS.nesting, "nested deeper than was found");
    // Whatever is told of a size is within the limits.
    let size = |size: i32| {
        let size = usize::try_from(size).expect("no size is negative");
        assert!(size <= LIMITS.container, "a container of {size}");
        size
    };
    match kind {
        TType::Bool => from.read_bool().map(drop),
        TType::I08 => from.read_i8().map(drop),
        TType::I16 => from.read_i16().map(drop),
        TType::I32 => from.read_i32().map(drop),
        TType::I64 => from.read_i64().map(drop),
        TType::Double => from.read_double().map(drop),
        TType::String => from.read_bytes().map(|bytes| assert!(bytes.len() <= LIMITS.string, "{}", bytes.len())),
        TType::Uuid => from.read_uuid().map(drop),
        TType::Struct => {
            from.read_struct_begin()?;
            loop {
                let TFieldIdentifier { field_type, .. } = from.read_field_begin()?;
                if field_type == TType::Stop {
                    break;
                }
                walk(from, field_type, depth + 1)?;
                from.read_field_end()?;
            }
            from.read_struct_end()
        }
        TType::List => {
            let list = from.read_list_begin()?;
            (0..size(list.size)).try_for_each(|_| walk(from, list.element_type, depth + 1))?;
            from.read_list_end()
        }
        TType::Set => {
            let set = from.read_set_begin()?;
            (0..size(set.size)).try_for_each(|_| walk(from, set.element_type, depth + 1))?;
            from.read_set_end()
        }
        TType::Map => {
            let map = from.read_map_begin()?;
            for _ in 0..size(map.size) {
                walk(from, map.key_type.unwrap_or(TType::Stop), depth + 1)?;
                walk(from, map.value_type.unwrap_or(TType::Stop), depth + 1)?;
            }
            from.read_map_end()
        }
        other => Err(format!("there is no type {other:?}").into()),
    }
}

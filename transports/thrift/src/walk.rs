//! Walks over the encoding of one message without decoding it, to find its length and check the limits.
//!
//! An unframed message doesn't declare its length, and all decoders trust what a message declares about its strings and
//! containers. So nothing is decoded before the walk has covered it. The walk keeps its position, and a level for each
//! open struct and container, at most as many as may be nested. When more has come it continues where it stopped: each
//! byte is checked once.

#[cfg(test)]
mod tests;

use std::{fmt, ops::Range};

/// The limits of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a message, without the length before a frame.
    pub(crate) message: usize,
    /// Bytes of a string, or of a method's name.
    pub(crate) string: usize,
    /// Elements of a list or a set, pairs of a map.
    pub(crate) container: usize,
    /// Depth of nested structs and containers.
    pub(crate) nesting: usize,
}

/// How messages are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// The strict binary protocol.
    Binary,
    /// The compact protocol.
    Compact,
}

impl Protocol {
    /// Returns the protocol that the first byte of a message indicates.
    pub(crate) fn of(first: u8) -> Option<Self> {
        match first {
            0x80 => Some(Self::Binary),
            0x82 => Some(Self::Compact),
            _ => None,
        }
    }
}

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    Reply,
    Exception,
    Oneway,
}

/// The beginning of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) sequence: i32,
    /// The position of the method's name.
    pub(crate) name: Range<usize>,
    /// The beginning of the struct of arguments, or of the result.
    pub(crate) body: usize,
}

/// The result of a walk over the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// A whole message, with this number of bytes.
    Whole(usize),
    /// The beginning of a message.
    More,
    Bad(Fault),
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotThrift,
    Version,
    MessageType(u8),
    Type(u8),
    Varint,
    Negative(&'static str),
    TooLarge(&'static str, u64),
    Nested,
    Truncated,
    Trailing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThrift => f.write_str("neither the binary nor the compact protocol"),
            Self::Version => f.write_str("a protocol of an unknown version"),
            Self::MessageType(kind) => write!(f, "a message of type {kind} is out of place"),
            Self::Type(kind) => write!(f, "there is no type {kind}"),
            Self::Varint => f.write_str("a number that is too long"),
            Self::Negative(what) => write!(f, "the size of a {what} is negative"),
            Self::TooLarge(what, size) => write!(f, "a {what} of {size} is too large"),
            Self::Nested => f.write_str("nested too deep"),
            Self::Truncated => f.write_str("it ends too early"),
            Self::Trailing => f.write_str("there is more in the frame than the message"),
        }
    }
}

/// How a value is encoded.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Fixed(u8),
    /// At most this many bytes.
    Varint(u8),
    String,
    Struct,
    List,
    Map,
}

/// The open structs and containers, from the outside in.
#[derive(Clone, Copy, Debug)]
enum Level {
    Struct,
    Elements {
        of: Shape,
        left: usize,
    },
    /// Keys and values in turn: `left` counts both.
    Pairs {
        key: Shape,
        value: Shape,
        left: usize,
    },
}

/// Returns the header of a message that this crate has written, or walked over.
pub(crate) fn header(protocol: Protocol, bytes: &[u8]) -> Option<Header> {
    let most = Limits { message: usize::MAX, string: usize::MAX, container: 0, nesting: 0 };
    Piece { bytes, at: 0, protocol }.header(&most).ok()
}

/// Returns the number of the first field of a struct; None if it has no fields, or can't be read.
pub(crate) fn first_field(protocol: Protocol, bytes: &[u8]) -> Option<i16> {
    let &kind = bytes.first()?;
    match protocol {
        Protocol::Binary if kind == 0 => None,
        Protocol::Binary => Some(i16::from_be_bytes(*bytes.get(1..)?.first_chunk()?)),
        Protocol::Compact if kind & 0x0f == 0 => None,
        Protocol::Compact if kind >> 4 > 0 => Some((kind >> 4).into()),
        Protocol::Compact => {
            let number = Piece { bytes, at: 1, protocol }.varint(5).ok()? as u32;
            Some(((number >> 1) as i32 ^ -((number & 1) as i32)) as i16)
        }
    }
}

/// Why there is no next step.
enum Stop {
    More,
    Bad(Fault),
}

/// Walks over one message.
#[derive(Debug)]
pub(crate) struct Walker {
    protocol: Protocol,
    limits: Limits,
    /// Everything up to here is understood.
    at: usize,
    /// This many further bytes belong to values that need no check.
    skip: usize,
    header: Option<Header>,
    levels: Vec<Level>,
}

impl Walker {
    pub(crate) fn new(protocol: Protocol, limits: Limits) -> Self {
        Self { protocol, limits, at: 0, skip: 0, header: None, levels: Vec::new() }
    }

    /// Returns the header, once it has come.
    pub(crate) fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Continues, given all bytes of the message so far, and maybe some that follow it.
    pub(crate) fn walk(&mut self, bytes: &[u8]) -> Walked {
        loop {
            let skipped = self.skip.min(bytes.len() - self.at);
            self.at += skipped;
            self.skip -= skipped;
            let stopped = if self.skip > 0 { Err(Stop::More) } else { self.step(bytes) };
            match stopped {
                Ok(false) => {}
                Ok(true) => return Walked::Whole(self.at),
                Err(Stop::More) if bytes.len() >= self.limits.message => {
                    return Walked::Bad(Fault::TooLarge("message", bytes.len() as u64));
                }
                Err(Stop::More) => return Walked::More,
                Err(Stop::Bad(fault)) => return Walked::Bad(fault),
            }
        }
    }

    /// Walks over one more piece, or nothing; returns whether the message has ended.
    fn step(&mut self, bytes: &[u8]) -> Result<bool, Stop> {
        let mut piece = Piece { bytes, at: self.at, protocol: self.protocol };
        let Some(_) = &self.header else {
            self.header = Some(piece.header(&self.limits)?);
            return self.advance(piece.at, Next::Open(Level::Struct)).map(|()| false);
        };
        let Some(&level) = self.levels.last() else { return Ok(true) };
        let shape = match level {
            Level::Struct => piece.field()?,
            Level::Elements { left: 0, .. } | Level::Pairs { left: 0, .. } => None,
            Level::Elements { of, .. } => Some(of),
            Level::Pairs { key, left, .. } if left % 2 == 0 => Some(key),
            Level::Pairs { value, .. } => Some(value),
        };
        let next = match shape {
            Some(shape) => self.value(shape, &mut piece)?,
            None => Next::Close,
        };
        // From here on it is understood.
        if let Some(Level::Elements { left, .. } | Level::Pairs { left, .. }) = self.levels.last_mut() {
            *left = left.saturating_sub(1);
        }
        self.advance(piece.at, next).map(|()| false)
    }

    fn advance(&mut self, at: usize, next: Next) -> Result<(), Stop> {
        self.at = at;
        match next {
            Next::Skip(bytes) => self.skip = bytes,
            Next::Open(_) if self.levels.len() >= self.limits.nesting => return Err(Stop::Bad(Fault::Nested)),
            Next::Open(level) => self.levels.push(level),
            Next::Close => {
                self.levels.pop();
            }
        }
        match at.checked_add(self.skip) {
            Some(end) if end <= self.limits.message => Ok(()),
            _ => Err(Stop::Bad(Fault::TooLarge("message", at as u64 + self.skip as u64))),
        }
    }

    fn value(&self, shape: Shape, piece: &mut Piece<'_>) -> Result<Next, Stop> {
        // Also for one that is skipped in one go, and opens no level.
        if let Shape::List | Shape::Map = shape
            && self.levels.len() >= self.limits.nesting
        {
            return Err(Stop::Bad(Fault::Nested));
        }
        Ok(match shape {
            Shape::Fixed(bytes) => Next::Skip(bytes.into()),
            Shape::Varint(most) => {
                piece.varint(most)?;
                Next::Skip(0)
            }
            Shape::String => Next::Skip(piece.string(self.limits.string)?),
            Shape::Struct => Next::Open(Level::Struct),
            Shape::List => {
                let (of, count) = piece.list()?;
                self.check_count(count, least(of, self.protocol), piece.at)?;
                match of {
                    Shape::Fixed(bytes) => Next::Skip(count * usize::from(bytes)),
                    of => Next::Open(Level::Elements { of, left: count }),
                }
            }
            Shape::Map => match piece.map()? {
                None => Next::Skip(0),
                Some((key, value, count)) => {
                    self.check_count(count, least(key, self.protocol) + least(value, self.protocol), piece.at)?;
                    match (key, value) {
                        (Shape::Fixed(key), Shape::Fixed(value)) => {
                            Next::Skip(count * (usize::from(key) + usize::from(value)))
                        }
                        (key, value) => Next::Open(Level::Pairs { key, value, left: 2 * count }),
                    }
                }
            },
        })
    }

    /// Checks that this many elements are allowed, and fit into the message.
    fn check_count(&self, count: usize, least: usize, at: usize) -> Result<(), Stop> {
        let room = self.limits.message.saturating_sub(at);
        if count > self.limits.container || count.checked_mul(least).is_none_or(|bytes| bytes > room) {
            return Err(Stop::Bad(Fault::TooLarge("container", count as u64)));
        }
        Ok(())
    }
}

/// What follows the beginning of a value.
enum Next {
    Skip(usize),
    Open(Level),
    Close,
}

/// Returns the minimum number of bytes of a value: at least one.
fn least(shape: Shape, protocol: Protocol) -> usize {
    match (shape, protocol) {
        (Shape::Fixed(bytes), _) => bytes.into(),
        (Shape::String, Protocol::Binary) => 4,
        (Shape::List, Protocol::Binary) => 5,
        (Shape::Map, Protocol::Binary) => 6,
        _ => 1,
    }
}

/// Reads units that can't be understood in parts; if one is incomplete, it returns [`Stop::More`].
struct Piece<'a> {
    bytes: &'a [u8],
    at: usize,
    protocol: Protocol,
}

impl Piece<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let Some(bytes) = self.bytes[self.at..].first_chunk() else { return Err(Stop::More) };
        self.at += N;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn varint(&mut self, most: u8) -> Result<u64, Stop> {
        let mut number = 0;
        for index in 0..most {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).unbounded_shl(7 * u32::from(index));
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Stop::Bad(Fault::Varint))
    }

    /// Reads a size, which the decoders read as a signed 32-bit integer.
    fn size(&mut self, of: &'static str) -> Result<usize, Stop> {
        let size = match self.protocol {
            Protocol::Binary => i32::from_be_bytes(self.take()?),
            // The decoder loses the fifth byte's upper bits too.
            Protocol::Compact => self.varint(5)? as u32 as i32,
        };
        usize::try_from(size).map_err(|_| Stop::Bad(Fault::Negative(of)))
    }

    fn string(&mut self, most: usize) -> Result<usize, Stop> {
        match self.size("string")? {
            size if size > most => Err(Stop::Bad(Fault::TooLarge("string", size as u64))),
            size => Ok(size),
        }
    }

    fn header(&mut self, limits: &Limits) -> Result<Header, Stop> {
        let kind = match self.protocol {
            Protocol::Binary => {
                let [_, version] = self.take()?;
                if version != 1 {
                    return Err(Stop::Bad(Fault::Version));
                }
                let [_, kind] = self.take()?;
                kind
            }
            Protocol::Compact => {
                let [_, kind] = self.take()?;
                if kind & 0x1f != 1 {
                    return Err(Stop::Bad(Fault::Version));
                }
                kind >> 5
            }
        };
        let kind = match kind {
            1 => Kind::Call,
            2 => Kind::Reply,
            3 => Kind::Exception,
            4 => Kind::Oneway,
            other => return Err(Stop::Bad(Fault::MessageType(other))),
        };
        let mut sequence = 0;
        if self.protocol == Protocol::Compact {
            sequence = self.varint(5)? as u32 as i32;
        }
        let length = self.string(limits.string)?;
        if length > limits.message {
            return Err(Stop::Bad(Fault::TooLarge("string", length as u64)));
        }
        let name = self.at..self.at + length;
        if self.bytes.len() < name.end {
            return Err(Stop::More);
        }
        self.at = name.end;
        if self.protocol == Protocol::Binary {
            sequence = i32::from_be_bytes(self.take()?);
        }
        Ok(Header { kind, sequence, name, body: self.at })
    }

    /// Returns the next field's shape; None at the end of the struct.
    fn field(&mut self) -> Result<Option<Shape>, Stop> {
        let byte = self.byte()?;
        match self.protocol {
            Protocol::Binary if byte == 0 => Ok(None),
            Protocol::Binary => {
                let shape = binary_shape(byte)?;
                self.take::<2>()?;
                Ok(Some(shape))
            }
            Protocol::Compact if byte & 0x0f == 0 => Ok(None),
            Protocol::Compact => {
                let shape = match byte & 0x0f {
                    // The type is the value.
                    1 | 2 => Shape::Fixed(0),
                    kind => compact_shape(kind)?,
                };
                if byte >> 4 == 0 {
                    self.varint(5)?;
                }
                Ok(Some(shape))
            }
        }
    }

    fn list(&mut self) -> Result<(Shape, usize), Stop> {
        let byte = self.byte()?;
        match self.protocol {
            Protocol::Binary => Ok((binary_shape(byte)?, self.size("container")?)),
            Protocol::Compact => {
                let shape = compact_shape(byte & 0x0f)?;
                let count = if byte >> 4 == 15 { self.size("container")? } else { (byte >> 4).into() };
                Ok((shape, count))
            }
        }
    }

    /// Returns None for an empty map, whose types may be unknown.
    fn map(&mut self) -> Result<Option<(Shape, Shape, usize)>, Stop> {
        match self.protocol {
            Protocol::Binary => {
                let [key, value] = self.take()?;
                let count = self.size("container")?;
                if count == 0 {
                    // Some writers leave the types out then.
                    return Ok(None);
                }
                Ok(Some((binary_shape(key)?, binary_shape(value)?, count)))
            }
            Protocol::Compact => match self.size("container")? {
                0 => Ok(None),
                count => {
                    let types = self.byte()?;
                    Ok(Some((compact_shape(types >> 4)?, compact_shape(types & 0x0f)?, count)))
                }
            },
        }
    }
}

fn binary_shape(kind: u8) -> Result<Shape, Stop> {
    Ok(match kind {
        2 | 3 => Shape::Fixed(1),
        4 | 10 => Shape::Fixed(8),
        6 => Shape::Fixed(2),
        8 => Shape::Fixed(4),
        11 => Shape::String,
        12 => Shape::Struct,
        13 => Shape::Map,
        14 | 15 => Shape::List,
        16 => Shape::Fixed(16),
        other => return Err(Stop::Bad(Fault::Type(other))),
    })
}

/// Returns the shape of a field, or of an element.
fn compact_shape(kind: u8) -> Result<Shape, Stop> {
    Ok(match kind {
        1..=3 => Shape::Fixed(1),
        4 | 5 => Shape::Varint(5),
        6 => Shape::Varint(10),
        7 => Shape::Fixed(8),
        8 => Shape::String,
        9 | 10 => Shape::List,
        11 => Shape::Map,
        12 => Shape::Struct,
        13 => Shape::Fixed(16),
        other => return Err(Stop::Bad(Fault::Type(other))),
    })
}

//! `i64 add(1: i64 left, 2: i64 right)`, as Thrift's compiler generates it, for all servers in Rust.

use thrift::protocol::{
    TFieldIdentifier, TInputProtocol, TMessageIdentifier, TMessageType, TOutputProtocol, TStructIdentifier, TType,
};
use thrift::server::TProcessor;

/// Adds two numbers.
#[derive(Clone, Copy, Debug)]
pub struct Sums;

impl TProcessor for Sums {
    fn process(&self, from: &mut dyn TInputProtocol, to: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        let call = from.read_message_begin()?;
        if call.name != "add" {
            return Err("there is add alone".into());
        }
        let mut sum = 0_i64;
        from.read_struct_begin()?;
        loop {
            let field = from.read_field_begin()?;
            match (field.field_type, field.id) {
                (TType::Stop, _) => break,
                (TType::I64, Some(1 | 2)) => sum = sum.wrapping_add(from.read_i64()?),
                (other, _) => from.skip(other)?,
            }
            from.read_field_end()?;
        }
        from.read_struct_end()?;
        from.read_message_end()?;
        to.write_message_begin(&TMessageIdentifier::new("add", TMessageType::Reply, call.sequence_number))?;
        to.write_struct_begin(&TStructIdentifier::new("AddResult"))?;
        to.write_field_begin(&TFieldIdentifier::new("result", TType::I64, 0))?;
        to.write_i64(sum)?;
        to.write_field_end()?;
        to.write_field_stop()?;
        to.write_struct_end()?;
        to.write_message_end()?;
        to.flush()
    }
}

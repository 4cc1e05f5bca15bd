//! Protocol buffers as far as CRIU's requests and answers need them: the encoding document's varints and length-delimited fields.
#![forbid(unsafe_code)]

/// Wire types (encoding document, Message Structure).
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

/// A message in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A field that is a number, an enumeration or, as 0 and 1, a truth value.
    pub(super) fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value);
        self
    }

    /// A truth value; nothing when it is the default.
    pub(super) fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        if value { self.number(field, 1) } else { self }
    }

    /// A field that is text; CRIU takes any bytes without NUL.
    pub(super) fn text(&mut self, field: u32, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.varint(u64::from(field) << 3 | LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A field that is a message itself.
    pub(super) fn message(&mut self, field: u32, value: &Self) -> &mut Self {
        self.text(field, &value.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.0.push(low & 0x7f);
            }
            self.0.push(low | 0x80);
        }
    }
}

/// What a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// The number, 0 for what is none.
    pub(super) fn number(self) -> u64 {
        if let Self::Number(number) = self { number } else { 0 }
    }
}

/// The fields of a message in their order; `None` when it is no message.
pub(super) fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            VARINT => Value::Number(varint(&mut bytes)?),
            FIXED_64 => Value::Bytes(take(&mut bytes, 8)?),
            LENGTH => {
                let length = varint(&mut bytes)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            FIXED_32 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        all.push((u32::try_from(tag >> 3).ok()?, value));
    }
    Some(all)
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_encoding_document_has_it() {
        let mut inner = Message::default();
        inner.number(1, 150);
        assert_eq!(inner.as_bytes(), [0x08, 0x96, 0x01]);
        let mut all = Message::default();
        all.text(2, "testing").message(3, &inner).flag(4, true).flag(5, false).number(68, u64::MAX);
        assert_eq!(all.as_bytes()[..9], *b"\x12\x07testing");
        assert_eq!(
            fields(all.as_bytes()).unwrap(),
            [
                (2, Value::Bytes(b"testing")),
                (3, Value::Bytes(&[0x08, 0x96, 0x01])),
                (4, Value::Number(1)),
                (68, Value::Number(u64::MAX)),
            ]
        );
    }

    #[test]
    fn what_is_no_message_is_none() {
        for bytes in [&b"\x12"[..], b"\x12\x05abc", b"\x08", b"\x08\xff", b"\x0b", &[0xff; 20], b"\x09\x01"] {
            assert_eq!(fields(bytes), None, "{bytes:?}");
        }
        assert_eq!(fields(b""), Some(Vec::new()));
        assert_eq!(fields(b"\x0d1234"), Some(vec![(1, Value::Bytes(b"1234"))]));
    }
}

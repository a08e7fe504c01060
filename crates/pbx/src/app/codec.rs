//! State as bytes: every struct is fields with tags ([`records::tlv`]), so that an older or newer program reads what it knows.

use std::sync::Arc;

use records::tlv::{self, Fields};

use crate::control::{
    Answer, Cause, DiversionReason, EndedBy, Figures, LegId, LegRecord, Mailbox, Party, PlayId,
    Question, QuestionId, RecordingId, Referral, RoomId, Sound,
};
use crate::nest::nested;
use crate::plan::{Order, Outcome, Step};

/// Most items of a list that is read.
const ITEMS_MAX: usize = 4_096;

/// What is written and read as the value of a field.
pub(crate) trait Field: Sized {
    fn write(&self, out: &mut Vec<u8>);
    /// # Errors
    /// The writer's fault.
    fn read(bytes: &[u8]) -> Result<Self, records::Error>;
}

/// Appends a field.
pub(crate) fn put<T: Field>(tag: u64, value: &T, out: &mut Vec<u8>) {
    nested(tag, out, |out| value.write(out));
}

/// A struct whose fields have tags.
macro_rules! fields {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$inner:meta])* $tag:literal $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        $vis struct $name { $($(#[$inner])* pub(crate) $field: $type,)* }
        $crate::app::codec::fields!(impl $name { $($tag $field,)* });
    };
    (impl $name:ident { $($tag:literal $field:ident,)* }) => {
        impl $crate::app::codec::Field for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::app::codec::put($tag, &self.$field, out);)*
            }
            fn read(bytes: &[u8]) -> Result<Self, records::Error> {
                let mut it = Self::default();
                let mut fields = records::tlv::Fields::new(bytes);
                while let Some((tag, value)) = fields.field()? {
                    match tag {
                        $($tag => it.$field = $crate::app::codec::Field::read(value)?,)*
                        _ => {}
                    }
                }
                Ok(it)
            }
        }
    };
}

/// An enum whose variants have tags and at most one value.
macro_rules! choices {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$inner:meta])* $tag:literal $variant:ident $(($type:ty))?,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        $vis enum $name { $($(#[$inner])* $variant $(($type))?,)* }
        impl $crate::app::codec::Field for $name {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $($crate::app::codec::choices!(@arm value $name $variant $($type)?) => {
                        $crate::app::codec::choices!(@write value $tag out $($type)?);
                    })*
                }
            }
            fn read(bytes: &[u8]) -> Result<Self, records::Error> {
                let mut fields = records::tlv::Fields::new(bytes);
                let Some((tag, value)) = fields.field()? else {
                    return Ok(Self::default());
                };
                let _ = value;
                match tag {
                    $($tag => Ok($crate::app::codec::choices!(@read value $name $variant $($type)?)),)*
                    tag => Err(records::Error::Field { tag }),
                }
            }
        }
    };
    (@arm $value:ident $name:ident $variant:ident) => { $name::$variant };
    (@arm $value:ident $name:ident $variant:ident $type:ty) => { $name::$variant($value) };
    (@write $value:ident $tag:literal $out:ident) => { records::tlv::write_bytes($tag, b"", $out) };
    (@write $value:ident $tag:literal $out:ident $type:ty) => { $crate::app::codec::put($tag, $value, $out) };
    (@read $value:ident $name:ident $variant:ident) => { $name::$variant };
    (@read $value:ident $name:ident $variant:ident $type:ty) => { $name::$variant($crate::app::codec::Field::read($value)?) };
}

pub(crate) use {choices, fields};

impl Field for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        let zeros = self.leading_zeros() as usize / 8;
        out.extend_from_slice(&self.to_be_bytes()[zeros..]);
    }
    fn read(bytes: &[u8]) -> Result<u64, records::Error> {
        tlv::number(bytes)
    }
}

macro_rules! narrow {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                (*self as u64).write(out);
            }
            fn read(bytes: &[u8]) -> Result<$type, records::Error> {
                <$type>::try_from(tlv::number(bytes)?).map_err(|_| records::Error::Number)
            }
        }
    )*};
}
narrow!(u8, u16, u32);

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }
    fn read(bytes: &[u8]) -> Result<bool, records::Error> {
        Ok(tlv::number(bytes)? != 0)
    }
}

impl Field for String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &[u8]) -> Result<String, records::Error> {
        String::from_utf8(bytes.to_vec()).map_err(|_| records::Error::Truncated)
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(value) = self {
            put(1, value, out);
        }
    }
    fn read(bytes: &[u8]) -> Result<Option<T>, records::Error> {
        match Fields::new(bytes).field()? {
            Some((1, value)) => T::read(value).map(Some),
            _ => Ok(None),
        }
    }
}

impl<T: Field> Field for Arc<T> {
    fn write(&self, out: &mut Vec<u8>) {
        T::write(self, out);
    }
    fn read(bytes: &[u8]) -> Result<Arc<T>, records::Error> {
        T::read(bytes).map(Arc::new)
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        for item in self {
            put(1, item, out);
        }
    }
    fn read(bytes: &[u8]) -> Result<Vec<T>, records::Error> {
        let mut items = Vec::new();
        let mut fields = Fields::new(bytes);
        while let Some((_, value)) = fields.field()? {
            if items.len() >= ITEMS_MAX {
                break;
            }
            items.push(T::read(value)?);
        }
        Ok(items)
    }
}

impl<A: Field + Default, B: Field + Default> Field for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        put(1, &self.0, out);
        put(2, &self.1, out);
    }
    fn read(bytes: &[u8]) -> Result<(A, B), records::Error> {
        let mut both = (A::default(), B::default());
        let mut fields = Fields::new(bytes);
        while let Some((tag, value)) = fields.field()? {
            match tag {
                1 => both.0 = A::read(value)?,
                2 => both.1 = B::read(value)?,
                _ => {}
            }
        }
        Ok(both)
    }
}

macro_rules! numbers {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(bytes: &[u8]) -> Result<$type, records::Error> {
                u64::read(bytes).map($type)
            }
        }
    )*};
}
numbers!(LegId, PlayId, RecordingId, RoomId, QuestionId);

/// Enums without values, by their numbers.
macro_rules! small {
    ($type:ty { $($number:literal $variant:path,)* }) => {
        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let number: u64 = match self { $($variant => $number,)* };
                number.write(out);
            }
            fn read(bytes: &[u8]) -> Result<$type, records::Error> {
                match tlv::number(bytes)? {
                    $($number => Ok($variant),)*
                    tag => Err(records::Error::Field { tag }),
                }
            }
        }
    };
}
small!(DiversionReason {
    0 DiversionReason::Unknown,
    1 DiversionReason::NoAnswer,
    2 DiversionReason::Busy,
    3 DiversionReason::Unavailable,
    4 DiversionReason::Unconditional,
});
small!(EndedBy {
    0 EndedBy::Pbx,
    1 EndedBy::Caller,
    2 EndedBy::Callee,
});
small!(Outcome {
    0 Outcome::NoAnswer,
    1 Outcome::Busy,
    2 Outcome::Unreachable,
});
small!(Order {
    0 Order::All,
    1 Order::InOrder,
    2 Order::LeastRecent,
});

fields!(impl Party { 1 user, 2 host, 3 display, });
fields!(impl Referral { 1 referred_by, 2 replaces, 3 uri, });
fields!(impl Cause { 1 status, 2 q850, 3 text, });
fields!(impl Figures { 1 mos_hundredths, 2 lost_per_myriad, 3 jitter_ms, });
fields!(impl LegRecord {
    1 call_id, 2 party, 3 codec, 4 cause, 7 figures,
});

/// As its text.
impl Field for Step {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.to_string().as_bytes());
    }
    fn read(bytes: &[u8]) -> Result<Step, records::Error> {
        let text = std::str::from_utf8(bytes).map_err(|_| records::Error::Truncated)?;
        Step::parse(text).map_err(|_| records::Error::Truncated)
    }
}

impl Field for Sound {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Sound::Prompt(text) => put(1, text, out),
            Sound::Number(number) => put(2, number, out),
            Sound::Digits(text) => put(3, text, out),
            Sound::Tone(text) => put(4, text, out),
            Sound::File(text) => put(5, text, out),
            Sound::Music(text) => put(6, text, out),
            Sound::Silence(ms) => put(7, ms, out),
        }
    }
    fn read(bytes: &[u8]) -> Result<Sound, records::Error> {
        let (tag, value) = Fields::new(bytes)
            .field()?
            .ok_or(records::Error::Truncated)?;
        Ok(match tag {
            1 => Sound::Prompt(Field::read(value)?),
            2 => Sound::Number(Field::read(value)?),
            3 => Sound::Digits(Field::read(value)?),
            4 => Sound::Tone(Field::read(value)?),
            5 => Sound::File(Field::read(value)?),
            6 => Sound::Music(Field::read(value)?),
            7 => Sound::Silence(Field::read(value)?),
            tag => return Err(records::Error::Field { tag }),
        })
    }
}

fields! {
    /// All that a question may hold.
    struct Asking {
        1 kind: u8,
        2 subject: String,
        3 path: String,
        4 caller: Party,
        5 length_ms: u32,
    }
}

impl Field for Question {
    fn write(&self, out: &mut Vec<u8>) {
        let mut asking = Asking::default();
        match self.clone() {
            Question::Mailbox { mailbox } => asking.subject = mailbox,
            Question::KeepMessage {
                mailbox,
                path,
                caller,
                length_ms,
            } => {
                asking = Asking {
                    kind: 1,
                    subject: mailbox,
                    path,
                    caller,
                    length_ms,
                }
            }
            Question::MarkHeard { mailbox, message } => {
                (asking.kind, asking.subject, asking.path) = (2, mailbox, message);
            }
            Question::DeleteMessage { mailbox, message } => {
                (asking.kind, asking.subject, asking.path) = (3, mailbox, message);
            }
            Question::KeepGreeting { mailbox, path } => {
                (asking.kind, asking.subject, asking.path) = (4, mailbox, path);
            }
            Question::CheckPin { subject, pin } => {
                (asking.kind, asking.subject, asking.path) = (5, subject, pin);
            }
            Question::DeleteRecording { path } => (asking.kind, asking.path) = (6, path),
        }
        asking.write(out);
    }
    fn read(bytes: &[u8]) -> Result<Question, records::Error> {
        let asking = Asking::read(bytes)?;
        let (mailbox, path) = (asking.subject, asking.path);
        Ok(match asking.kind {
            0 => Question::Mailbox { mailbox },
            1 => Question::KeepMessage {
                mailbox,
                path,
                caller: asking.caller,
                length_ms: asking.length_ms,
            },
            2 => Question::MarkHeard {
                mailbox,
                message: path,
            },
            3 => Question::DeleteMessage {
                mailbox,
                message: path,
            },
            4 => Question::KeepGreeting { mailbox, path },
            5 => Question::CheckPin {
                subject: mailbox,
                pin: path,
            },
            6 => Question::DeleteRecording { path },
            kind => {
                return Err(records::Error::Field {
                    tag: u64::from(kind),
                });
            }
        })
    }
}

/// What of a mailbox an answer brought.
pub(crate) fn mailbox_of(answer: &Answer) -> Option<&Mailbox> {
    match answer {
        Answer::Mailbox(mailbox) => Some(mailbox),
        _ => None,
    }
}

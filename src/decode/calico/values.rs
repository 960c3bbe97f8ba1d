//! Values by type: what each field takes, and what it takes for nothing.
//!
//! A type refuses what it cannot be; the passes then keep the raw text instead.

mod objects;
mod scalars;

use serde::de::{Deserialize, MapAccess};
use serde_json::value::RawValue;

pub(super) use objects::{LabelSet, PolicyLists, Rest, leading_index};
pub(super) use scalars::{Arguments, FromScalar, Key, List, Maybe, is_sentinel};

/// A value that is still to be read: the parser's next one, or text captured earlier.
pub(super) trait Value<'de>: Sized {
    type Error;

    fn read<T: Deserialize<'de>>(self) -> Result<T, Self::Error>;

    fn one<T: FromScalar<'de>>(self) -> Result<Option<T>, Self::Error> {
        Ok(self.read::<Maybe<T>>()?.0)
    }

    fn list<T: FromScalar<'de>>(self) -> Result<Vec<T>, Self::Error> {
        Ok(self.read::<List<T>>()?.0)
    }
}

/// What became of a value that was offered under a key.
pub(super) enum Placed<V> {
    Known,
    /// Nobody here knows this key: the value comes back unread.
    Unknown(V),
}

/// The value that the parser stands at.
pub(super) struct NextValue<'m, A>(pub &'m mut A);

impl<'de, A: MapAccess<'de>> Value<'de> for NextValue<'_, A> {
    type Error = A::Error;

    fn read<T: Deserialize<'de>>(self) -> Result<T, A::Error> {
        self.0.next_value()
    }
}

impl<'de> Value<'de> for &'de RawValue {
    type Error = serde_json::Error;

    fn read<T: Deserialize<'de>>(self) -> Result<T, serde_json::Error> {
        T::deserialize(&mut serde_json::Deserializer::from_str(self.get()))
    }
}

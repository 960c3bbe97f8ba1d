//! Labels and policies: objects of lists.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scalars::{Key, List, Verbatim};
use super::{NextValue, Placed, Value};
use crate::decode::calico::repair::has_lone_surrogate;
use crate::model::{Labels, Policies, Text};

/// Members of an object that nobody here knows: name and JSON text.
pub(in crate::decode::calico) type Rest<'de> = Vec<(Text<'de>, Text<'de>)>;

/// `{"labels":["k=v",…]}`, the bare array, or `null`.
#[derive(Default)]
pub(in crate::decode::calico) struct LabelSet<'de> {
    pub labels: Labels<'de>,
    pub rest: Rest<'de>,
}

/// `{"all_policies":[…],"enforced_policies":[…],…}` or `null`. Each list is sorted by its leading index: the log writes
/// them in any order.
#[derive(Default)]
pub(in crate::decode::calico) struct PolicyLists<'de> {
    pub lists: Policies<'de>,
    pub rest: Rest<'de>,
}

impl<'de> Object<'de> for LabelSet<'de> {
    fn put<V: Value<'de>>(&mut self, key: &str, value: V) -> Result<Placed<V>, V::Error> {
        if key != "labels" {
            return Ok(Placed::Unknown(value));
        }
        self.labels = value.list()?;
        Ok(Placed::Known)
    }

    fn put_array<A: SeqAccess<'de>>(&mut self, elements: A) -> Result<(), A::Error> {
        self.labels = List::collect(elements)?.0;
        Ok(())
    }

    fn rest(&mut self) -> &mut Rest<'de> {
        &mut self.rest
    }
}

impl<'de> Object<'de> for PolicyLists<'de> {
    fn put<V: Value<'de>>(&mut self, key: &str, value: V) -> Result<Placed<V>, V::Error> {
        let list = match key {
            "enforced_policies" => &mut self.lists.enforced,
            "all_policies" => &mut self.lists.all,
            "pending_policies" => &mut self.lists.pending,
            "transit_policies" => &mut self.lists.transit,
            _ => return Ok(Placed::Unknown(value)),
        };
        *list = value.list()?.into_iter().map(|Verbatim(text)| text).collect();
        list.sort_by_key(|policy| leading_index(policy));
        Ok(Placed::Known)
    }

    fn rest(&mut self) -> &mut Rest<'de> {
        &mut self.rest
    }
}

/// `3` of `3|tier|name|allow|0`. Strings without an index go last, in the order of the line.
pub(in crate::decode::calico) fn leading_index(policy: &str) -> u64 {
    if let [digit @ b'0'..=b'9', b'|', ..] = policy.as_bytes() {
        return u64::from(digit - b'0');
    }
    let end = memchr::memchr(b'|', policy.as_bytes()).unwrap_or(policy.len());
    policy.get(..end).and_then(|index| index.parse().ok()).unwrap_or(u64::MAX)
}

/// An object with known members; the others are kept as they were written.
trait Object<'de>: Default {
    fn put<V: Value<'de>>(&mut self, key: &str, value: V) -> Result<Placed<V>, V::Error>;

    fn put_array<A: SeqAccess<'de>>(&mut self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("an array for an object"))
    }

    fn rest(&mut self) -> &mut Rest<'de>;
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Object<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        if super::scalars::is_sentinel(text) { Ok(T::default()) } else { Err(E::custom("a string for an object")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<T, A::Error> {
        let mut object = T::default();
        object.put_array(elements)?;
        Ok(object)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::default();
        while let Some(Key(key)) = map.next_key()? {
            if let Placed::Unknown(value) = object.put(&key, NextValue(&mut map))? {
                let raw: &RawValue = value.read()?;
                if has_lone_surrogate(raw.get()) {
                    return Err(A::Error::custom("lone surrogate"));
                }
                object.rest().push((key, Text::Borrowed(raw.get())));
            }
        }
        Ok(object)
    }
}

impl<'de> Deserialize<'de> for LabelSet<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for PolicyLists<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

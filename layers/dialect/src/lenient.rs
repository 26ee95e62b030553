//! Deserialisers that forgive: a value of the wrong kind counts as absent instead of spoiling the whole event.
//!
//! Providers of "compatible" APIs send numbers as strings, objects as null and arrays as objects. Nobody is helped
//! when a stream breaks for that, and a relay must never judge. All of them borrow from the input where they can.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::ir::Tier;

/// Makes a visitor treat every scalar that it does not name as absent.
macro_rules! ignore {
    ($value:ty, $absent:expr; $($kind:ident),*) => {
        $(ignore!(@one $kind, $value, $absent);)*
    };
    (@one null, $v:ty, $a:expr) => {
        fn visit_unit<E>(self) -> Result<$v, E> { Ok($a) }
        fn visit_none<E>(self) -> Result<$v, E> { Ok($a) }
    };
    (@one bool, $v:ty, $a:expr) => { fn visit_bool<E>(self, _: bool) -> Result<$v, E> { Ok($a) } };
    (@one number, $v:ty, $a:expr) => {
        fn visit_u64<E>(self, _: u64) -> Result<$v, E> { Ok($a) }
        fn visit_i64<E>(self, _: i64) -> Result<$v, E> { Ok($a) }
        fn visit_f64<E>(self, _: f64) -> Result<$v, E> { Ok($a) }
    };
    (@one string, $v:ty, $a:expr) => { fn visit_str<E>(self, _: &str) -> Result<$v, E> { Ok($a) } };
    (@one seq, $v:ty, $a:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<$v, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($a)
        }
    };
    (@one map, $v:ty, $a:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$v, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($a)
        }
    };
}

/// A string, or a number in its place. Anything else is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Str<'a>(pub(crate) Option<Cow<'a, str>>);

impl<'a> Str<'a> {
    /// The string, when there is one that is not empty.
    pub(crate) fn full(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// The string, empty when absent.
    pub(crate) fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// An owned copy of a string that is not empty.
    pub(crate) fn owned(&self) -> Option<String> {
        self.full().map(str::to_owned)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Text<'a> {
            type Value = Str<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Str<'a>, E> {
                Ok(Str(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Str<'a>, E> {
                Ok(Str(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_string<E>(self, text: String) -> Result<Str<'a>, E> {
                Ok(Str(Some(Cow::Owned(text))))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Str<'a>, E> {
                Ok(Str(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Str<'a>, E> {
                Ok(Str(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Str<'a>, E> {
                Ok(Str(Some(Cow::Owned(number.to_string()))))
            }
            ignore!(Str<'a>, Str(None); null, bool, seq, map);
        }
        deserializer.deserialize_any(Text(PhantomData))
    }
}

/// A count of tokens: negative ones and things that are no numbers are 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count(pub(crate) u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl<'de> Visitor<'de> for Number {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Count, E> {
                Ok(Count(number))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(number).unwrap_or(0)))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Count, E> {
                // Saturates: negative and NaN become 0.
                Ok(Count(number as u64))
            }
            ignore!(Count, Count(0); null, bool, string, seq, map);
        }
        deserializer.deserialize_any(Number)
    }
}

/// A quantity with a fraction: negative ones and things that are no numbers are 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decimal(f64);

impl Decimal {
    /// The quantity in a finer unit, rounded.
    pub(crate) fn times(self, factor: f64) -> u64 {
        // Saturates: negative and NaN become 0.
        (self.0 * factor).round() as u64
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Quantity;

        impl<'de> Visitor<'de> for Quantity {
            type Value = Decimal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Decimal, E> {
                Ok(Decimal(number as f64))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Decimal, E> {
                Ok(Decimal(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Decimal, E> {
                Ok(Decimal(number))
            }

            ignore!(Decimal, Decimal(0.0); null, bool, string, seq, map);
        }

        deserializer.deserialize_any(Quantity)
    }
}

/// A flag: things that are no boolean are false.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flag(pub(crate) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Boolean;

        impl<'de> Visitor<'de> for Boolean {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }

            ignore!(Flag, Flag(false); null, number, string, seq, map);
        }

        deserializer.deserialize_any(Boolean)
    }
}

/// A cost in dollars: a number (OpenRouter), or an object with a total (Perplexity: `total_cost`, Venice: `usd`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost(Decimal);

impl Cost {
    /// The cost in billionths of a dollar.
    pub(crate) fn billionths(self) -> u64 {
        self.0.times(1e9)
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Cost;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a cost")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cost, A::Error> {
                let mut cost = Cost::default();
                while let Some(key) = map.next_key::<String>()? {
                    match &*key {
                        "total_cost" | "usd" => cost = Cost(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(cost)
            }

            fn visit_f64<E>(self, dollars: f64) -> Result<Cost, E> {
                Ok(Cost(Decimal(dollars)))
            }

            fn visit_u64<E>(self, dollars: u64) -> Result<Cost, E> {
                Ok(Cost(Decimal(dollars as f64)))
            }

            fn visit_i64<E>(self, dollars: i64) -> Result<Cost, E> {
                Ok(Cost(Decimal(dollars as f64)))
            }

            ignore!(Cost, Cost(Decimal(0.0)); null, bool, string, seq);
        }

        deserializer.deserialize_any(Either)
    }
}

/// A class of service, by any provider's word. Anything else is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Class(pub(crate) Option<Tier>);

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Str::deserialize(deserializer).map(|word| Self(Tier::of(word.text())))
    }
}

/// An object, read as `T`. Anything else is absent.
#[derive(Clone, Debug)]
pub(crate) struct Obj<T>(pub(crate) Option<T>);

impl<T> Default for Obj<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Obj<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Obj<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Obj<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|value| Obj(Some(value)))
            }
            ignore!(Obj<T>, Obj(None); null, bool, number, string, seq);
        }
        deserializer.deserialize_any(Object(PhantomData))
    }
}

/// An array whose objects are read as `T`; other elements are left out. Anything else is empty.
#[derive(Clone, Debug)]
pub(crate) struct List<T>(pub(crate) Few<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Few::default())
    }
}

/// Elements in order. One alone, as most lists of a stream have, takes nothing from the allocator.
#[derive(Clone, Debug)]
pub(crate) enum Few<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    fn push(&mut self, element: T) {
        match self {
            Self::Many(many) if many.is_empty() => *self = Self::One(element),
            Self::Many(many) => many.push(element),
            Self::One(_) => {
                if let Self::One(first) = std::mem::take(self) {
                    *self = Self::Many(vec![first, element]);
                }
            }
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        gathered(deserializer, |list: &mut Self, element| list.0.push(element))
    }
}

/// Reads an array whose objects are `T`s, and gives each to `add`; what is no object, or no array, adds nothing.
pub(crate) fn gathered<'de, T, G, D>(deserializer: D, add: fn(&mut G, T)) -> Result<G, D::Error>
where
    T: Deserialize<'de>,
    G: Default,
    D: Deserializer<'de>,
{
    struct Array<T, G>(fn(&mut G, T));
    impl<'de, T: Deserialize<'de>, G: Default> Visitor<'de> for Array<T, G> {
        type Value = G;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<G, A::Error> {
            let mut gathered = G::default();
            while let Some(Obj(element)) = seq.next_element::<Obj<T>>()? {
                element.into_iter().for_each(|element| self.0(&mut gathered, element));
            }
            Ok(gathered)
        }
        ignore!(G, G::default(); null, bool, number, string, map);
    }
    deserializer.deserialize_any(Array(add))
}

/// Text, or an array of parts in its place.
#[derive(Clone, Debug, Default)]
pub(crate) enum TextOr<'a, T> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Parts(Few<T>),
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for TextOr<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Either<'a, T> {
            type Value = TextOr<'a, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or parts")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(Cow::Owned(text)))
            }
            // Cloudflare's models write words that look like numbers as numbers.
            fn visit_u64<E>(self, number: u64) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(Cow::Owned(number.to_string())))
            }
            fn visit_i64<E>(self, number: i64) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(Cow::Owned(number.to_string())))
            }
            fn visit_f64<E>(self, number: f64) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(Cow::Owned(number.to_string())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<TextOr<'a, T>, A::Error> {
                let List(parts) = List::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(TextOr::Parts(parts))
            }
            ignore!(TextOr<'a, T>, TextOr::Absent; null, bool, map);
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// One object, or an array of them, read as `T`. Anything else is absent.
#[derive(Clone, Debug)]
pub(crate) struct Several<T>(Few<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Few::default())
    }
}

impl<T> Several<T> {
    /// All of them.
    pub(crate) fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Several<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Several<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| Several(Few::One(one)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Several<T>, A::Error> {
                let List(all) = List::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(Several(all))
            }
            ignore!(Several<T>, Several::default(); null, bool, number, string);
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

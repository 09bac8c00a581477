//! JSON that anybody may have written: bounded before anything of that size is made, no key twice in an object, and
//! lists of numbers as such.

use super::LoadError;
use crate::real::Real;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// A number in text takes some 10 bytes and, read, 8; an empty list 3 and some 50.
const LARGEST: usize = 256 << 20;
const MOST_CONTAINERS: usize = 1 << 22;

/// A value. Of numbers it is kept whether they are written without a fraction.
#[derive(Debug)]
pub enum Json {
    Null,
    Bool(bool),
    Number {
        value: f64,
        whole: bool,
    },
    Text(String),
    /// A list of numbers alone, or of nothing.
    Numbers {
        values: Vec<f64>,
        whole: bool,
    },
    List(Vec<Json>),
    Object(Object),
}

/// An object, in the file's order.
#[derive(Debug)]
pub struct Object(Vec<(String, Json)>);

/// Where a value stands in a file, as errors say it.
pub type At<'a> = &'a str;

/// Whether it may be a JSON object.
pub fn is_object(data: &[u8]) -> bool {
    without_mark(data).trim_ascii_start().first() == Some(&b'{')
}

/// The object that `data` is.
pub fn parse(data: &[u8]) -> Result<Object, LoadError> {
    if data.len() > LARGEST {
        return Err(refused("", format!("JSON of at most {LARGEST} bytes"), data.len()));
    }
    if data.iter().filter(|&&byte| byte == b'[' || byte == b'{').count() > MOST_CONTAINERS {
        let expected = format!("at most {MOST_CONTAINERS} lists and objects");
        return Err(refused("", expected, "more"));
    }
    match serde_json::from_slice(without_mark(data)) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(other) => Err(refused("", "a JSON object", other)),
        Err(error) => Err(refused("", "JSON", error)),
    }
}

/// Without the mark of its bytes' order that some editors begin a text with.
fn without_mark(data: &[u8]) -> &[u8] {
    data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data)
}

pub fn refused(at: At<'_>, expected: impl Into<String>, got: impl fmt::Display) -> LoadError {
    LoadError::Refused { at: at.to_owned(), expected: expected.into(), got: got.to_string() }
}

/// In short, whatever it is: what is in a container may be without end.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => value.fmt(f),
            Json::Number { value, .. } => value.fmt(f),
            Json::Text(text) => write!(f, "{:?}", shown(text)),
            Json::Numbers { .. } | Json::List(_) => f.write_str("a list"),
            Json::Object(_) => f.write_str("an object"),
        }
    }
}

/// The beginning of a text.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

impl Object {
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Refuses a key that is not among those read or known to change no number.
    pub fn only(&self, at: At<'_>, known: &[&str]) -> Result<(), LoadError> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, value)) => {
                let at = join(at, &shown(name));
                Err(refused(&at, "no such key, whose effect is not known here", value))
            }
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn object(&self, at: At<'_>, key: &str) -> Result<&Object, LoadError> {
        match self.get(key) {
            Some(Json::Object(object)) => Ok(object),
            other => Err(refused_key(at, key, "an object", other)),
        }
    }

    /// A list of anything; one of numbers alone comes as such.
    pub fn list(&self, at: At<'_>, key: &str) -> Result<&[Json], LoadError> {
        match self.get(key) {
            Some(Json::List(list)) => Ok(list),
            Some(Json::Numbers { values, .. }) if values.is_empty() => Ok(&[]),
            other => Err(refused_key(at, key, "a list", other)),
        }
    }

    pub fn text(
        &self,
        at: At<'_>,
        key: &str,
        default: Option<&'static str>,
    ) -> Result<&str, LoadError> {
        match (self.get(key), default) {
            (Some(Json::Text(text)), _) => Ok(text),
            (None, Some(default)) => Ok(default),
            (other, _) => Err(refused_key(at, key, "a string", other)),
        }
    }

    pub fn flag(&self, at: At<'_>, key: &str, default: Option<bool>) -> Result<bool, LoadError> {
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (Some(Json::Bool(value)), _) => Ok(*value),
            (other, _) => Err(refused_key(at, key, "true or false", other)),
        }
    }

    pub fn number(&self, at: At<'_>, key: &str) -> Result<f64, LoadError> {
        match self.get(key) {
            Some(Json::Number { value, .. }) if value.is_finite() => Ok(*value),
            other => Err(refused_key(at, key, "a finite number", other)),
        }
    }

    /// A number of units, layers …
    pub fn size(
        &self,
        at: At<'_>,
        key: &str,
        default: Option<usize>,
        least: usize,
    ) -> Result<usize, LoadError> {
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (other, _) => {
                let size = other.and_then(Json::index).filter(|&size| size >= least);
                let expected = || format!("an integer, {least} or more");
                size.ok_or_else(|| refused_key(at, key, &expected(), other))
            }
        }
    }

    /// The last axis of a shape, whose others may be null.
    pub fn last_size(&self, at: At<'_>, key: &str) -> Result<usize, LoadError> {
        let last = match self.get(key) {
            Some(Json::List(axes)) => axes.last().and_then(Json::index),
            Some(Json::Numbers { values, whole }) => {
                values.last().and_then(|&value| Json::Number { value, whole: *whole }.index())
            }
            _ => None,
        };
        last.filter(|&size| size > 0).ok_or_else(|| {
            refused_key(at, key, "a shape whose last size is 1 or more", self.get(key))
        })
    }
}

fn refused_key(at: At<'_>, key: &str, expected: &str, got: Option<&Json>) -> LoadError {
    match got {
        Some(got) => refused(&join(at, key), expected, got),
        None => refused(&join(at, key), expected, "nothing"),
    }
}

/// The place of a key in the object that stands there.
pub fn join(at: At<'_>, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

/// A list of integers from 0 on.
pub fn indices(at: At<'_>, list: Option<&Json>) -> Result<Vec<usize>, LoadError> {
    let found = match list {
        Some(Json::Numbers { values, whole }) => {
            let index = |&value: &f64| Json::Number { value, whole: *whole }.index();
            values.iter().map(index).collect()
        }
        _ => None,
    };
    found.ok_or_else(|| refused(at, "a list of integers", "other things"))
}

/// Numbers in rows.
pub struct Matrix<T> {
    pub values: Vec<T>,
    pub rows: usize,
    pub columns: usize,
}

impl<T: Real> Matrix<T> {
    pub fn transposed(&self) -> Self {
        let column = |c: usize| self.values[c..].iter().step_by(self.columns).copied();
        let values = (0..self.columns).flat_map(column).collect();
        Matrix { values, rows: self.columns, columns: self.rows }
    }
}

impl Json {
    /// An integer from 0 on.
    pub fn index(&self) -> Option<usize> {
        match *self {
            Json::Number { value, whole: true } if (0.0..=9e15).contains(&value) => {
                Some(value as usize)
            }
            _ => None,
        }
    }

    /// A list of numbers.
    pub fn vector<T: Real>(&self, at: At<'_>) -> Result<Vec<T>, LoadError> {
        let expected = "a list of numbers";
        match self {
            Json::Numbers { values, .. } if !values.is_empty() => {
                let mut found = Vec::new();
                append(at, values, &mut found)?;
                Ok(found)
            }
            Json::Numbers { .. } => Err(refused(at, expected, "none")),
            Json::List(_) => Err(refused(at, expected, "a list of other things")),
            other => Err(refused(at, expected, other)),
        }
    }

    /// A list of lists of numbers, of one length.
    pub fn matrix<T: Real>(&self, at: At<'_>) -> Result<Matrix<T>, LoadError> {
        let expected = "a list of lists of numbers";
        let rows = match self {
            Json::List(rows) => rows,
            Json::Numbers { .. } => return Err(refused(at, expected, "a list of numbers")),
            other => return Err(refused(at, expected, other)),
        };
        let (mut values, mut columns) = (Vec::new(), None);
        for row in rows {
            match row {
                Json::Numbers { values: row, .. } if !row.is_empty() => {
                    if *columns.get_or_insert(row.len()) != row.len() {
                        return Err(refused(at, expected, "rows of differing lengths"));
                    }
                    append(at, row, &mut values)?;
                }
                _ => return Err(refused(at, expected, "a list of other things")),
            }
        }
        Ok(Matrix { values, rows: rows.len(), columns: columns.unwrap_or(0) })
    }
}

/// Rounds finite numbers, and refuses others.
fn append<T: Real>(at: At<'_>, values: &[f64], to: &mut Vec<T>) -> Result<(), LoadError> {
    to.try_reserve(values.len()).map_err(|_| LoadError::too_large("parameters"))?;
    for &value in values {
        let rounded = T::from_f64(value);
        if !rounded.is_finite() {
            return Err(refused(at, format!("finite {} numbers", T::NAME), value));
        }
        to.push(rounded);
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

/// One more in a vector, or an error where there is no memory.
fn push<T, E: serde::de::Error>(to: &mut Vec<T>, value: T) -> Result<(), E> {
    to.try_reserve(1).map_err(|_| E::custom("too large for this machine's memory"))?;
    to.push(value);
    Ok(())
}

impl<'de> Visitor<'de> for Any {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number { value: value as f64, whole: true })
    }
    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number { value: value as f64, whole: true })
    }
    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number { value, whole: false })
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Json, E> {
        let mut own = String::new();
        own.try_reserve_exact(text.len())
            .map_err(|_| E::custom("too large for this machine's memory"))?;
        own.push_str(text);
        Ok(Json::Text(own))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let (mut values, mut all_whole) = (Vec::new(), true);
        while let Some(next) = seq.next_element()? {
            if let Json::Number { value, whole } = next {
                push(&mut values, value)?;
                all_whole &= whole;
                continue;
            }
            // Not numbers alone.
            let mut list = Vec::new();
            for value in values {
                push(&mut list, Json::Number { value, whole: all_whole })?;
            }
            push(&mut list, next)?;
            while let Some(next) = seq.next_element()? {
                push(&mut list, next)?;
            }
            return Ok(Json::List(list));
        }
        Ok(Json::Numbers { values, whole: all_whole })
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries: Vec<(String, Json)> = Vec::new();
        while let Some(entry) = map.next_entry()? {
            push(&mut entries, entry)?;
        }
        // Programs differ in which of two they take.
        let mut names: Vec<&str> = Vec::new();
        names.try_reserve_exact(entries.len()).map_err(A::Error::custom)?;
        names.extend(entries.iter().map(|(name, _)| name.as_str()));
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let twice = shown(pair[0]);
            return Err(A::Error::custom(format!("{twice:?} occurs twice in an object")));
        }
        Ok(Json::Object(Object(entries)))
    }
}

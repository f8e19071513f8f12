//! Where in a line of JSON the wanted values lie: one pass over the line finds them all, as written.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Most steps of a pointer: JSON that is nested deeper is refused when it is read.
const DEPTH_MAX: usize = 128;

/// The places that are looked for; each has a number, in the order of asking.
#[derive(Debug, Default)]
pub(super) struct Fields {
    root: Node,
    count: usize,
}

/// The values found in one line, by number: JSON text exactly as it stands in the line.
pub(super) type Found<'l> = Vec<Option<&'l str>>;

/// A place, and the places inside of it.
#[derive(Debug, Default)]
struct Node {
    number: Option<usize>,
    children: Vec<(String, Node)>,
}

impl Fields {
    /// Asks for a place: the name of a field of the line's object, or a JSON pointer (RFC 6901).
    pub(super) fn ask(&mut self, place: &str) -> Result<usize, String> {
        let mut node = &mut self.root;
        for token in tokens(place)? {
            let at = match node.children.iter().position(|(name, _)| *name == token) {
                Some(at) => at,
                None => {
                    node.children.push((token, Node::default()));
                    node.children.len() - 1
                }
            };
            node = match node.children.get_mut(at) {
                Some((_, child)) => child,
                None => return Err("unreachable: the place was just added".to_owned()),
            };
        }
        Ok(*node.number.get_or_insert_with(|| {
            self.count += 1;
            self.count - 1
        }))
    }

    /// The fields of the line's own object that were asked for, or asked into.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.root.children.iter().map(|(name, _)| name.as_str())
    }

    /// Reads a line, which must be one JSON text. Of a name that comes twice the last one counts.
    pub(super) fn find<'l>(&self, line: &'l str, found: &mut Found<'l>) -> Result<(), serde_json::Error> {
        found.clear();
        found.resize(self.count, None);
        let mut json = serde_json::Deserializer::from_str(line);
        walk(&self.root, &mut json, line, found)?;
        json.end()
    }
}

fn tokens(place: &str) -> Result<Vec<String>, String> {
    if place.is_empty() {
        return Err("a field has a name".to_owned());
    }
    let Some(pointer) = place.strip_prefix('/') else { return Ok(vec![place.to_owned()]) };
    if pointer.split('/').count() > DEPTH_MAX {
        return Err(format!("a pointer has at most {DEPTH_MAX} steps, this one has more: no line is read any deeper"));
    }
    // In this order: `~01` is `~1`.
    Ok(pointer.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
}

/// Goes through the value that `json` is at the beginning of; `text` shows what kind of value it is.
fn walk<'l>(
    node: &Node,
    json: &mut serde_json::Deserializer<serde_json::de::StrRead<'l>>,
    text: &str,
    found: &mut Found<'l>,
) -> Result<(), serde_json::Error> {
    let inside = Inside { node, found };
    match text.trim_start_matches([' ', '\t', '\n', '\r']).as_bytes().first() {
        Some(b'{') => json.deserialize_map(inside),
        Some(b'[') => json.deserialize_seq(inside),
        _ => serde::Deserialize::deserialize(json).map(|IgnoredAny| ()),
    }
}

/// Visits the members of one object or array.
struct Inside<'n, 'f, 'l> {
    node: &'n Node,
    found: &'f mut Found<'l>,
}

impl<'l> Inside<'_, '_, 'l> {
    fn take(&mut self, child: &Node, raw: &'l RawValue) -> Result<(), serde_json::Error> {
        let text = raw.get();
        // What an earlier member of the same name held is not there.
        child.forget(self.found);
        if let Some(place) = child.number.and_then(|number| self.found.get_mut(number)) {
            *place = Some(text);
        }
        if child.children.is_empty() {
            return Ok(());
        }
        walk(child, &mut serde_json::Deserializer::from_str(text), text, self.found)
    }
}

impl Node {
    fn forget(&self, found: &mut Found<'_>) {
        if let Some(place) = self.number.and_then(|number| found.get_mut(number)) {
            *place = None;
        }
        self.children.iter().for_each(|(_, child)| child.forget(found));
    }
}

impl<'l> Visitor<'l> for Inside<'_, '_, 'l> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'l>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Named(self.node))? {
            match child {
                Some(child) => {
                    let raw = map.next_value()?;
                    self.take(child, raw).map_err(A::Error::custom)?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'l>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0usize;
        while let Some(raw) = seq.next_element::<&'l RawValue>()? {
            let name = index.to_string();
            if let Some((_, child)) = self.node.children.iter().find(|(wanted, _)| *wanted == name) {
                self.take(child, raw).map_err(A::Error::custom)?;
            }
            index += 1;
        }
        Ok(())
    }
}

/// The child of a node that a key names, if there is one.
struct Named<'n>(&'n Node);

impl<'l, 'n> DeserializeSeed<'l> for Named<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'l>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Named<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|(name, _)| name == key).map(|(_, child)| child))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find<'l>(places: &[&str], line: &'l str) -> Option<Vec<Option<&'l str>>> {
        let mut fields = Fields::default();
        for place in places {
            fields.ask(place).unwrap();
        }
        let mut found = Vec::new();
        fields.find(line, &mut found).ok().map(|()| found)
    }

    #[test]
    fn values_are_found_as_they_are_written() {
        let line = r#" {"a": 1.50, "b": {"c": "x\u0041", "d": [10, {"e": null}]}, "a/b": true, "m~n": 1e999} "#;
        let places = ["a", "/b/c", "/b/d/0", "/b/d/1/e", "/a~1b", "/m~0n", "/b/d/9", "b", "none", "/a/deep"];
        let found = find(&places, line).unwrap();
        assert_eq!(
            found,
            [
                Some("1.50"),
                Some(r#""x\u0041""#),
                Some("10"),
                Some("null"),
                Some("true"),
                Some("1e999"),
                None,
                Some(r#"{"c": "x\u0041", "d": [10, {"e": null}]}"#),
                None,
                None,
            ]
        );
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        assert_eq!(find(&["/a/b", "a"], r#"{"a":{"b":1},"a":2}"#).unwrap(), [None, Some("2")]);
    }

    #[test]
    fn a_pointer_deeper_than_any_line_is_refused() {
        let deep = |steps: usize| Fields::default().ask(&"/a".repeat(steps));
        assert_eq!(deep(DEPTH_MAX), Ok(0));
        assert!(deep(DEPTH_MAX + 1).unwrap_err().contains("128 steps"));
    }

    #[test]
    fn the_same_place_asked_twice_has_one_number() {
        let mut fields = Fields::default();
        assert_eq!([fields.ask("a"), fields.ask("/b"), fields.ask("/a")], [Ok(0), Ok(1), Ok(0)]);
        assert!(fields.ask("").is_err());
    }

    #[test]
    fn a_line_that_is_no_json_is_refused_wherever_it_goes_wrong() {
        for line in
            ["", " ", "{", r#"{"a":1}x"#, r#"{"b":{"c":nope}}"#, r#"{"a":1,}"#, "[1,2", r#"{"a":1}{"a":1}"#, "nul"]
        {
            assert_eq!(find(&["a"], line), None, "{line}");
        }
        for line in ["1", "null", r#""text""#, "[]", "{}"] {
            assert_eq!(find(&["a"], line), Some(vec![None]), "{line}");
        }
        assert_eq!(find(&["/1"], "[1,2]"), Some(vec![Some("2")]));
    }

    proptest! {
        #[test]
        fn no_line_panics_and_all_agree_with_serde_json(line in r#"[\[\]{}",:a0-9.e nul\\-]{0,24}"#) {
            let agrees = serde_json::from_str::<&RawValue>(&line).is_ok();
            prop_assert_eq!(find(&["a", "/a/a", "/0"], &line).is_some(), agrees, "{}", line);
        }
    }
}

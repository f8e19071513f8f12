//! Names made of the fields of a line: text with `{field}` or `{/json/pointer}`; `{{` and `}}` are braces.
//!
//! A string gives its text, a number or boolean what is written in the line, an object or array its JSON
//! text, and what is missing or null nothing.

use std::borrow::Cow;

use super::fields::{Fields, Found};

/// A text with places for values of a line.
#[derive(Debug)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The value of this number among the fields.
    Field(usize),
}

impl Template {
    /// Reads a template, and asks for the fields it needs.
    pub(super) fn parse(text: &str, fields: &mut Fields) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some((place, after)) = brace.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Field(fields.ask(place).map_err(|why| format!("in `{text}`: {why}"))?));
                rest = after;
            } else {
                return Err(format!("in `{text}` a brace has no partner; a brace itself is written `{{{{` or `}}}}`"));
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { pieces })
    }

    /// The same, with what stands for a field changed.
    pub(super) fn fill_safely<'l>(
        &'l self,
        found: &Found<'l>,
        safe: impl Fn(&str) -> Cow<'_, str>,
    ) -> Result<String, String> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Field(_) => text.push_str(&safe(&piece.text(found)?)),
            }
        }
        Ok(text)
    }

    /// The text for a line whose fields were found.
    pub(super) fn fill<'l>(&'l self, found: &Found<'l>) -> Result<Cow<'l, str>, String> {
        if let [only] = self.pieces.as_slice() {
            return only.text(found);
        }
        let mut text = String::new();
        for piece in &self.pieces {
            text.push_str(&piece.text(found)?);
        }
        Ok(Cow::Owned(text))
    }
}

impl Piece {
    fn text<'l>(&'l self, found: &Found<'l>) -> Result<Cow<'l, str>, String> {
        match self {
            Piece::Text(text) => Ok(Cow::Borrowed(text)),
            Piece::Field(number) => value(found.get(*number).copied().flatten()),
        }
    }
}

/// What a value of a line stands for in a text.
pub(super) fn value(json: Option<&str>) -> Result<Cow<'_, str>, String> {
    match json {
        None | Some("null") => Ok(Cow::Borrowed("")),
        Some(json) => match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            None => Ok(Cow::Borrowed(json)),
            Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
            Some(_) => serde_json::from_str(json)
                .map(Cow::Owned)
                .map_err(|error| format!("the string {json} holds what is no text: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(template: &str, line: &str) -> Result<String, String> {
        let mut fields = Fields::default();
        let template = Template::parse(template, &mut fields)?;
        let mut found = Vec::new();
        fields.find(line, &mut found).map_err(|error| error.to_string())?;
        template.fill(&found).map(Cow::into_owned)
    }

    #[test]
    fn fields_are_put_in_as_they_are_written() {
        let line = r##"{"channel":"#en","page":"A \"B\" é","n":1.50,"big":12345678901234567890123,"yes":true,"no":null,"o":{"k":[1, 2]}}"##;
        for (template, text) in [
            ("{channel}/{page}", "#en/A \"B\" é"),
            ("customer-{n}", "customer-1.50"),
            ("{big}", "12345678901234567890123"),
            ("{yes}{no}{missing}", "true"),
            ("{o}", r#"{"k":[1, 2]}"#),
            ("{/o/k/1}", "2"),
            ("{{{n}}}", "{1.50}"),
            ("all", "all"),
            ("", ""),
        ] {
            assert_eq!(fill(template, line).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn a_template_that_is_not_one_is_refused() {
        for template in ["{", "}", "a{b", "a}b", "{}", "{a}}"] {
            assert!(fill(template, "{}").is_err(), "{template}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_no_name() {
        assert!(fill("{a}", r#"{"a":"\ud800"}"#).is_err());
        assert_eq!(fill("{a}", r#"{"a":"\ud83d\ude00"}"#).as_deref(), Ok("😀"));
    }

    proptest! {
        #[test]
        fn text_with_doubled_braces_stands_for_itself(text: String) {
            let template = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(fill(&template, "{}"), Ok(text));
        }

        #[test]
        fn a_string_comes_out_as_it_was(text: String) {
            let line = serde_json::json!({ "a": text }).to_string();
            prop_assert_eq!(fill("{a}", &line), Ok(text));
        }
    }
}

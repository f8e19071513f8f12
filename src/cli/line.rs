//! How a line of an input becomes an event.

use jiff::tz::TimeZone;

use crate::event::{check_name, check_user_stream};
use crate::{InvalidEvent, JSON, NewEvent};

use super::envelope;
use super::fields::{Fields, Found};
use super::output::json_error;
use super::template::{Template, value};
use super::time::parse_imported;

/// What the lines of an input are.
#[derive(Debug)]
pub(super) enum Lines {
    /// JSON of any kind, and where in it the attributes of its event are.
    Ndjson(Box<Shape>),
    /// What `annals export` writes.
    Envelopes,
}

/// Where in a line of JSON the attributes of its event are. The line itself is the data.
#[derive(Debug)]
pub(super) struct Shape {
    fields: Fields,
    stream: Template,
    event_type: Template,
    id: Option<Template>,
    time: Option<Time>,
    /// Where all the lines come from.
    source: Option<String>,
}

#[derive(Debug)]
struct Time {
    field: usize,
    place: String,
    zone: TimeZone,
}

impl Shape {
    /// The shape of templates for stream and type.
    pub(super) fn new(stream: &str, event_type: &str, source: Option<String>) -> Result<Shape, String> {
        let mut fields = Fields::default();
        let stream = Template::parse(stream, &mut fields)?;
        let event_type = Template::parse(event_type, &mut fields)?;
        Ok(Shape { fields, stream, event_type, id: None, time: None, source })
    }

    /// The id by a template, too. An empty text is no id.
    pub(super) fn id(mut self, template: &str) -> Result<Shape, String> {
        self.id = Some(Template::parse(template, &mut self.fields)?);
        Ok(self)
    }

    /// The time by a field, too; one that names no zone is in this one.
    pub(super) fn time(mut self, place: &str, zone: TimeZone) -> Result<Shape, String> {
        let field = self.fields.ask(place)?;
        self.time = Some(Time { field, place: place.to_owned(), zone });
        Ok(self)
    }

    fn event<'l>(&'l self, line: &'l str, found: &mut Found<'l>) -> Result<NewEvent<'l>, String> {
        self.fields.find(line, found).map_err(|error| format!("not JSON: {}", json_error(&error)))?;
        let stream = self.stream.fill(found)?;
        let mut event = NewEvent::new(stream, self.event_type.fill(found)?).data(line.as_bytes()).content_type(JSON);
        if let Some(id) = &self.id {
            let id = id.fill(found)?;
            if !id.is_empty() {
                event = event.id(id);
            }
        }
        if let Some(time) = &self.time {
            let text = value(found.get(time.field).copied().flatten())?;
            if text.is_empty() {
                return Err(format!("there is no time in `{}`", time.place));
            }
            event = event.time(parse_imported(&text, &time.zone)?);
        }
        Ok(match &self.source {
            Some(source) => event.source(source.as_str()),
            None => event,
        })
    }
}

impl Lines {
    /// The event of a line without its LF, or why there is none. `found` is memory that lines share.
    pub(super) fn event<'l>(&'l self, line: &'l str, found: &mut Found<'l>) -> Result<NewEvent<'l>, String> {
        let event = match self {
            Lines::Ndjson(shape) => shape.event(line, found)?,
            Lines::Envelopes => envelope::decode(line)?,
        };
        check(&event).map_err(|error| error.to_string())?;
        Ok(event)
    }
}

/// Checks what appending would check, while it is known which line is to blame.
pub(super) fn check(event: &NewEvent<'_>) -> Result<(), InvalidEvent> {
    check_user_stream(&event.stream)?;
    check_name("type", &event.event_type)?;
    event.check()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape::new("order-{no}", "{kind}", Some("shop".to_owned())).unwrap()
    }

    fn event(shape: Shape, line: &str) -> Result<NewEvent<'static>, String> {
        Lines::Ndjson(Box::new(shape)).event(line, &mut Vec::new()).map(NewEvent::into_owned)
    }

    #[test]
    fn a_line_is_the_data_and_its_fields_are_the_attributes() {
        let line = r#"{"no": 17, "kind": "Paid", "at": "2010-12-01 08:26:00", "key": "k"}"#;
        let shape = shape().id("{key}").unwrap().time("at", TimeZone::UTC).unwrap();
        let expected = NewEvent::new("order-17", "Paid")
            .data(line.as_bytes())
            .content_type(JSON)
            .id("k")
            .time(crate::Timestamp::from_micros(1_291_191_960_000_000))
            .source("shop");
        assert_eq!(event(shape, line).unwrap(), expected.into_owned());
    }

    #[test]
    fn an_empty_id_is_none() {
        assert_eq!(event(shape().id("{key}").unwrap(), r#"{"kind":"Paid"}"#).unwrap().id, None);
    }

    #[test]
    fn a_line_that_cannot_be_taken_says_why() {
        let timed = || shape().time("at", TimeZone::UTC).unwrap();
        for (shape, line, why) in [
            (shape(), "", "not JSON: "),
            (shape(), "{", "not JSON: "),
            (shape(), r#"{"no":1}"#, "a type name has 1 to 1024 bytes, this one has 0"),
            (shape(), r#"{"no":"a\u0007","kind":"b"}"#, "control character"),
            (Shape::new("{s}", "t", None).unwrap(), "{}", "a stream name has 1 to 1024 bytes, this one has 0"),
            (Shape::new("{s}", "t", None).unwrap(), r#"{"s":"$x"}"#, "are the log's own"),
            (timed(), r#"{"kind":"Paid"}"#, "there is no time in `at`"),
            (timed(), r#"{"kind":"Paid","at":"soon"}"#, "is no time that is understood"),
        ] {
            let said = event(shape, line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}

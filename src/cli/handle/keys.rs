//! Whose state an event is about: its stream, or what a template makes of its data.

use crate::Event;
use crate::cli::fields::Fields;
use crate::cli::output::json_error;
use crate::cli::template::Template;

/// How keys are made.
#[derive(Debug)]
pub(super) enum Keys {
    Streams,
    Made { template: Template, fields: Fields },
}

impl Keys {
    pub(super) fn new(template: Option<&str>) -> Result<Keys, String> {
        let Some(template) = template else { return Ok(Keys::Streams) };
        let mut fields = Fields::default();
        Ok(Keys::Made { template: Template::parse(template, &mut fields)?, fields })
    }

    /// The key of an event, or why it has none.
    pub(super) fn of(&self, event: &Event) -> Result<String, String> {
        let Keys::Made { template, fields } = self else { return Ok(event.stream().to_owned()) };
        let wrong = |why: &str| format!("no key can be made of its data: {why}");
        let text = std::str::from_utf8(event.data()).map_err(|_| wrong("not UTF-8"))?;
        let mut found = Vec::new();
        fields.find(text, &mut found).map_err(|error| wrong(&format!("not JSON: {}", json_error(&error))))?;
        template.fill(&found).map(|key| key.into_owned()).map_err(|why| wrong(&why))
    }
}

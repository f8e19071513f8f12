//! What a log answers to every kind of question, as text that can be compared.

use annals::{Event, LogReader, Offset, ReadError, Timestamp};

/// What was answered to each question: all that came, and what it ended with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers(Vec<Answer>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    question: String,
    items: Vec<String>,
    error: Option<String>,
}

impl Answers {
    pub fn first_error(&self) -> Option<String> {
        self.0.iter().find_map(|answer| Some(format!("{}: {}", answer.question, answer.error.as_ref()?)))
    }

    /// The first answer that is neither the same as the right one nor an error, where an error may have come after
    /// some of the right ones.
    pub fn first_wrong(&self, right: &Answers) -> Option<String> {
        self.0.iter().zip(&right.0).find_map(|(given, right)| {
            let is_right = match given.error {
                None => given.items == right.items,
                Some(_) => given.items.iter().all(|item| right.items.contains(item)),
            };
            (!is_right).then(|| format!("{}: {:?} instead of {:?}", given.question, given.items, right.items))
        })
    }

    fn add<E: std::fmt::Display>(&mut self, question: &str, items: impl Iterator<Item = Result<String, E>>) {
        let mut answer = Answer { question: question.to_owned(), items: Vec::new(), error: None };
        for item in items {
            match item {
                Ok(item) => answer.items.push(item),
                Err(error) => {
                    answer.error = Some(error.to_string());
                    break;
                }
            }
        }
        self.0.push(answer);
    }

    fn events(&mut self, question: &str, events: impl Iterator<Item = Result<Event, ReadError>>) {
        self.add(question, events.map(|event| event.map(|event| short(&event))));
    }

    fn one<E: std::fmt::Display>(&mut self, question: &str, item: Result<String, E>) {
        self.add(question, [item].into_iter());
    }
}

/// An event in few words: the whole of it is compared where events are read from first to last.
fn short(event: &Event) -> String {
    let sum: u64 = event.data().iter().step_by(61).map(|byte| u64::from(*byte)).sum();
    format!("{} {} {} {} {sum}", event.offset(), event.stream(), event.version(), event.event_type())
}

/// Asks everything but for all events in order.
pub fn ask(reader: &LogReader) -> Answers {
    let mut answers = Answers::default();
    let streams = ["order-1", "order-4", "order-17", "large", "zeros", "$source/import", "torn", "not there"];
    answers.events("backward", reader.read(..).system(true).backward());
    answers.events("types", reader.read(..).types(["Paid", "OrderPaid"]));
    answers.events("streams", reader.read(..).streams("order-*"));
    let tail = reader.read(..).tail(3);
    match tail {
        Ok(events) => answers.events("tail", events.into_iter().map(Ok)),
        Err(error) => answers.one("tail", Err::<String, _>(error)),
    }
    for name in streams {
        answers.events(&format!("stream {name}"), reader.stream(name));
        answers.events(&format!("stream {name} backward"), reader.stream(name).backward());
        answers.one(&format!("version of {name}"), reader.version(name).map(|version| format!("{version:?}")));
        answers.one(
            &format!("last of {name}"),
            reader.last(name).map(|last| last.as_ref().map_or_else(String::new, short)),
        );
    }
    let listed = reader.streams("*").map(|stream| stream.map(|s| format!("{} {} {}", s.name, s.version, s.last)));
    answers.add("list of streams", listed);
    answers.one("list of types", reader.types().map(|types| format!("{types:?}")));
    for at in [0, 3, 5, 40] {
        let event = reader.get(Offset::from_raw(at));
        answers.one(&format!("event {at}"), event.map(|event| event.as_ref().map_or_else(String::new, short)));
    }
    for micros in [0, 1_700_000_000_010_000, 1_700_000_000_100_000, 1_900_000_000_000_000] {
        let offset = reader.offset_recorded(Timestamp::from_micros(micros));
        answers.one(&format!("recorded at {micros}"), offset.map(|offset| offset.to_string()));
    }
    let stat = reader.stat().map(|stat| {
        format!("{} {} {} {} {:?}", stat.events, stat.system_events, stat.streams, stat.types, stat.last_time)
    });
    answers.one("stat", stat);
    answers
}

//! Thoughts within the text of an upstream that writes them there, told apart for clients of any other dialect.

use crate::ir::{self, Event};
use crate::think_tags::{Parts, ThinkTags};
use crate::{Repair, Repairs};

/// A filter of the events of one answer.
#[derive(Debug, Default)]
pub(super) struct Tags {
    choices: Vec<(u32, ThinkTags)>,
    current: u32,
}

impl Tags {
    /// The filter for an upstream with these quirks; none where it writes no tags.
    pub(super) fn of(repairs: Repairs) -> Option<Self> {
        repairs.has(Repair::ThinkTags).then(Self::default)
    }

    /// Splits the texts among some events.
    pub(super) fn split(&mut self, events: &mut Vec<Event>) {
        let whole = std::mem::take(events);
        for event in whole {
            match event {
                Event::Choice(number) => {
                    self.current = number;
                    events.push(event);
                }
                Event::Text(text) => {
                    let parts = self.tags().push(&text);
                    tell(parts, events);
                }
                // What is held is told before anything that says that no more of it comes.
                Event::BlockEnd | Event::ToolStart { .. } | Event::Finish { .. } => {
                    let parts = self.tags().finish();
                    tell(parts, events);
                    events.push(event);
                }
                other => events.push(other),
            }
        }
    }

    /// The same of a whole answer.
    pub(super) fn of_whole(mut self, answer: &ir::Response) -> Result<ir::Response, ir::Error> {
        let mut events = answer.events();
        self.split(&mut events);
        ir::Response::fold(events)
    }

    fn tags(&mut self) -> &mut ThinkTags {
        let number = self.current;
        let place = self.choices.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
            self.choices.push((number, ThinkTags::default()));
            self.choices.len() - 1
        });
        &mut self.choices[place].1
    }
}

fn tell(parts: Parts, events: &mut Vec<Event>) {
    if !parts.thought.is_empty() {
        events.push(Event::Thinking(parts.thought));
    }
    if !parts.said.is_empty() {
        events.push(Event::Text(parts.said));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::FinishReason;

    fn text(text: &str) -> Event {
        Event::Text(text.to_owned())
    }

    #[test]
    fn thoughts_are_told_apart_for_each_candidate() {
        let mut tags = Tags::of(Repairs::of(&[Repair::ThinkTags])).expect("a filter");
        let finish = Event::Finish { reason: FinishReason::Stop, raw: None, stop_sequence: None };
        let mut events = vec![text("<think>a"), Event::Choice(1), text("<thin"), finish.clone()];
        tags.split(&mut events);
        let mut more = vec![Event::Choice(0), text("b</think>\nc"), finish.clone()];
        tags.split(&mut more);

        assert_eq!(
            events,
            [Event::Thinking("a".to_owned()), Event::Choice(1), text("<thin"), finish.clone()]
        );
        assert_eq!(more, [Event::Choice(0), Event::Thinking("b".to_owned()), text("c"), finish]);
        assert!(Tags::of(Repairs::NONE).is_none());
    }
}

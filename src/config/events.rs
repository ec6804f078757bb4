//! Where events are published: channels and lists of Platypush nodes.

use super::check::Checker;
use super::keys;

/// What stands before the name of a list.
const LIST: &str = "list:";

/// Where an event goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A pub/sub channel: a node's bus.
    Channel(String),
    /// A list: that of a node's `backend.redis`. It is none of ours.
    List(String),
}

impl Destination {
    fn parse(text: &str) -> Self {
        match text.strip_prefix(LIST) {
            Some(list) => Self::List(list.to_owned()),
            None => Self::Channel(text.to_owned()),
        }
    }
}

impl Checker<'_> {
    /// The destinations, each once. What is wrong with one is told by its
    /// place in the list.
    pub(super) fn destinations(&mut self) -> Vec<Destination> {
        let texts = self.list(&keys::EVENTS_PUBLISH);
        let mut destinations = Vec::with_capacity(texts.len());
        for (number, text) in (1..).zip(&texts) {
            let destination = Destination::parse(text);
            if let Some(wrong) = self.wrong_with(&destination, &destinations) {
                let text = format!("entry {number} {wrong}");
                self.problem(&keys::EVENTS_PUBLISH, &text);
            }
            destinations.push(destination);
        }
        destinations
    }

    fn wrong_with(&mut self, destination: &Destination, before: &[Destination]) -> Option<String> {
        if let Some(same) = before.iter().position(|other| other == destination) {
            return Some(format!("is the same as entry {}", same + 1));
        }
        let name = match destination {
            Destination::Channel(name) if name.starts_with(['[', '"', '\'']) => {
                return Some(
                    "must be a name: in the environment write a list as NAME,NAME, without \
                     brackets and quotes"
                        .into(),
                );
            }
            Destination::Channel(_) => return None,
            Destination::List(name) => name,
        };
        let queue = self.text(&keys::QUEUE);
        let wrong = if name.is_empty() {
            "must have the name of a list behind list:"
        } else if name.trim() != name {
            "must have the name of a list right behind list:, without a space"
        } else if *name == queue || name.starts_with(&format!("{queue}:")) {
            "must not be the queue or a list below it: nodes read events from lists of their own"
        } else if name.starts_with(&self.text(&keys::REPLY_PREFIX)) {
            "must not begin like a reply's list (reply_prefix): somebody could have replies put there"
        } else {
            return None;
        };
        Some(wrong.to_owned())
    }
}

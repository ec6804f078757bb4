//! Destinations of events: channels and lists of Platypush nodes.

use super::keys;
use super::source::Settings;

/// Prefix of the name of a list.
const LIST: &str = "list:";

/// Destination of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A pub/sub channel: the bus of a node.
    Channel(String),
    /// A list: that of a node's `backend.redis`, never a list of the daemon.
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

impl Settings {
    /// Returns the destinations. Reports an invalid or repeated one by its number in the list.
    pub(super) fn destinations(&mut self) -> Vec<Destination> {
        let texts: Vec<String> = self.optional(&keys::EVENTS_PUBLISH).unwrap_or_default();
        let mut destinations = Vec::with_capacity(texts.len());
        for (number, text) in (1..).zip(&texts) {
            let destination = Destination::parse(text);
            if let Some(error) = self.destination_error(&destination, &destinations) {
                self.problem(
                    &keys::EVENTS_PUBLISH,
                    format_args!("entry {number} {error}"),
                );
            }
            destinations.push(destination);
        }
        destinations
    }

    fn destination_error(
        &mut self,
        destination: &Destination,
        before: &[Destination],
    ) -> Option<String> {
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
        let queue: String = self.required(&keys::QUEUE);
        let error = if name.is_empty() {
            "must have the name of a list after list:"
        } else if name.trim() != name {
            "must have the name of a list after list:, without a space before or after the name"
        } else if *name == queue || name.starts_with(&format!("{queue}:")) {
            "must not be the queue or one of its lists: nodes read events from their own lists"
        } else if name.starts_with(&self.required::<String>(&keys::REPLY_PREFIX)) {
            "must not begin with reply_prefix: a client could direct replies to it"
        } else {
            return None;
        };
        Some(error.to_owned())
    }
}

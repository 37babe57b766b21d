//! Who is shown: the busiest cards and users, and cards on which fraud is going
//! on. A few of them change places once in a while, so that what is shown stays
//! long enough to be watched.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use crate::generate::Kind;

/// An entity that is shown stays while it is among so many times as many busiest ones.
const LOYALTY: usize = 3;

/// What is known of a card.
#[derive(Debug, Default)]
struct Card {
    events: u64,
    /// The number of its last event that was fraud; 0 when none was.
    fraud_at: u64,
}

/// Everybody who had events, and who of them is shown.
#[derive(Debug, Default)]
pub(super) struct Cast {
    cards: HashMap<String, Card>,
    users: HashMap<String, u64>,
    noted: u64,

    regulars: Vec<String>,
    suspects: VecDeque<String>,
    visitors: Vec<String>,
}

impl Cast {
    /// Notes an event that was generated.
    pub(super) fn note(&mut self, kind: Kind, entity: &str, fraud: bool) {
        self.noted += 1;
        match kind {
            Kind::Transactions => {
                let noted = self.noted;
                let card = known(&mut self.cards, entity);
                card.events += 1;
                if fraud {
                    card.fraud_at = noted;
                }
            }
            Kind::Clicks => *known(&mut self.users, entity) += 1,
            Kind::Devices => {}
        }
    }

    /// Sees to it that so many are shown, as far as there are any.
    pub(super) fn fill(&mut self, cards: usize, users: usize) {
        let suspects = cards / 2;
        self.suspects.truncate(suspects);
        if self.suspects.len() < suspects {
            let mut fraud: Vec<(Reverse<u64>, &String)> = self
                .cards
                .iter()
                .filter(|(name, card)| {
                    card.fraud_at > 0 && !self.suspects.contains(name) && !self.regulars.contains(name)
                })
                .map(|(name, card)| (Reverse(card.fraud_at), name))
                .collect();
            fraud.sort_unstable();
            let missing = suspects - self.suspects.len();
            self.suspects.extend(fraud.into_iter().take(missing).map(|(_, name)| name.clone()));
        }
        if self.regulars.len() != cards - suspects {
            let busy = self.cards.iter().filter(|(name, _)| !self.suspects.contains(name));
            let busy = busiest(busy.map(|(name, card)| (name, card.events)));
            keep(&mut self.regulars, &busy, cards - suspects);
        }
        if self.visitors.len() != users {
            let busy = busiest(self.users.iter().map(|(name, events)| (name, *events)));
            keep(&mut self.visitors, &busy, users);
        }
    }

    /// Lets a card with fresh fraud take the place of the one shown longest, and
    /// looks anew who is busy.
    pub(super) fn rotate(&mut self, cards: usize, users: usize) {
        if self.suspects.len() >= cards / 2 {
            self.suspects.pop_front();
        }
        self.fill(cards, users);
        let busy = self.cards.iter().filter(|(name, _)| !self.suspects.contains(name));
        let busy = busiest(busy.map(|(name, card)| (name, card.events)));
        keep(&mut self.regulars, &busy, cards - cards / 2);
        let busy = busiest(self.users.iter().map(|(name, events)| (name, *events)));
        keep(&mut self.visitors, &busy, users);
    }

    /// The cards that are shown: busy ones first.
    pub(super) fn cards(&self) -> Vec<String> {
        self.regulars.iter().chain(&self.suspects).cloned().collect()
    }

    /// The users that are shown.
    pub(super) fn users(&self) -> &[String] {
        &self.visitors
    }
}

/// The entry of a name, made at its first event.
fn known<'a, T: Default>(entries: &'a mut HashMap<String, T>, name: &str) -> &'a mut T {
    if !entries.contains_key(name) {
        entries.insert(name.to_owned(), T::default());
    }
    entries.get_mut(name).expect("the entry was just made")
}

fn busiest<'a>(events: impl Iterator<Item = (&'a String, u64)>) -> Vec<String> {
    let mut names: Vec<(Reverse<u64>, &String)> =
        events.map(|(name, count)| (Reverse(count), name)).collect();
    names.sort_unstable();
    names.into_iter().map(|(_, name)| name.clone()).collect()
}

/// Keeps those in `shown` that are still busy in their places, and adds the busiest others.
fn keep(shown: &mut Vec<String>, busiest: &[String], count: usize) {
    let busy = &busiest[..busiest.len().min(count * LOYALTY)];
    shown.retain(|name| busy.contains(name));
    for name in busiest {
        if shown.len() >= count {
            break;
        }
        if !shown.contains(name) {
            shown.push(name.clone());
        }
    }
    shown.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(cast: &mut Cast, entity: &str, events: u64, fraud: bool) {
        for _ in 0..events {
            cast.note(Kind::Transactions, entity, fraud);
        }
    }

    #[test]
    fn the_busiest_and_the_suspicious_are_shown() {
        let mut cast = Cast::default();
        cast.fill(4, 2);
        assert!(cast.cards().is_empty() && cast.users().is_empty());
        for (entity, events) in [("a", 9), ("b", 8), ("c", 7)] {
            note(&mut cast, entity, events, false);
        }
        note(&mut cast, "x", 1, true);
        note(&mut cast, "y", 1, true);
        note(&mut cast, "z", 1, true);
        cast.note(Kind::Clicks, "u", false);
        cast.note(Kind::Devices, "d", false);
        cast.fill(4, 2);
        assert_eq!(cast.cards(), ["a", "b", "z", "y"]);
        assert_eq!(cast.users(), ["u"]);
    }

    #[test]
    fn one_suspect_makes_way_at_a_time() {
        let mut cast = Cast::default();
        for entity in ["x", "y"] {
            note(&mut cast, entity, 1, true);
        }
        note(&mut cast, "a", 5, false);
        note(&mut cast, "b", 4, false);
        cast.fill(4, 0);
        assert_eq!(cast.cards(), ["a", "b", "y", "x"]);
        note(&mut cast, "w", 1, true);
        cast.rotate(4, 0);
        assert_eq!(cast.cards(), ["a", "b", "x", "w"]);
        // The longest shown has gone, and comes back when nobody newer waits.
        cast.rotate(4, 0);
        assert_eq!(cast.cards(), ["a", "b", "w", "y"]);
    }

    #[test]
    fn who_is_busy_keeps_the_place() {
        let mut shown = vec!["b".to_owned(), "a".to_owned(), "old".to_owned()];
        let busiest: Vec<String> =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "old"].map(String::from).to_vec();
        keep(&mut shown, &busiest, 3);
        assert_eq!(shown, ["b", "a", "c"]);
        keep(&mut shown, &busiest, 1);
        assert_eq!(shown, ["b"]);
    }
}

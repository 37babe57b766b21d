//! What is asked before the loop begins, and again when partitions were given:
//! whether the topics are there, and whether a view has all of theirs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::metadata::Metadata;

use super::{ANSWER_WITHIN, ASK_AGAIN, KafkaSource, failed};
use crate::source::Error;

/// How long a run that is to end by itself waits for brokers at its beginning.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);

impl KafkaSource {
    /// Of a view that needs all partitions, there can be one process.
    pub(super) fn refuse_company(&self) -> Result<(), Error> {
        let Some((topic, view)) = self.options.whole_topics.first() else { return Ok(()) };
        // That nobody answers is noticed again when partitions are given.
        if self.others().unwrap_or(0) == 0 {
            return Ok(());
        }
        let partitions = self.partitions_of(topic)?;
        Err(Error::NotAlone { view: view.clone(), topic: topic.clone(), partitions, assigned: 0 })
    }

    /// Members of the group. A static member that is this process, before it
    /// was started again, is none; Kafka names it after its instance.
    fn others(&self) -> Option<usize> {
        let groups = self.consumer.fetch_group_list(Some(&self.options.group_id), ANSWER_WITHIN).ok()?;
        let is_own = |id: &str| {
            let instance = self.options.properties.get("group.instance.id");
            // What follows the instance is a hyphen and a UUID.
            let rest = instance.and_then(|instance| id.strip_prefix(instance.as_str()));
            rest.is_some_and(|rest| rest.starts_with('-') && rest.len() == 37)
        };
        let members = groups.groups().iter().flat_map(|group| group.members());
        Some(members.filter(|member| !is_own(member.id())).count())
    }

    /// Says which topics are not there yet. One that ends when it has caught up
    /// would wait for them for ever.
    pub(super) fn look_for_topics(&self) -> Result<(), Error> {
        /// Brokers that do not answer so soon are waited for in the loop.
        const ANSWER_SOON: Duration = Duration::from_secs(5);
        let within = if self.options.until_caught_up { BEGIN_WITHIN } else { ANSWER_SOON };
        let mut missing = Vec::new();
        let mut partitions = BTreeMap::new();
        for (_, topic) in &self.options.topics {
            match self.topic_metadata(topic, within) {
                Ok(metadata) => {
                    let count: usize = metadata.topics().iter().map(|topic| topic.partitions().len()).sum();
                    if count == 0 {
                        missing.push(topic.as_str());
                    } else {
                        partitions.insert(topic.as_str(), count);
                    }
                }
                Err(error) if self.options.until_caught_up => return Err(error),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                    let cause = cause.unwrap_or_default();
                    tracing::warn!("Kafka: {error}{cause}; tried again until a broker answers");
                    return Ok(());
                }
            }
        }
        for topic in &missing {
            tracing::warn!(topic, "the topic is not there; it is read soon after it is made");
        }
        self.warn_of_keys_that_do_not_meet(&partitions);
        if self.options.until_caught_up && missing.len() == self.options.topics.len() {
            return Err(Error::OutOfRange(format!("none of the topics is there: {}", missing.join(", "))));
        }
        Ok(())
    }

    /// A key is in another partition where there are more of them.
    fn warn_of_keys_that_do_not_meet(&self, partitions: &BTreeMap<&str, usize>) {
        for (view, topics) in &self.options.joined {
            let counts: Vec<(&str, usize)> = topics
                .iter()
                .filter_map(|topic| Some((topic.as_str(), *partitions.get(topic.as_str())?)))
                .collect();
            if counts.windows(2).any(|pair| pair[0].1 != pair[1].1) {
                let counts: Vec<String> =
                    counts.iter().map(|(topic, count)| format!("{topic} has {count}")).collect();
                tracing::warn!(
                    view = view.as_str(),
                    "the topics of this view have different numbers of partitions ({}), so events of one key \
                     do not meet and its features are wrong; give the topics as many partitions each",
                    counts.join(", ")
                );
            }
        }
    }

    /// Asked in slices: logs and errors are in a queue that only polling
    /// empties, and until now nobody polls.
    fn topic_metadata(&self, topic: &str, within: Duration) -> Result<Metadata, Error> {
        const SLICE: Duration = Duration::from_millis(500);
        const MOST_NEWS: usize = 100;
        let begun = Instant::now();
        loop {
            let error = match self.consumer.fetch_metadata(Some(topic), SLICE.min(within)) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            // Not subscribed yet: nothing comes but what the client has to say.
            for _ in 0..MOST_NEWS {
                let _ = self.consumer.poll(Duration::ZERO);
            }
            let what = format!("look for topic `{topic}`");
            let over = begun.elapsed() >= within;
            match self.consumer.context().refusal() {
                Some((for_good, reason)) if for_good || over => {
                    return Err(Error::Unreachable { what, reason });
                }
                _ if over => return Err(failed(what)(error)),
                _ => {}
            }
        }
    }

    fn partitions_of(&self, topic: &str) -> Result<usize, Error> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ANSWER_WITHIN)
            .map_err(failed(format!("read the partitions of topic `{topic}`")))?;
        Ok(metadata.topics().first().map_or(0, |topic| topic.partitions().len()))
    }

    /// What a view needs whole must be wholly here. Whoever is alone is given
    /// partitions that were added just now by the next rebalance.
    pub(super) fn refuse_parts(&mut self) -> Result<(), Error> {
        self.count_again = None;
        for (topic, view) in &self.options.whole_topics {
            let partitions = match self.partitions_of(topic) {
                Ok(partitions) => partitions,
                Err(error) => {
                    tracing::debug!("{error}; asked again");
                    self.count_again = Some(Instant::now() + ASK_AGAIN);
                    return Ok(());
                }
            };
            let here = self.assigned.iter().filter(|one| self.topic_of(one.stream) == topic.as_str());
            let assigned = here.count();
            if assigned >= partitions {
                continue;
            }
            // This process is a member itself.
            let own = usize::from(!self.options.properties.contains_key("group.instance.id"));
            match self.others() {
                Some(members) if members <= own => {
                    tracing::info!(topic, partitions, assigned, "the topic has more partitions now");
                }
                None => self.count_again = Some(Instant::now() + ASK_AGAIN),
                Some(_) => {
                    return Err(Error::NotAlone {
                        view: view.clone(),
                        topic: topic.clone(),
                        partitions,
                        assigned,
                    });
                }
            }
        }
        Ok(())
    }
}

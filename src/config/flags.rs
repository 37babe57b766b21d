//! The options as flags and `WINDROW_…` environment names, made from the table
//! in [`super::options`]. Flatten [`Flags`] into a command; nothing is checked
//! here but that a name stands before each `=`.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::environment;
use super::options::{INPUT, OPTIONS, Opt, option};
use super::tree::{Table, Value, overlay};
use crate::error::{Place, Problem};

const CONFIG: &str = "config";
const KAFKA_PROPERTY: &str = "kafka-property";
const STREAM: &str = "stream";

/// What the command line and the `WINDROW_…` environment say, unchecked.
#[derive(Clone, Default)]
pub struct Flags {
    file: Option<PathBuf>,
    given: Vec<Given>,
    problems: Vec<Problem>,
}

/// The flags of a command that has to do with Kafka and the registry alone.
#[derive(Debug, Clone, Default)]
pub struct InputFlags(pub Flags);

#[derive(Clone)]
struct Given {
    path: Vec<String>,
    text: String,
    place: Place,
    from_environment: bool,
}

impl Flags {
    /// Sets an option as its flag would: `set("redis.url", "redis://127.0.0.1:7000")`.
    ///
    /// # Panics
    /// When there is no such option.
    pub fn set(&mut self, path: &str, text: impl Into<String>) {
        let option = option(path);
        self.given.push(Given {
            path: option.path.split('.').map(str::to_owned).collect(),
            text: text.into(),
            place: Place::file(format!("--{}", option.flag)),
            from_environment: false,
        });
    }

    /// Sets the file to read, as `--config` would.
    pub fn set_file(&mut self, file: impl Into<PathBuf>) {
        self.file = Some(file.into());
    }

    /// Whether a flag or an environment name gives the option at `path`.
    pub fn gives(&self, path: &str) -> bool {
        self.given.iter().any(|given| given.path.join(".") == path)
    }

    /// The file that `--config` names.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Writes what is given over `table`: the environment first, then the flags.
    pub(super) fn overlay(&self, table: &mut Table) {
        for from_environment in [true, false] {
            for given in self.given.iter().filter(|given| given.from_environment == from_environment) {
                let path: Vec<&str> = given.path.iter().map(String::as_str).collect();
                overlay(table, &path, Value::Text(given.text.clone()), &given.place);
            }
        }
    }

    fn from_matches(matches: &ArgMatches, options: impl Iterator<Item = &'static Opt>) -> Self {
        let mut flags = Self {
            file: matches.get_one::<String>(CONFIG).filter(|file| !file.is_empty()).map(PathBuf::from),
            given: Vec::new(),
            problems: environment::problems(),
        };
        for option in options {
            let path: Vec<String> = option.path.split('.').map(str::to_owned).collect();
            for (text, place, from_environment) in given(matches, &option.flag, &option.environment) {
                flags.given.push(Given { path: path.clone(), text, place, from_environment });
            }
        }
        for (text, place, from_environment) in given(matches, KAFKA_PROPERTY, "WINDROW_KAFKA_PROPERTY") {
            // A property's value may hold anything but the semicolon that parts properties in the environment.
            for property in parts(&text, from_environment) {
                let Some((name, value)) = property.split_once('=') else {
                    // Not repeated: it may be the rest of a password with a semicolon in it.
                    let problem = Problem::new("a librdkafka property has no value: write NAME=VALUE");
                    let hint = "a value with a semicolon belongs into the file or into a flag of its own";
                    flags.problems.push(problem.at(place.clone()).hint(hint));
                    continue;
                };
                let path = vec!["kafka".to_owned(), name.trim().to_owned()];
                flags.given.push(Given {
                    path,
                    text: value.to_owned(),
                    place: place.clone(),
                    from_environment,
                });
            }
        }
        for (text, place, from_environment) in given(matches, STREAM, "WINDROW_STREAM") {
            for assignment in parts(&text, from_environment) {
                match assignment.split_once('=') {
                    Some((name, value)) if name.contains('.') => {
                        let mut path = vec!["streams".to_owned()];
                        path.extend(name.trim().split('.').map(str::to_owned));
                        let text = value.to_owned();
                        flags.given.push(Given { path, text, place: place.clone(), from_environment });
                    }
                    _ => {
                        let message =
                            format!("`{assignment}` is no option of a stream: write NAME.OPTION=VALUE");
                        let hint = "for instance `--stream transactions.topic=payments`";
                        flags.problems.push(Problem::new(message).at(place.clone()).hint(hint));
                    }
                }
            }
        }
        flags
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.given.iter().map(|given| given.path.join(".")).collect();
        f.debug_struct("Flags").field("file", &self.file).field("given", &names).finish_non_exhaustive()
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::from_matches(matches, OPTIONS.iter()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::FromArgMatches for InputFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(Flags::from_matches(matches, input_options())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        augment(command, OPTIONS.iter())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::Args for InputFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, input_options())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn input_options() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().filter(|option| option.path == "brokers" || option.path.starts_with("schema_registry."))
}

fn augment(command: Command, options: impl Iterator<Item = &'static Opt>) -> Command {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .env("WINDROW_CONFIG")
        .value_name("FILE")
        .help("Configuration, TOML or JSON by its suffix [default: windrow.toml, where there is one]");
    let property = Arg::new(KAFKA_PROPERTY)
        .long(KAFKA_PROPERTY)
        .env("WINDROW_KAFKA_PROPERTY")
        .hide_env_values(true)
        .value_name("NAME=VALUE")
        .action(ArgAction::Append)
        .help_heading(INPUT)
        .help("Any librdkafka property; repeatable, parted by ; in the environment");
    let stream = Arg::new(STREAM)
        .long(STREAM)
        .env("WINDROW_STREAM")
        .value_name("NAME.OPTION=VALUE")
        .action(ArgAction::Append)
        .help_heading(INPUT)
        .help("An option of [streams.NAME], such as clicks.topic=web; repeatable, parted by ; in the environment");
    options.map(arg).fold(command.arg(config), Command::arg).arg(property).arg(stream)
}

fn arg(option: &'static Opt) -> Arg {
    let help = match option.default {
        Some(default) => format!("{} [default: {default}]", option.doc),
        None => option.doc.to_owned(),
    };
    Arg::new(option.flag.as_str())
        .long(option.flag.as_str())
        .env(option.environment.as_str())
        .hide_env_values(option.is_secret())
        .value_name(option.value)
        .help_heading(option.group)
        .help(help)
}

/// What was given for an argument, if anything: an empty environment value is as good as none.
fn given(matches: &ArgMatches, id: &str, environment: &str) -> Vec<(String, Place, bool)> {
    let from_environment = matches.value_source(id) == Some(ValueSource::EnvVariable);
    let place = if from_environment {
        Place::file(format!("environment variable {environment}"))
    } else {
        Place::file(format!("--{id}"))
    };
    let values = matches.get_many::<String>(id).into_iter().flatten();
    values
        .filter(|text| !(from_environment && text.is_empty()))
        .map(|text| (text.clone(), place.clone(), from_environment))
        .collect()
}

fn parts(text: &str, from_environment: bool) -> Vec<&str> {
    if from_environment {
        text.split(';').map(str::trim).filter(|part| !part.is_empty()).collect()
    } else {
        vec![text]
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn parse(arguments: &[&str]) -> Flags {
        let command = Flags::augment_args(Command::new("windrow")).no_binary_name(true);
        Flags::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    #[test]
    fn the_command_is_well_formed() {
        Flags::augment_args(Command::new("windrow")).debug_assert();
        InputFlags::augment_args(Command::new("windrow")).debug_assert();
    }

    #[test]
    fn the_flags_of_the_contract_exist() {
        let command = Flags::augment_args(Command::new("windrow"));
        let flags: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
        for flag in "config brokers redis-url sql-dir schema-dir schema-registry-url group-id batch-interval \
                     max-batch-events parallelism idle-after max-out-of-order allowed-lateness max-future \
                     checkpoint-dir checkpoint-interval metrics-addr start-from log-format redis-mode \
                     redis-username redis-password redis-password-file redis-ca-cert redis-sentinel-master \
                     schema-registry-username schema-registry-password schema-registry-password-file \
                     kafka-property key-template shutdown-timeout memory-limit"
            .split_whitespace()
        {
            assert!(flags.contains(&flag), "--{flag} in {flags:?}");
        }
    }

    #[test]
    fn properties_and_streams_become_tables() {
        let flags = parse(&[
            "--kafka-property",
            "sasl.password=a=b;c",
            "--stream",
            "clicks.schema_ids.7=clicks.v1.avsc",
            "--redis-url",
            "redis://h:1",
        ]);
        let mut table = Table::new();
        flags.overlay(&mut table);
        let Value::Table(kafka) = &table["kafka"].value else { panic!("no table") };
        assert_eq!(kafka["sasl.password"].value, Value::Text("a=b;c".into()));
        assert_eq!(table["redis"].place.to_string(), "--redis-url");
        assert!(flags.gives("redis.url") && flags.gives("streams.clicks.schema_ids.7"));
        assert!(!format!("{flags:?}").contains("a=b"));
    }

    #[test]
    fn a_property_without_a_value_is_a_problem_and_not_repeated() {
        let flags = parse(&["--kafka-property", "hunter2", "--stream", "y=1"]);
        assert_eq!(flags.problems().len(), 2);
        assert!(!flags.problems()[0].to_string().contains("hunter2"));
    }
}

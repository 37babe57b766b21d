//! The command line: which command, with what arguments; what went wrong, told
//! once: the chain of causes, then a hint.

mod check;
pub mod demo;
mod explain;
pub mod generate;
mod get;
mod health;
pub mod job;
mod preview;
mod properties;
mod replay;
mod run;
mod signals;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rdkafka::error::KafkaError;

use crate::error::Problems;

/// Machine-learning features from Kafka event streams, in SQL, as Redis hashes.
#[derive(Debug, Parser)]
#[command(name = "windrow", version, max_term_width = 110, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  windrow demo                                             see features change; nothing else is needed
  windrow run --brokers kafka:9092 --redis-url redis://redis:6379
  windrow check --sql-dir sql                              what is wrong with the views, before a deploy
  windrow preview transaction --events events.jsonl        one view over a file
  windrow get card card_00000042                           what Redis has for an entity

Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration, 130 ended by a second signal.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Compute features from Kafka and keep them in Redis: the main job
    Run(Box<run::RunArgs>),
    /// The main job with everything embedded: see features change, live
    Demo(Box<demo::DemoArgs>),
    /// Produce realistic transactions, clicks and device events
    Generate(Box<generate::GenerateArgs>),
    /// Evaluate a stretch of the topics again, into Redis or Parquet files
    Replay(Box<replay::ReplayArgs>),
    /// Validate configuration, schemas and views, without a network
    Check(Box<check::CheckArgs>),
    /// Tell how a view is evaluated, what it keeps, and why
    Explain(Box<explain::ExplainArgs>),
    /// Run one view over events in files and print the table
    Preview(Box<preview::PreviewArgs>),
    /// Read an entity's features from Redis
    Get(Box<get::GetArgs>),
    /// Ask a running process whether it is well
    Health(Box<health::HealthArgs>),
}

/// Runs the program: the arguments and the environment are this process'.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help that was asked for goes to standard output and is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    // Both TLS clients take the process' provider; that there is one already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = match signals::watch() {
        Ok(stop) => stop,
        Err(error) => return failed(&anyhow::Error::from(error).context("could not watch for signals")),
    };
    let done = match &cli.command {
        Command::Run(args) => run::run(args, &stop),
        Command::Demo(args) => demo::run(args, &stop),
        Command::Generate(args) => generate::run(args, &stop),
        Command::Replay(args) => replay::run(args, &stop),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Preview(args) => preview::run(args, &stop),
        Command::Get(args) => get::run(args, &stop),
        Command::Health(args) => health::run(args, &stop),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Tells what went wrong; whose fault it is gives the status.
fn failed(error: &anyhow::Error) -> ExitCode {
    if let Some(problems) = error.chain().find_map(|cause| cause.downcast_ref::<Problems>()) {
        eprintln!("{problems}");
        return ExitCode::from(2);
    }
    let mut text = String::new();
    for cause in error.chain().map(told) {
        // Some libraries repeat their cause in their own words.
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    eprintln!("error: {text}");
    if let Some(hint) = hint(error) {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(1)
}

/// A cause as it may be shown: librdkafka repeats the value of a property that
/// it does not take, and that may be a password under a misspelt name.
fn told(cause: &(dyn Error + 'static)) -> String {
    match cause.downcast_ref::<KafkaError>() {
        Some(KafkaError::ClientConfig(_, description, name, _)) => {
            format!("the Kafka property `{name}` was not accepted: {description}")
        }
        _ => cause.to_string(),
    }
}

/// What a person can do about an error of the world outside.
fn hint(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(crate::pipeline::Error::Memory(_)) = error.downcast_ref() {
        return Some(
            "raise `memory_limit`, shorten the windows of the views that hold most, or spread the partitions over more processes",
        );
    }
    error.chain().find_map(|cause| match cause.downcast_ref::<crate::source::Error>()? {
        crate::source::Error::NotAlone { .. } => Some(
            "repartition the topic by the view's key, or run this view alone: in a consumer group of its own, with one process",
        ),
        crate::source::Error::Unreachable { .. } => {
            Some("check `--brokers` and the Kafka properties for TLS and credentials")
        }
        crate::source::Error::Kafka { .. } => Some("check `--brokers` and that the brokers can be reached"),
        crate::source::Error::OutOfRange(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::config::OF_COMMANDS;
    use crate::config::options::OPTIONS;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What is not known here could be taken for a misspelt option.
    #[test]
    fn every_environment_name_is_known() {
        let of_flags = OPTIONS.iter().map(|option| option.environment.as_str());
        let known: BTreeSet<&str> = of_flags.chain(OF_COMMANDS).collect();
        let whole = Cli::command();
        let arguments = whole.get_subcommands().flat_map(|command| command.get_arguments());
        let names: BTreeSet<&str> = arguments.filter_map(|argument| argument.get_env()?.to_str()).collect();
        let unknown: Vec<&&str> = names.difference(&known).collect();
        assert!(names.len() > OF_COMMANDS.len() && unknown.is_empty(), "{unknown:?}");
    }
}

//! `windrow get`: what Redis has of an entity, for a person or for a program.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::bail;
use arrow::datatypes::DataType;
use clap::Args;
use serde_json::{Map, Value};

use super::job::{Job, Scope};
use crate::config::{Config, Flags, SchemaSource};
use crate::error::{Problem, Problems};
use crate::sink::encode::{AS_OF, COMPUTED_AT, KeyTemplate, WARMING};
use crate::sink::redis::RedisSink;
use crate::time::{Clock, EventTime, SystemClock, duration_text};
use crate::view::FeatureView;

const HELP: &str = "\
Examples:
  windrow get card card_00000042
  windrow get card card_00000042 --view transaction --json
  windrow get user user_00000007 --redis-url redis://redis:6379

The views of the entity are those in the SQL directory; without one, Redis is searched for them.
Exit status: 1 when there are no features of the entity.";

/// Views that are looked for at most where nobody says which there are.
const MOST_VIEWS: usize = 1000;

/// What the one view is called where the key template does not name views.
const NAMELESS: &str = "features";

/// Options of `windrow get`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct GetArgs {
    /// What the features describe, such as card
    entity: String,

    /// Which one: its key; several key columns joined with a colon
    key: String,

    /// Only this view
    #[arg(long, value_name = "VIEW")]
    view: Option<String>,

    /// Print one JSON object: view, field, value
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: Flags,
}

/// The hash of one view, as Redis has it.
struct Found {
    view: String,
    redis_key: String,
    fields: Vec<(String, String)>,
    ttl_ms: Option<u64>,
}

pub(super) fn run(args: &GetArgs, _stop: &AtomicBool) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = Config::load(&args.flags)?;
    // Without a network a view over a registry's schema is not planned: it has to be searched for.
    let all_planned = config.sql_dir.is_dir()
        && config.streams.iter().all(|stream| matches!(stream.schema, SchemaSource::File(_)));
    let scope = Scope { offline: true, shipped_views: true, some_views: true, ..Scope::default() };
    let job = Job::load(config, scope, &clock)?;
    if !job.left_out.is_empty() {
        eprintln!("warning: something is wrong with some views: `windrow check` says what it is");
    }
    let all_known = all_planned && job.left_out.is_empty();
    let template = KeyTemplate::parse(&job.config.redis.key_template)
        .map_err(|error| Problems::from(Problem::new(error.to_string())))?;
    let known: Vec<&FeatureView> =
        job.views.iter().map(|view| &**view).filter(|view| view.header.entity == args.entity).collect();
    if all_known {
        check_names(args, &job, &known)?;
    }

    let mut redis = job.redis()?;
    let views = match &args.view {
        Some(view) => vec![view.clone()],
        None if all_known => known.iter().map(|view| view.name.clone()).collect(),
        None => search(&mut redis, &template, args)?,
    };
    let mut found = Vec::new();
    for view in &views {
        let redis_key = template.redis_key(&args.entity, &args.key, view);
        let fields = redis.read_hash(&redis_key)?;
        if fields.is_empty() {
            continue;
        }
        let fields = in_view_order(fields, &output_of(&known, view));
        let ttl_ms = redis.ttl_ms(&redis_key)?;
        found.push(Found { view: view.clone(), redis_key, fields, ttl_ms });
    }
    if found.is_empty() {
        bail!("{}", nothing(args, &template, &views, redis.store()));
    }
    if args.json {
        let object: Map<String, Value> =
            found.iter().map(|one| (one.view.clone(), as_json(one, &output_of(&known, &one.view)))).collect();
        println!("{}", serde_json::to_string_pretty(&object)?);
    } else {
        let told: Vec<String> = found.iter().map(as_text).collect();
        print!("{}", told.join("\n"));
    }
    Ok(())
}

/// Whether there is such an entity, and it has such a view.
fn check_names(args: &GetArgs, job: &Job, known: &[&FeatureView]) -> Result<(), Problems> {
    if known.is_empty() {
        let entities = job.views.iter().map(|view| view.header.entity.clone());
        let problem = Problem::new(format!("no view has features of `{}`", args.entity));
        return Err(problem.valid("entities", &args.entity, entities).into());
    }
    if let Some(wanted) = &args.view
        && !known.iter().any(|view| view.name == *wanted)
    {
        let problem = Problem::new(format!("`{}` has no view `{wanted}`", args.entity));
        return Err(problem.valid("views", wanted, known.iter().map(|view| view.name.clone())).into());
    }
    Ok(())
}

/// The views of an entity that Redis has hashes for.
fn search(redis: &mut RedisSink, template: &KeyTemplate, args: &GetArgs) -> anyhow::Result<Vec<String>> {
    let pattern = template.redis_key(&literal(&args.entity), &literal(&args.key), "*");
    let keys = redis.scan(&pattern, MOST_VIEWS)?;
    Ok(keys.iter().map(|key| view_in(template, &args.entity, &args.key, key)).collect())
}

/// The view that a hash's name names.
fn view_in(template: &KeyTemplate, entity: &str, key: &str, redis_key: &str) -> String {
    let around = template.redis_key(entity, key, "\0");
    let view = around
        .split_once('\0')
        .and_then(|(before, after)| redis_key.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)));
    view.unwrap_or(NAMELESS).to_owned()
}

/// A text as a pattern of Redis' that means only itself.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Each column of a view's output, with its type.
type Output<'a> = Option<Vec<(&'a str, &'a DataType)>>;

fn output_of<'a>(known: &[&'a FeatureView], view: &str) -> Output<'a> {
    let view = known.iter().find(|one| one.name == view)?;
    Some(view.output.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect())
}

/// Fields in the order of the SELECT, what it does not have by name, bookkeeping last.
fn in_view_order(mut fields: Vec<(String, String)>, output: &Output<'_>) -> Vec<(String, String)> {
    let place = |name: &str| {
        let column = output.iter().flatten().position(|(column, _)| *column == name);
        (name.starts_with('_'), column.unwrap_or(usize::MAX))
    };
    fields.sort_by(|(a, _), (b, _)| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
    fields
}

/// The fields that are no features.
const BOOKKEEPING: [&str; 3] = [AS_OF, COMPUTED_AT, WARMING];

/// A hash as a table of two columns.
fn as_text(found: &Found) -> String {
    let features = || found.fields.iter().filter(|(name, _)| !BOOKKEEPING.contains(&name.as_str()));
    let mut rows: Vec<(&str, String)> =
        features().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let time = |field: &str| {
        let (_, text) = found.fields.iter().find(|(name, _)| name == field)?;
        Some(text.parse().map_or_else(|_| text.clone(), |millis| EventTime::from_millis(millis).to_string()))
    };
    rows.extend(time(AS_OF).map(|time| ("as of", time)));
    rows.extend(time(COMPUTED_AT).map(|time| ("computed at", time)));
    if found.fields.iter().any(|(name, _)| name == WARMING) {
        rows.push(("warming", "events are missing in its windows".to_owned()));
    }
    rows.push(("expires in", found.ttl_ms.map_or_else(|| "never".to_owned(), remaining)));
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = format!("{}  {}\n", found.view, found.redis_key);
    for (name, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:width$}  {value}");
    }
    text
}

/// Seconds will do, where there are any.
fn remaining(ttl_ms: u64) -> String {
    let whole = if ttl_ms < 1000 { ttl_ms } else { ttl_ms / 1000 * 1000 };
    duration_text(Duration::from_millis(whole))
}

fn as_json(found: &Found, output: &Output<'_>) -> Value {
    let typed = found.fields.iter().map(|(name, text)| {
        let column = output.iter().flatten().find(|(column, _)| column == name);
        (name.clone(), json_value(name, text, column.map(|(_, data_type)| *data_type)))
    });
    Value::Object(typed.collect())
}

/// A field's text as the value that it stands for; a text where that is not known.
fn json_value(name: &str, text: &str, data_type: Option<&DataType>) -> Value {
    let is_text = match data_type {
        None => !name.starts_with('_'),
        Some(data_type) => {
            !(data_type.is_integer()
                || data_type.is_floating()
                || data_type.is_nested()
                || matches!(data_type, DataType::Boolean | DataType::Timestamp(..)))
        }
    };
    let as_text = || Value::String(text.to_owned());
    // NaN and the infinities are no JSON.
    if is_text { as_text() } else { serde_json::from_str(text).unwrap_or_else(|_| as_text()) }
}

/// What was looked at in vain, and what to check.
fn nothing(args: &GetArgs, template: &KeyTemplate, views: &[String], store: &str) -> String {
    let looked_at: Vec<String> = if views.is_empty() {
        vec![template.redis_key(&args.entity, &args.key, "*")]
    } else {
        views.iter().map(|view| template.redis_key(&args.entity, &args.key, view)).collect()
    };
    format!(
        "{store} has no features of {} `{}`: looked at {}\n\
         hint: check how the key is spelled, that `windrow run` writes to this store (--redis-url) under these \
         names (--key-template), and that the entity had events within the views' windows: hashes expire",
        args.entity,
        args.key,
        looked_at.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_is_found_in_a_hash_name() {
        let view = |template: &str, redis_key: &str| {
            view_in(&KeyTemplate::parse(template).unwrap(), "card", "a:b", redis_key)
        };
        assert_eq!(view("features:{entity}:{key}:{view}", "features:card:a:b:transaction"), "transaction");
        assert_eq!(view("{view}/{key}/x", "clicks/a:b/x"), "clicks");
        assert_eq!(view("f:{key}", "f:a:b"), NAMELESS);
    }

    #[test]
    fn a_key_means_itself_in_a_search() {
        assert_eq!(literal(r"a*b[c]\?"), r"a\*b\[c\]\\\?");
    }

    #[track_caller]
    fn check(text: &str, data_type: Option<&DataType>, expected: Value) {
        assert_eq!(json_value("x", text, data_type), expected);
    }

    #[test]
    fn values_have_the_types_of_their_columns() {
        check("12", Some(&DataType::Int64), Value::from(12));
        check("0.5", Some(&DataType::Float64), Value::from(0.5));
        check("NaN", Some(&DataType::Float64), Value::from("NaN"));
        check("true", Some(&DataType::Boolean), Value::from(true));
        check("12", Some(&DataType::Utf8), Value::from("12"));
        check("12", None, Value::from("12"));
        assert_eq!(json_value(AS_OF, "1700000000000", None), Value::from(1_700_000_000_000_i64));
    }

    #[test]
    fn a_hash_is_told_in_two_columns() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let fields = vec![
            pair("_as_of", "1700000000000"),
            pair("b", "2"),
            pair("long_name", "x"),
            pair("a", "1"),
            pair("_computed_at", "1700000000123"),
            pair("_warming", "true"),
        ];
        let (int, text) = (DataType::Int64, DataType::Utf8);
        let output = Some(vec![("long_name", &text), ("b", &int)]);
        let fields = in_view_order(fields, &output);
        let found =
            Found { view: "v".into(), redis_key: "features:e:k:v".into(), fields, ttl_ms: Some(61_900) };
        assert_eq!(
            as_text(&found),
            "v  features:e:k:v\n  long_name    x\n  b            2\n  a            1\n  as of        2023-11-14T22:13:20.000Z\n  \
             computed at  2023-11-14T22:13:20.123Z\n  warming      events are missing in its windows\n  expires in   1m1s\n"
        );
    }
}

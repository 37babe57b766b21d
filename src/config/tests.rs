//! Options in their layers, and the documented example.

use std::io::Write;

use super::options::OPTIONS;
use super::*;

struct Case {
    environment: Vec<(&'static str, &'static str)>,
    flags: Flags,
    file: tempfile::NamedTempFile,
}

fn case(text: &str) -> Case {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Case { environment: Vec::new(), flags: Flags::default(), file }
}

impl Case {
    fn environment(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    fn flag(mut self, path: &str, value: &str) -> Self {
        self.flags.set(path, value);
        self
    }

    fn load(&self) -> Result<Config, Problems> {
        let environment = |name: &str| {
            self.environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        from_layers(&self.flags, &environment, self.file.path())
    }

    #[track_caller]
    fn problems(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn defaults() -> Config {
    case("").load().unwrap()
}

#[test]
fn without_anything_there_are_defaults() {
    let config = defaults();
    assert_eq!(config.brokers, ["localhost:9092"]);
    assert_eq!(config.batch_interval, Duration::from_millis(250));
    assert_eq!(config.max_batch_events, 100_000);
    assert_eq!(config.start_from, StartFrom::Committed);
    assert_eq!(config.metrics_addr.to_string(), "127.0.0.1:8088");
    assert_eq!((config.registry, config.memory_limit), (None, None));
    assert_eq!(config.streams.len(), 3);
}

#[test]
fn the_example_has_every_option_at_its_default() {
    let file = Path::new("deploy/windrow.toml");
    let mut flags = Flags::default();
    flags.set_file(file);
    let mut example = from_layers(&flags, &|_| None, file).unwrap_or_else(|problems| panic!("{problems}"));
    for stream in &mut example.streams {
        assert!(stream.place.take().is_some_and(|place| place.line.is_some()));
    }
    assert_eq!(example, defaults());

    let text = std::fs::read_to_string(file).unwrap();
    let mut table = String::new();
    let mut named = Vec::new();
    for line in text.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((name, _)) = line.split_once(" = ") {
            named.push(format!("{table}{name}"));
        }
    }
    let streams = streams::STREAM_OPTIONS.iter().map(|(name, _)| format!("streams.transactions.{name}"));
    for option in OPTIONS.iter().map(|option| option.path.to_owned()).chain(streams) {
        assert!(named.contains(&option), "{option} is not in the example: {named:?}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "brokers = \"file:1\"\n[redis]\nurl = \"redis://file:1\"\n";
    assert_eq!(case(file).load().unwrap().brokers, ["file:1"]);
    let case =
        case(file).environment("KAFKA_BOOTSTRAP_SERVERS", "plain:1").environment("REDIS_HOST", "plain");
    let config = case.load().unwrap();
    assert_eq!(config.brokers, ["plain:1"]);
    assert_eq!(config.redis.urls, [Url::new("redis://plain:6379")]);
    assert_eq!(case.flag("brokers", "flag:1").load().unwrap().brokers, ["flag:1"]);
}

#[test]
fn the_plain_environment_names_work() {
    let config = case("")
        .environment("REDIS_PORT", "7000")
        .environment("PARALLELISM", "3")
        .environment("SCHEMA_REGISTRY_URL", "http://registry:8081")
        .environment("METRICS_PORT", "9000")
        .load()
        .unwrap();
    assert_eq!(config.redis.urls, [Url::new("redis://127.0.0.1:7000")]);
    assert_eq!((config.parallelism, config.metrics_addr.to_string()), (3, "127.0.0.1:9000".to_owned()));
    assert_eq!(config.registry.unwrap().url, Url::new("http://registry:8081"));
    // What Kubernetes sets for a Service of that name.
    assert_eq!(case("").environment("REDIS_PORT", "tcp://10.0.0.1:6379").load().unwrap(), defaults());
}

#[test]
fn all_problems_are_shown_together_with_place_and_hint() {
    let problems = case(
        "batch_intervall = \"1s\"\nparallelism = 0\n[redis]\nmod = \"cluster\"\nconnect_timeout = \"soon\"\n\
         [streams.clicks]\ntopc = \"x\"\n[elsewhere]\nx = 1\n",
    )
    .flag("metrics_addr", "nowhere")
    .problems();
    for part in [
        "unknown option `batch_intervall`\n  --> ",
        ".toml:1:1\n",
        "hint: did you mean `batch_interval`?",
        "`parallelism`: `0` is not a whole number from 1 to 1024",
        "unknown option `redis.mod`",
        "hint: did you mean `mode`?",
        "`redis.connect_timeout`: `soon` is not a duration",
        "unknown option `streams.clicks.topc`",
        "unknown option `elsewhere`",
        "`metrics_addr`: `nowhere` is not IP:PORT\n  --> --metrics-addr",
    ] {
        assert!(problems.contains(part), "{part} in\n{problems}");
    }
    assert_eq!(problems.matches("error: ").count(), 7, "{problems}");
}

#[test]
fn a_secret_comes_from_a_file_and_is_not_shown() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"hunter2\n").unwrap();
    let config = case(&format!("[redis]\npassword_file = {:?}\n", secret.path())).load().unwrap();
    assert_eq!(config.redis.password.as_ref().map(Secret::reveal), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));

    let both = case(&format!("[redis]\npassword = \"x\"\npassword_file = {:?}\n", secret.path())).problems();
    assert!(both.contains("keep one of them"), "{both}");
    let missing = case("[redis]\npassword_file = \"/nonexistent\"\n").problems();
    assert!(missing.contains("could not be read"), "{missing}");
}

#[test]
fn redis_modes_need_what_they_need() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let problems = case(text).problems();
        assert!(problems.contains(expected), "{problems}");
    }
    check("[redis]\nmode = \"sentinel\"\n", "sentinel needs `redis.sentinel_master`");
    check("[redis]\nsentinel_master = \"m\"\n", "only mode sentinel");
    check("[redis]\nurl = [\"redis://a:1\", \"redis://b:1\"]\n", "several addresses need a mode");
    check("[redis]\nkey_template = \"x:{key}\"\n", "lacks {view}");
    check("[redis]\nurl = \"a:1\"\n", "redis://HOST:PORT");
    check("redis = 1\n", "write it as [redis]");
    let config =
        case("[redis]\nmode = \"sentinel\"\nsentinel_master = \"m\"\nurl = \"redis://a:1,redis://b:1\"\n")
            .load();
    assert_eq!(config.unwrap().redis.mode, RedisMode::Sentinel { master: "m".into() });
}

#[test]
fn a_subject_needs_a_registry() {
    let text = "[streams.clicks]\nschema = \"registry:clicks-value\"\n";
    assert!(case(text).problems().contains("there is no registry"));
    assert!(case(text).flag("schema_registry.url", "http://r:8081").load().is_ok());
    assert!(
        case("[schema_registry]\nusername = \"u\"\n")
            .problems()
            .contains("`schema_registry.url` is not given")
    );
}

#[test]
fn a_named_file_must_exist_and_a_default_one_need_not() {
    let missing = Path::new("/nonexistent/windrow.toml");
    assert!(from_layers(&Flags::default(), &|_| None, missing).is_ok());
    let mut flags = Flags::default();
    flags.set_file(missing);
    assert!(from_layers(&flags, &|_| None, missing).is_err());
}

#[test]
fn who_only_writes_events_needs_only_what_says_where() {
    let text = "parallelism = 0\n[redis]\nurl = \"nowhere\"\n[streams.clicks]\ntopic = \"web\"\n";
    let given = case(text).flag("brokers", "flag:1");
    let environment = |name: &str| (name == "SCHEMA_REGISTRY_URL").then(|| "http://registry:8081".to_owned());
    let (input, problems) = Input::inspect_layers(&given.flags, &environment, given.file.path());
    assert_eq!(problems, Problems::default());
    assert_eq!((input.bootstrap_servers().as_str(), input.streams[0].topic.as_str()), ("flag:1", "web"));
    assert_eq!(input.registry.map(|registry| registry.url), Some(Url::new("http://registry:8081")));

    let misspelt = case("brokerz = \"a:1\"\n");
    let (_, problems) = Input::inspect_layers(&misspelt.flags, &|_| None, misspelt.file.path());
    assert!(problems.to_string().contains("did you mean `brokers`?"), "{problems}");
}

fn from_layers(
    flags: &Flags,
    environment: super::layers::Environment<'_>,
    file: &Path,
) -> Result<Config, crate::error::Problems> {
    let (config, problems) = Config::inspect_layers(flags, environment, file);
    problems.into_result(config)
}

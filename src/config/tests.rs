//! The configuration as an administrator uses it: values, faults, the sample file.

use super::*;

/// A directory of its own for a test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("callscope-config-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();

        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An environment of our variables, named without their prefix, among others.
fn env(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let ours = pairs
        .iter()
        .map(|(name, value)| (format!("CALLSCOPE_{name}"), (*value).to_owned()));

    ours.chain([("PATH".to_owned(), "/bin".to_owned())])
        .collect::<Vec<_>>()
        .into_iter()
}

fn load(toml: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    let thread = format!("{:?}", std::thread::current().id());
    let scratch = Scratch::new(&thread.replace(['(', ')'], ""));
    Config::load(Some(&scratch.file("callscope.toml", toml)), env(pairs))
}

/// The faults as shown, without the file's directory.
fn faults(toml: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let found = load(toml, pairs).unwrap_err();
    let short = |fault: &ConfigFault| {
        let text = fault.to_string();
        let start = text.find("(/").map_or(0, |at| at + 1);
        let end = text.find("/callscope.toml").map_or(start, |at| at + 1);
        text[..start].to_owned() + &text[end..]
    };

    found.0.iter().map(short).collect()
}

#[test]
fn nothing_configured_is_no_fault_and_has_the_defaults() {
    let config = load("", &[("PASSWORD", "")]).unwrap();
    assert!(config.is_empty());
    assert_eq!(config.database_url.expose(), "sqlite://callscope.db");
    assert_eq!(config.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(
        (config.mode, config.slot_policy, config.backfill),
        (Mode::Follow, SlotPolicy::IfPresent, true)
    );
    assert_eq!((config.backfill_days, config.public_url), (None, None));
    assert_eq!(
        (config.log.as_str(), config.poll_schedule.as_str()),
        ("info", "0 */5 * * * *")
    );
    assert_eq!(config.max_response_bytes, 64 * 1024 * 1024);
    assert_eq!(
        config.credentials_file,
        Path::new("callscope.credentials.json")
    );
    assert_eq!(config.invites, InvitePolicy::default());
    assert_eq!(config.retention, Retention::default());
    assert!(config.rooms.is_empty() && config.peek_rooms.is_empty());
}

#[test]
fn the_file_is_read_and_the_environment_wins() {
    let toml = r#"
        homeserver_url = "https://file.example"
        access_token = "syt_file"
        max_response_mb = 3
        backfill = false
        backfill_days = 7
        mode = "poll"
    "#;
    let pairs = [
        ("HOMESERVER_URL", "https://env.example/base"),
        ("BACKFILL", "true"),
        ("MAX_RESPONSE_MB", "5"),
        ("DATABASE_URL", "sqlite:///data/x.db?mode=rwc"),
        ("SLOT_POLICY", "required"),
        ("RETENTION_EVENTS", "30"),
    ];
    let config = load(toml, &pairs).unwrap();
    let account = config.account.unwrap();
    assert_eq!(account.homeserver_url.as_str(), "https://env.example/base");
    assert_eq!(account.login, Login::Token(Secret::new("syt_file")));
    assert_eq!((config.backfill, config.backfill_days), (true, Some(7)));
    assert_eq!(
        config.retention,
        Retention {
            events_days: Some(30),
            calls_days: None
        }
    );
    assert_eq!(config.max_response_bytes, 5 * 1024 * 1024);
    let credentials = Path::new("/data/callscope.credentials.json");
    assert_eq!(config.credentials_file, credentials);
    assert_eq!(
        (config.mode, config.slot_policy),
        (Mode::Poll, SlotPolicy::Required)
    );
}

#[test]
fn lists_are_lists_in_the_file_and_words_in_the_environment() {
    let toml = r##"
        rooms = ["!a:b.example?via=x.example&via=y.example:8448", "#l:b.example"]
        [invites]
        allow_users = ["@a:b.example"]
    "##;
    let pairs = [
        ("PEEK_ROOMS", "!z, #p:b.example  #q:b.example"),
        ("INVITES_ALLOW_SERVERS", "b.example,c.example:8448"),
    ];
    let config = load(toml, &pairs).unwrap();
    assert_eq!(config.rooms[0].via, ["x.example", "y.example:8448"]);
    assert!(config.rooms[1].is_alias() && !config.rooms[0].is_alias());
    assert_eq!(config.peek_rooms.len(), 3);
    assert_eq!(config.invites.allow_users, ["@a:b.example"]);
    assert_eq!(
        config.invites.allow_servers,
        ["b.example", "c.example:8448"]
    );
}

#[test]
fn all_faults_come_at_once_each_with_its_place_and_its_remedy() {
    let toml = "homeserver_url = \"matrix.example.org\"\naccess_token = 5\nroom = []\nbackfill = \
                \"maybe\"\n[homeserver]\nurl = \"x\"\n";
    let pairs = [
        ("ROOMS", "lobby !ok:x #a:b?vie=c"),
        ("BINDD", "x"),
        ("BIND", ":8080"),
        ("POLL_SCHEDULE", "*/5 * * * *"),
        ("LOG", "inof"),
        ("BACKFILL_DAYS", "0"),
        ("WHATEVER_THIS_IS", "1"),
        ("PUBLIC_URL", "https://example.org/calls/?x"),
        // Variables that Kubernetes sets beside a service of our name are no fault.
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT_HTTP", "8080"),
        ("PORT", "tcp://10.0.0.1:8080"),
        ("PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("POSTGRESQL_SERVICE_PORT_TCP_POSTGRESQL", "5432"),
        ("POSTGRESQL_PORT", "tcp://10.0.0.2:5432"),
        ("POSTGRESQL_PORT_5432_TCP", "tcp://10.0.0.2:5432"),
    ];
    insta::assert_snapshot!(faults(toml, &pairs).join("\n"), @r#"
    CALLSCOPE_BINDD (environment): there is no such setting. Did you mean CALLSCOPE_BIND?
    CALLSCOPE_WHATEVER_THIS_IS (environment): there is no such setting. Remove it; callscope.sample.toml lists all there are
    homeserver.url (callscope.toml): there is no such setting. Did you mean homeserver_url?
    room (callscope.toml): there is no such setting. Did you mean rooms?
    homeserver_url (callscope.toml): "matrix.example.org" is not a web address. Write https://matrix.example.org
    access_token (callscope.toml): a text in quotes is needed. Write the bot's access token
    rooms (CALLSCOPE_ROOMS): "lobby" is neither a room id nor an alias. Write !abcdefg:example.org or #lobby:example.org, with ?via=example.org where needed
    rooms (CALLSCOPE_ROOMS): after the room "vie=c" is not via=SERVER. Write !abcdefg:example.org or #lobby:example.org, with ?via=example.org where needed
    poll_schedule (CALLSCOPE_POLL_SCHEDULE): "*/5 * * * *" is not a schedule. Write six fields, seconds first: "0 */5 * * * *" is every five minutes
    backfill (callscope.toml): it is neither yes nor no. Write true or false
    backfill_days (CALLSCOPE_BACKFILL_DAYS): it is not a number within the bounds. Write a number of days, 1 or more
    bind (CALLSCOPE_BIND): ":8080" is not an address with a port. Write an address and a port: 127.0.0.1:8080, or 0.0.0.0:8080 for every interface
    public_url (CALLSCOPE_PUBLIC_URL): "https://example.org/calls/?x" goes on after the path. Write https://calls.example.org
    log (CALLSCOPE_LOG): "inof" is not a log level. Write error, warn, info, debug or trace, or info,callscope=debug
    "#);
}

const URL: (&str, &str) = ("HOMESERVER_URL", "https://x.example");
const TOKEN: (&str, &str) = ("ACCESS_TOKEN", "syt_secret");
const USER: (&str, &str) = ("USER_ID", "@a:x.example");
const PASSWORD: (&str, &str) = ("PASSWORD", "hunter2");

#[test]
fn an_account_is_whole_or_a_fault() {
    let account = load("", &[URL, USER, PASSWORD]).unwrap().account.unwrap();
    assert!(matches!(account.login, Login::Password { .. }));
    let cases = [
        (
            vec![URL],
            "access_token (or CALLSCOPE_ACCESS_TOKEN): neither it nor user_id",
        ),
        (
            vec![TOKEN],
            "homeserver_url (or CALLSCOPE_HOMESERVER_URL): it is not set, but an account is",
        ),
        (
            vec![URL, USER],
            "password (or CALLSCOPE_PASSWORD): user_id is set, but no password",
        ),
        (
            vec![URL, PASSWORD],
            "user_id (or CALLSCOPE_USER_ID): a password is set, but not whose",
        ),
        (
            vec![URL, TOKEN, USER],
            "access_token (CALLSCOPE_ACCESS_TOKEN): it is set, and so is",
        ),
        (
            vec![URL, TOKEN, USER, PASSWORD],
            "access_token (CALLSCOPE_ACCESS_TOKEN): it is set, and",
        ),
    ];

    for (pairs, start) in cases {
        let found = faults("", &pairs);
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
    }
}

#[test]
fn secrets_come_from_files_too() {
    let scratch = Scratch::new("secrets");
    let token = scratch.file("token", "syt_from_file\r\n");
    let file = ("ACCESS_TOKEN_FILE", token.to_str().unwrap());
    let config = load("access_token = \"syt_plain\"", &[URL, file]).unwrap();
    let login = config.account.clone().unwrap().login;
    assert_eq!(
        login,
        Login::Token(Secret::new("syt_from_file")),
        "the environment wins"
    );
    assert!(!format!("{config:?}").contains("syt_"));
    let both = faults("", &[URL, file, TOKEN]);
    assert!(
        both[0].contains("access_token and access_token_file are both set"),
        "{both:?}"
    );
    let empty = scratch.file("empty", "\n");
    let found = faults("", &[URL, ("ACCESS_TOKEN_FILE", empty.to_str().unwrap())]);
    assert!(
        found.len() == 1 && found[0].contains("is empty"),
        "{found:?}"
    );
    let gone = faults("", &[URL, ("ACCESS_TOKEN_FILE", "/no/such/file")]);
    assert!(
        gone.len() == 1 && gone[0].contains("cannot be read"),
        "{gone:?}"
    );
}

#[test]
fn no_fault_shows_a_secret() {
    let database = faults("", &[("DATABASE_URL", "mysql://u:hunter2@h/x")]).join("\n");
    assert!(
        database.contains("does not begin with") && !database.contains("hunter2"),
        "{database}"
    );
    let url = faults("", &[TOKEN, ("HOMESERVER_URL", "https://u:hunter2@h/")]).join("\n");
    assert!(
        url.contains("carries a user") && !url.contains("hunter2"),
        "{url}"
    );
    let toml = "log = \"loud\"\naccess_token = syt_unquoted | \n";
    let broken = faults(toml, &[("BIND", "x")]).join("\n");
    assert!(
        broken.contains("not TOML") && broken.contains("line 2"),
        "{broken}"
    );
    assert!(
        broken.contains("\nbind (CALLSCOPE_BIND)"),
        "what follows is checked too: {broken}"
    );
    assert!(!broken.contains("syt_"), "{broken}");
}

#[test]
fn a_named_file_must_be_there_and_the_default_one_need_not() {
    let gone = Path::new("/no/such/callscope.toml");
    let text = Config::load(Some(gone), env(&[])).unwrap_err().to_string();
    let start = "1 fault in the configuration:\n  /no/such/callscope.toml: the file cannot be read";
    assert!(text.starts_with(start), "{text}");
    assert!(Config::load(None, env(&[("CONFIG", "/no/such/file")])).is_err());
    let mut layers = Layers::default();
    assert_eq!(layers.file(gone, false), "");
    assert_eq!(layers.faults, ConfigFaults::default());
}

#[test]
fn the_sample_file_has_every_key_with_its_default_and_changes_nothing() {
    let sample = include_str!("../../callscope.sample.toml");
    let config = load(sample, &[]).unwrap();
    assert!(config.is_empty());
    let lines: Vec<&str> = sample.lines().collect();
    let (mut section, mut found) = (String::new(), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.replace(']', ".");
        }

        let Some((name, value)) = line
            .strip_prefix('#')
            .and_then(|line| line.split_once(" = "))
        else {
            continue;
        };

        if name.starts_with(' ') {
            continue;
        }

        let name = format!("{section}{name}");
        let key = KEYS
            .iter()
            .find(|key| key.name == name)
            .unwrap_or_else(|| panic!("{name} is not known"));
        assert!(lines[at - 1].starts_with("# "), "{name} has no sentence");
        let value = value.trim_matches(['"', '[', ']']);
        assert_eq!(
            lines[at - 1].ends_with("(Example.)") || lines[at - 1].contains("(Example;"),
            key.default.is_none(),
            "{name}"
        );
        assert_eq!(value, key.default.unwrap_or(value), "{name}");
        found.push(name);
    }

    let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(found, known);
}

#[test]
fn the_sample_with_everything_switched_on_is_understood() {
    let sample = include_str!("../../callscope.sample.toml");
    let either = [
        "access_token",
        "access_token_file",
        "password_file",
        "database_url_file",
        "operator_password_hash",
        "operator_password_hash_file",
        "api_key_file",
        "client_secret_file",
    ];
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.contains(" = ") && !rest.starts_with(' ') => {
            let name = rest.split(' ').next().unwrap_or_default();
            if either.contains(&name) {
                line.to_owned()
            } else {
                rest.to_owned()
            }
        }
        _ => line.to_owned(),
    };

    let all: Vec<String> = sample.lines().map(on).collect();
    let config = load(&all.join("\n"), &[]).unwrap();
    assert_eq!(
        config.account.unwrap().homeserver_url.as_str(),
        "https://matrix.example.org/"
    );
    assert_eq!(config.backfill_days, Some(365));
    assert_eq!(
        config.retention,
        Retention {
            events_days: Some(90),
            calls_days: Some(365)
        }
    );
}

#[test]
fn environment_names_follow_one_rule_and_the_documented_ones_exist() {
    let names: Vec<String> = KEYS.iter().map(SettingKey::env).collect();
    let documented = "HOMESERVER_URL ACCESS_TOKEN USER_ID PASSWORD ROOMS DATABASE_URL BIND LOG \
                      ACCESS_TOKEN_FILE PASSWORD_FILE MODE";

    for name in documented.split(' ') {
        assert!(names.contains(&format!("CALLSCOPE_{name}")), "{name}");
    }
}

/// What is wrong with channels and alerts of this text, in words.
fn faults_of(text: &str, env_of_test: &[(&str, &str)]) -> String {
    load(text, env_of_test).unwrap_err().to_string()
}

#[test]
fn the_channels_and_alerts_of_the_sample_are_understood() {
    let sample = include_str!("../../callscope.sample.toml");
    let tables: Vec<&str> = sample
        .lines()
        .filter_map(|line| line.strip_prefix("#  "))
        .filter(|line| line.contains(" = ") || line.starts_with("[["))
        .collect();
    let alerts = load(&tables.join("\n"), &[]).unwrap().alerts;
    let names: Vec<&str> = alerts
        .channels
        .iter()
        .map(|one| one.scope.name.as_str())
        .collect();
    assert_eq!(names, ["ops", "lobby"]);
    assert_eq!(alerts.rules.len(), 1);
    assert_eq!(alerts.rules[0].for_ms, 30 * 60_000);
    assert_eq!(alerts.channels[1].scope.rooms, ["!abcdefg:example.org"]);
    assert!(!alerts.channels[1].scope.is_operator);
}

const HOOK: &str =
    "[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1/x\"\n";

#[test]
fn a_channel_without_rules_has_the_usual_ones() {
    let config = load(&format!("{HOOK}operator = true"), &[]).unwrap();
    let names: Vec<&str> = config
        .alerts
        .rules
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    assert_eq!(names, ["calls", "ghosts", "servers", "callscope"]);
    assert!(load("", &[]).unwrap().alerts.rules.is_empty());
}

#[test]
fn faults_of_channels_and_alerts_say_what_to_write() {
    let cases = [
        (HOOK.to_owned(), "it may hear of nothing yet"),
        (format!("{HOOK}{HOOK}"), "another channel has the same name"),
        (
            format!("{HOOK}topic = \"x\""),
            "there is no such key here. There are: ",
        ),
        ("[channel]\nname = \"a\"".to_owned(), "Write [[channel]]"),
        (
            "[[channel]]\nname = \"a\"\ntype = \"pigeon\"\nurl = \"x\"".to_owned(),
            "Write matrix, webhook, alertmanager, ntfy or ping",
        ),
        (
            "[[alert]]\nname = \"a\"\non = [\"ghost\"]".to_owned(),
            "there is no [[channel]] yet",
        ),
        (
            format!("{HOOK}operator = true\n[[alert]]\nname = \"a\"\non = [\"gohst\"]"),
            "\"gohst\" is nothing that alerts are about. Write call_began, ",
        ),
        (
            format!(
                "{HOOK}operator = true\n[[alert]]\nname = \"a\"\non = [\"ghost\"]\nquiet = \"22-7\""
            ),
            "Write 22:00-07:00 Europe/Berlin",
        ),
        (
            format!(
                "{HOOK}operator = true\n[[alert]]\nname = \"a\"\non = [\"ghost\"]\nchannels = [\"other\"]"
            ),
            "\"other\" is no [[channel]] that takes alerts. Write one of: ops",
        ),
        (
            format!("{HOOK}operator = true\nsecret = \"guessme\""),
            "the secret is not whsec_",
        ),
    ];
    for (text, wanted) in cases {
        let said = faults_of(&text, &[]);
        assert!(said.contains(wanted), "{text}\n→ {said}");
        assert!(!said.contains("guessme"), "{said}");
    }
}

#[test]
fn secrets_of_channels_come_from_the_environment() {
    let text = format!("{HOOK}operator = true");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let config = load(&text, &[("CHANNEL_OPS_SECRET", secret)]).unwrap();
    let debug = format!("{:?}", config.alerts.channels);
    assert!(debug.contains("Some(***)"), "{debug}");
    let said = faults_of(&text, &[("CHANNEL_OTHER_SECRET", secret)]);
    assert!(
        said.contains("no [[channel]] has a secret of this name"),
        "{said}"
    );
    assert!(!said.contains(secret));
}

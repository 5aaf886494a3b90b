//! Writes a configuration file that is not there yet: its text from what an operator answered, and
//! the file itself.

use super::{Config, InvitePolicy, Login, RoomSpec};
use crate::matrix::Secret;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use toml::Value;
use url::Url;

/// What stands in the place of a secret that is not shown.
const MASK: &str = "********";

/// The settings of a new file.
#[derive(Debug, Clone)]
pub struct NewFile {
    pub homeserver_url: Url,
    pub login: Login,
    /// Rooms to join and to watch, beside those that the account is in.
    pub rooms: Vec<RoomSpec>,
    /// Spaces to join, whose rooms are joined and watched.
    pub spaces: Vec<RoomSpec>,
    pub invites: InvitePolicy,
    /// The hash of the operator's password; `None` if there is no password.
    pub operator_password_hash: Option<Secret>,
}

/// Whether secrets stand in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretText {
    Written,
    Masked,
}

impl NewFile {
    /// The text of the file. Without secrets it is only for showing.
    #[must_use]
    pub fn text(&self, secrets: SecretText) -> String {
        let shown = |secret: &Secret| match secrets {
            SecretText::Written => secret.expose().to_owned(),
            SecretText::Masked => MASK.to_owned(),
        };
        let mut text = format!(
            "# Written by the set-up of Callscope {}. callscope.sample.toml has every setting.\n\
             # There are secrets in this file: only its owner may read it.\n\n",
            env!("CARGO_PKG_VERSION")
        );
        let url = self.homeserver_url.as_str().trim_end_matches('/');
        add_line(&mut text, "homeserver_url", url);
        match &self.login {
            Login::Token(token) => {
                add_line(&mut text, "access_token", &shown(token));
            }
            Login::Password { user_id, password } => {
                add_line(&mut text, "user_id", user_id);
                add_line(&mut text, "password", &shown(password));
            }
        }

        let lists = [
            (
                "rooms",
                "Joined and watched, beside the rooms that the account is in.",
                &self.rooms,
            ),
            (
                "spaces",
                "Joined; their rooms are joined and watched, also those that come later.",
                &self.spaces,
            ),
        ];
        for (name, about, rooms) in lists {
            if !rooms.is_empty() {
                let _ = write!(text, "\n# {about}\n");
                let rooms: Vec<String> = rooms.iter().map(RoomSpec::to_setting).collect();
                add_list(&mut text, name, &rooms);
            }
        }

        if let Some(hash) = &self.operator_password_hash {
            text.push_str("\n# The password of the operator, as `callscope passwd` prints it.\n");
            add_line(&mut text, "operator_password_hash", &shown(hash));
        }

        let InvitePolicy {
            allow_servers,
            allow_users,
        } = &self.invites;
        if !allow_servers.is_empty() || !allow_users.is_empty() {
            text.push_str("\n# Whose invitations are accepted.\n[invites]\n");
            for (name, list) in [
                ("allow_servers", allow_servers),
                ("allow_users", allow_users),
            ] {
                if !list.is_empty() {
                    add_list(&mut text, name, list);
                }
            }
        }

        text
    }
}

impl NewFile {
    /// Has a configuration the account of the file?
    #[must_use]
    pub fn has_account_of(&self, config: &Config) -> bool {
        let bare = |url: &Url| url.as_str().trim_end_matches('/').to_owned();

        config.account.as_ref().is_some_and(|account| {
            account.login == self.login
                && bare(&account.homeserver_url) == bare(&self.homeserver_url)
        })
    }

    /// The settings of the file that a configuration has otherwise, such as by the environment. A
    /// list that is empty here may be any.
    #[must_use]
    pub fn settings_changed_in(&self, config: &Config) -> Vec<&'static str> {
        let is_other = |list: &[String], read: &[String]| !list.is_empty() && list != read;
        let is_other_room = |list: &[RoomSpec], read: &[RoomSpec]| !list.is_empty() && list != read;
        let hash = &self.operator_password_hash;
        let (invites, read) = (&self.invites, &config.invites);
        let settings = [
            ("the account", !self.has_account_of(config)),
            ("rooms", is_other_room(&self.rooms, &config.rooms)),
            ("spaces", is_other_room(&self.spaces, &config.spaces)),
            (
                "invites.allow_servers",
                is_other(&invites.allow_servers, &read.allow_servers),
            ),
            (
                "invites.allow_users",
                is_other(&invites.allow_users, &read.allow_users),
            ),
            (
                "operator_password_hash",
                hash.is_some() && *hash != config.access.operator_password_hash,
            ),
        ];
        let changed = settings.into_iter().filter(|(_, is_other)| *is_other);

        changed.map(|(name, _)| name).collect()
    }
}

/// Adds a setting that is a text.
fn add_line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name} = {}", Value::from(value));
}

/// Adds a setting that is a list, one entry a line.
fn add_list(text: &mut String, name: &str, entries: &[String]) {
    let _ = writeln!(text, "{name} = [");
    for entry in entries {
        let _ = writeln!(text, "    {},", Value::from(entry.as_str()));
    }

    text.push_str("]\n");
}

/// Whether a new file can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePlace {
    Free,
    /// There is a file, which is not touched.
    Taken,
    /// In words, why no file can be made there.
    Unwritable(String),
}

/// Looks whether a new file can be written there. A file beside it is made and deleted again to
/// find out.
#[must_use]
pub fn check_place(path: &Path) -> FilePlace {
    match path.symlink_metadata() {
        Ok(_) => return FilePlace::Taken,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return FilePlace::Unwritable(error.to_string()),
    }

    match make_draft(path) {
        Ok(_) => FilePlace::Free,
        Err(error) => FilePlace::Unwritable(error.to_string()),
    }
}

/// Is there something at this path, be it a link to nowhere?
#[must_use]
pub fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Writes a new file at once, readable by its owner only, and waits until it is on the disk.
///
/// # Errors
/// It cannot be written, or there is a file already (`AlreadyExists`), which stays as it is.
pub fn write_new_file(path: &Path, text: &str) -> io::Result<()> {
    // Also where no file can be made, it is said that there is one.
    if is_taken(path) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }

    let mut draft = make_draft(path)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist_noclobber(path).map_err(|error| error.error)?;

    Ok(())
}

/// An empty file beside `path`, readable by its owner only, which is deleted when it is dropped.
fn make_draft(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };

    tempfile::Builder::new()
        .prefix(".callscope-")
        .suffix(".new")
        .tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$4uj3QnbUSEvCcmMuLw+KjPbKQqGsWlmx\
                        +SAjUkLc8+k";

    fn room(id_or_alias: &str, via: &[&str]) -> RoomSpec {
        RoomSpec {
            id_or_alias: id_or_alias.to_owned(),
            via: via.iter().map(|&server| server.to_owned()).collect(),
        }
    }

    fn new_file(login: Login) -> NewFile {
        NewFile {
            homeserver_url: "https://matrix.example.org".parse().unwrap(),
            login,
            rooms: vec![
                room("#lobby:example.org", &[]),
                room("!abc", &["example.org", "example.net:8448"]),
            ],
            spaces: vec![room("#community:example.org", &[])],
            invites: InvitePolicy {
                allow_servers: vec!["example.org".to_owned()],
                allow_users: vec!["@admin:example.net".to_owned()],
            },
            operator_password_hash: Some(Secret::new(HASH)),
        }
    }

    fn read_back(file: &NewFile) -> Config {
        let text = file.text(SecretText::Written);
        Config::from_text(Path::new("callscope.toml"), &text, std::iter::empty())
            .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let file = new_file(Login::Token(Secret::new("syt_secret")));
        let config = read_back(&file);
        let account = config.account.unwrap();
        assert_eq!(account.homeserver_url, file.homeserver_url);
        assert_eq!(account.login, file.login);
        assert_eq!(config.rooms, file.rooms);
        assert_eq!(config.spaces, file.spaces);
        assert_eq!(config.invites, file.invites);
        assert_eq!(
            config.access.operator_password_hash,
            file.operator_password_hash
        );

        let bare = NewFile {
            rooms: vec![],
            spaces: vec![],
            invites: InvitePolicy::default(),
            operator_password_hash: None,
            ..file
        };
        let config = read_back(&bare);
        assert!(config.rooms.is_empty() && !config.access.is_set());
    }

    #[test]
    fn what_the_environment_changes_is_named() {
        let file = new_file(Login::Token(Secret::new("syt_secret")));
        assert_eq!(file.settings_changed_in(&read_back(&file)), [""; 0]);
        let text = file.text(SecretText::Written);
        for (variable, value, setting) in [
            ("CALLSCOPE_ROOMS", "#other:example.org", "rooms"),
            ("CALLSCOPE_SPACES", "#other:example.org", "spaces"),
            (
                "CALLSCOPE_INVITES_ALLOW_SERVERS",
                "example.net",
                "invites.allow_servers",
            ),
            (
                "CALLSCOPE_INVITES_ALLOW_USERS",
                "@b:example.net",
                "invites.allow_users",
            ),
            ("CALLSCOPE_ACCESS_TOKEN", "syt_other", "the account"),
        ] {
            let env = [(variable.to_owned(), value.to_owned())];
            let config = Config::from_text(Path::new("callscope.toml"), &text, env.into_iter());
            assert_eq!(file.settings_changed_in(&config.unwrap()), [setting]);
        }

        // What was not chosen may come from elsewhere.
        let bare = NewFile {
            rooms: vec![],
            ..file.clone()
        };
        assert_eq!(bare.settings_changed_in(&read_back(&file)), [""; 0]);
    }

    #[test]
    fn no_secret_is_in_the_text_to_show() {
        let user_id = "@callscope:example.org".to_owned();
        let password = Secret::new("hunter2hunter2");
        for login in [
            Login::Token(Secret::new("syt_secret")),
            Login::Password { user_id, password },
        ] {
            let text = new_file(login).text(SecretText::Masked);
            for secret in ["syt_secret", "hunter2", "argon2id"] {
                assert!(!text.contains(secret), "{text}");
            }
            assert_eq!(text.matches(MASK).count(), 2, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_secret_of_any_signs_is_read_back(secret in "\\PC*[\"'\\\\\u{7f}\u{1}\n=#]?\\PC{0,9}a") {
            let file = new_file(Login::Token(Secret::new(secret)));
            prop_assert_eq!(read_back(&file).account.unwrap().login, file.login);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_private_and_never_written_over() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callscope.toml");
        assert_eq!(check_place(&path), FilePlace::Free);
        write_new_file(&path, "a = 1\n").unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(check_place(&path), FilePlace::Taken);
        let again = write_new_file(&path, "b = 2\n").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a = 1\n");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");

        // A link to nowhere is something, too.
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(check_place(&link), FilePlace::Taken);
        assert!(write_new_file(&link, "").is_err());

        // A file in a folder in which not even root can make another.
        #[cfg(target_os = "linux")]
        {
            let fixed = write_new_file(Path::new("/proc/self/status"), "").unwrap_err();
            assert_eq!(fixed.kind(), io::ErrorKind::AlreadyExists);
        }

        let nowhere = folder.path().join("no/such/callscope.toml");
        assert!(matches!(check_place(&nowhere), FilePlace::Unwritable(_)));
        assert!(write_new_file(&nowhere, "").is_err());
    }
}

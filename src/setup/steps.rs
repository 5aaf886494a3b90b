//! The steps that ask somebody: finding the homeserver, signing in, and trying what the observer
//! will need. What came of each is told in lines that pages and the terminal show alike.

use super::answers::{parse_homeserver, parse_login_name, parse_token};
use crate::config::check::parse_user_id;
use crate::config::{Config, Login};
use crate::matrix::{
    Client, Credentials, Error, FoundHomeserver, Secret, Settings, filter_json, find_homeserver,
};
use crate::store;
use crate::web::view::format as f;
use crate::web::view::storage_words;
use std::fmt;
use std::time::Duration;

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum number of versions and logins that are shown.
const SHOWN_MAX: usize = 3;
/// Timeout of a logout.
const LOGOUT_LONGEST: Duration = Duration::from_secs(5);

/// Why a step is not done: one sentence that names the fix, and the details.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepFault {
    pub what: String,
    pub details: Vec<String>,
}

impl StepFault {
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            details: Vec::new(),
        }
    }

    /// The first of these is the sentence.
    #[must_use]
    pub fn from_lines(lines: Vec<String>) -> Self {
        let mut lines = lines.into_iter();

        Self {
            what: lines.next().unwrap_or_default(),
            details: lines.collect(),
        }
    }
}

impl fmt::Display for StepFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }

        Ok(())
    }
}

/// Something that was found or tried, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub name: &'static str,
    pub words: String,
}

/// How the account is to be signed in.
#[derive(Debug, Clone)]
pub enum LoginAnswer {
    Token(Secret),
    /// A user id or its first part, and its password.
    Password {
        user: String,
        password: Secret,
    },
}

/// The account that will observe, signed in.
#[derive(Debug, Clone)]
pub struct SetUpAccount {
    pub client: Client,
    pub user_id: String,
    /// What stands in the configuration.
    pub login: Login,
    /// The device and its token, to be kept in a file of their own; `None` if the token is in the
    /// configuration.
    pub credentials: Option<Credentials>,
    /// The set-up made a device for it.
    pub has_new_device: bool,
    /// What was tried, and what came of it.
    pub findings: Vec<Finding>,
}

/// Finds the homeserver that the operator named.
///
/// # Errors
/// Nothing there answers as a homeserver; or what was entered names none.
pub async fn look_up_homeserver(text: &str) -> Result<FoundHomeserver, StepFault> {
    let named = parse_homeserver(text).map_err(StepFault::new)?;

    find_homeserver(&named).await.map_err(|tries| {
        let details = tries
            .iter()
            .map(|tried| f::sanitize_message(&format!("{}: {}", tried.address, tried.why)));

        StepFault {
            what:
                "No homeserver answers there. See that it runs and look for a slip, or enter the \
                   address of its client API."
                    .to_owned(),
            details: details.collect(),
        }
    })
}

/// What was found out about a homeserver, to be shown.
#[must_use]
pub fn describe_homeserver(found: &FoundHomeserver) -> Vec<Finding> {
    let finding = |name, words: String| Finding {
        name,
        words: f::sanitize_message(&words),
    };
    let address = found.url.as_str().trim_end_matches('/');
    let mut findings = vec![finding("Address", address.to_owned())];
    if let Some(document) = &found.named_by {
        findings.push(finding("Named by", document.clone()));
    }

    let software = found.software.as_deref();
    findings.push(finding(
        "Software",
        software.unwrap_or("it does not say").to_owned(),
    ));
    let versions = match found.versions.as_slice() {
        [] => "none named".to_owned(),
        [.., last] => format!("up to {last}"),
    };
    findings.push(finding("Client API", versions));
    findings.push(finding("Login", describe_logins(found)));
    let delayed = if found.delayed_events {
        "yes"
    } else {
        "no: people who lose their connection stay listed until their membership expires"
    };
    findings.push(finding("Delayed events", delayed.to_owned()));

    findings
}

/// The ways to log in, in words.
fn describe_logins(found: &FoundHomeserver) -> String {
    let Some(flows) = &found.flows else {
        return "it does not say; a password is tried".to_owned();
    };

    let by_service = if found.has_auth_service {
        "; its accounts are kept by an authentication service"
    } else {
        ""
    };
    let how = match (flows.offer_password(), flows.kinds.as_slice()) {
        (true, _) => "by password or access token".to_owned(),
        (false, []) => "by access token only".to_owned(),
        (false, kinds) => {
            let kinds: Vec<&str> = kinds.iter().take(SHOWN_MAX).map(String::as_str).collect();
            format!(
                "by access token only, not by password ({})",
                kinds.join(", ")
            )
        }
    };

    how + by_service
}

/// How to get an access token from this homeserver.
#[must_use]
pub fn token_advice(found: &FoundHomeserver) -> &'static str {
    if found.has_auth_service {
        "With the Matrix Authentication Service, `mas-cli manage issue-compatibility-token USER` \
         prints one, where USER is the first part of the account's id, such as callscope."
    } else {
        "Sign in as this account in Element, copy the token from Settings, Help & About, Access \
         Token, and do not sign out there."
    }
}

/// Reads what was entered to sign in: a token if there is one, else user and password.
///
/// # Errors
/// What is missing or wrong.
pub fn read_login(token: &str, user: &str, password: &str) -> Result<LoginAnswer, StepFault> {
    if !token.trim().is_empty() {
        return parse_token(token)
            .map(|token| LoginAnswer::Token(Secret::new(token)))
            .map_err(StepFault::new);
    }

    if user.trim().is_empty() && password.is_empty() {
        return Err(StepFault::new(
            "Nothing was entered. Enter an access token, or a user and its password.",
        ));
    }

    let user = parse_login_name(user).map_err(StepFault::new)?;
    if password.is_empty() {
        return Err(StepFault::new(
            "There is no password. Enter the password of the account, or an access token instead.",
        ));
    }

    Ok(LoginAnswer::Password {
        user,
        password: Secret::new(password),
    })
}

/// Signs in, and tries what the observer will need: who the account is, whether the homeserver
/// takes the filter, and whether the database can be written. A device that was made for nothing is
/// removed.
///
/// # Errors
/// What failed, and what to do.
pub async fn sign_in(
    found: &FoundHomeserver,
    answer: &LoginAnswer,
    config: &Config,
    now_ms: i64,
) -> Result<SetUpAccount, StepFault> {
    let client = Client::new(Settings {
        request_timeout: TIMEOUT,
        max_body_bytes: config.max_response_bytes,
        ..Settings::new(found.url.clone())
    });
    let client = client.map_err(|error| StepFault::new(error.to_string()))?;
    let kept = match answer {
        LoginAnswer::Token(token) => {
            client.set_token(Some(token.clone()));
            KeptLogin::Token(token.clone())
        }
        LoginAnswer::Password { user, password } => {
            let made = client
                .login_for_lasting_token(user, password, now_ms)
                .await
                .map_err(|error| login_fault(&error, found))?;
            KeptLogin::of_password(made, password)
        }
    };

    let has_new_device = matches!(answer, LoginAnswer::Password { .. });
    let tried = try_account(&client, found, config).await;
    let TriedAccount { user_id, findings } = match tried {
        Ok(tried) => tried,
        Err(fault) => {
            if has_new_device {
                log_out(&client).await;
            }

            return Err(fault);
        }
    };

    let (login, credentials) = match kept {
        KeptLogin::Token(token) => (Login::Token(token), None),
        KeptLogin::Password { password, made } => {
            let user_id = user_id.clone();
            (Login::Password { user_id, password }, Some(made))
        }
    };

    Ok(SetUpAccount {
        client,
        user_id,
        login,
        credentials,
        has_new_device,
        findings,
    })
}

/// What is kept to sign in.
#[derive(Debug, PartialEq, Eq)]
enum KeptLogin {
    Token(Secret),
    /// The password, and the device whose token runs out.
    Password {
        password: Secret,
        made: Credentials,
    },
}

impl KeptLogin {
    /// Of a login by password, the token alone if it does not run out.
    fn of_password(made: Credentials, password: &Secret) -> Self {
        if made.expires_ms.is_none() {
            return Self::Token(made.access_token);
        }

        Self::Password {
            password: password.clone(),
            made,
        }
    }
}

/// An account with which everything works.
struct TriedAccount {
    user_id: String,
    findings: Vec<Finding>,
}

/// Asks who the account is, and tries the filter and the database.
async fn try_account(
    client: &Client,
    found: &FoundHomeserver,
    config: &Config,
) -> Result<TriedAccount, StepFault> {
    let who = client
        .whoami()
        .await
        .map_err(|error| token_fault(&error, found))?;
    if parse_user_id(&who.user_id).is_err() {
        return Err(StepFault::new(
            "The homeserver says that the account is no user of Matrix. See that the address is \
             that of the homeserver.",
        ));
    }

    if let Err(error) = client.upload_filter(&who.user_id, filter_json()).await {
        return Err(fault_with(
            "The homeserver does not take the filter for what is observed. See in its log why.",
            &error,
        ));
    }

    let database = match store::check_database(config.database_url.expose()).await {
        Ok((name, true)) => format!("{name} can be opened and written"),
        Ok((name, false)) => format!("{name} is not there yet, and can be made"),
        Err(error) => {
            let words = storage_words(error.kind());
            return Err(StepFault {
                what: format!("The database cannot be used. {}", words.to_do),
                details: vec![f::sanitize_message(&error.to_string())],
            });
        }
    };

    let device = who.device_id.as_deref().unwrap_or("none");
    let finding = |name, words: String| Finding {
        name,
        words: f::sanitize_message(&words),
    };
    let findings = vec![
        finding("Account", format!("{} (device {device})", who.user_id)),
        finding("Filter", "the homeserver takes it".to_owned()),
        finding("Database", database),
    ];

    Ok(TriedAccount {
        user_id: who.user_id,
        findings,
    })
}

/// Why a password is not taken, and what to do.
fn login_fault(error: &Error, found: &FoundHomeserver) -> StepFault {
    let what = match error {
        Error::NoPassword { .. } => format!(
            "This homeserver takes no passwords here. Enter an access token instead. {}",
            token_advice(found)
        ),
        Error::LoginRefused(_) if error.is_forbidden() => {
            "The homeserver does not accept this user and password. Correct them.".to_owned()
        }
        Error::LoginRefused(_) => {
            "The homeserver refuses this login. See what it says, and mend the account.".to_owned()
        }
        _ if error.retry_after().is_some() => {
            "The homeserver asks to wait. Try again in a minute.".to_owned()
        }
        _ => "The homeserver did not answer the login. Try again, and see that it runs.".to_owned(),
    };

    fault_with(&what, error)
}

/// Why a token is not taken, and what to do.
fn token_fault(error: &Error, found: &FoundHomeserver) -> StepFault {
    let what = if error.is_revoked() {
        format!(
            "The homeserver does not accept this access token. Copy it whole, or make another one. {}",
            token_advice(found)
        )
    } else {
        "The homeserver does not say whose account this is. Try again, and see that it runs."
            .to_owned()
    };

    fault_with(&what, error)
}

fn fault_with(what: &str, error: &Error) -> StepFault {
    StepFault {
        what: what.to_owned(),
        details: vec![f::sanitize_message(&error.to_string())],
    }
}

/// Removes a device that the set-up made. A failure is told in the log.
pub async fn log_out(client: &Client) {
    let tried = tokio::time::timeout(LOGOUT_LONGEST, client.logout()).await;
    let why = match tried {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };

    tracing::warn!(
        %why,
        "the device that the set-up made could not be removed; it is in the account's list"
    );
}

/// Keeps the device, unless the device of another account is kept there.
///
/// # Errors
/// It is, or the file cannot be written.
pub fn save_credentials(credentials: &Credentials, config: &Config) -> Result<(), StepFault> {
    let file = &config.credentials_file;
    let is_of_another = Credentials::load(file)
        .ok()
        .flatten()
        .is_some_and(|kept| kept.user_id != credentials.user_id);
    if is_of_another {
        return Err(StepFault::new(format!(
            "{} keeps the device of another account. Move it away, or name another file by \
             CALLSCOPE_CREDENTIALS_FILE.",
            file.display()
        )));
    }

    credentials
        .save(file)
        .map_err(|error| StepFault::new(error.to_string()))
}

/// What is kept of the account, and where, in sentences.
#[must_use]
pub fn describe_storage(account: &SetUpAccount, config: &Config) -> Vec<String> {
    let file = config.credentials_file.display();
    match (&account.login, account.has_new_device) {
        (Login::Token(_), true) => vec![
            "The password is not kept anywhere. The access token of a new device called \
             “Callscope” is kept in the configuration file."
                .to_owned(),
        ],
        (Login::Token(_), false) => {
            vec!["The access token is kept in the configuration file.".to_owned()]
        }
        (Login::Password { .. }, _) => vec![
            "Tokens of this homeserver run out, so the password is kept in the configuration file."
                .to_owned(),
            format!("The new device called “Callscope” and its present token are kept in {file}."),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(expires_ms: Option<i64>) -> Credentials {
        Credentials {
            user_id: "@bot:x.org".to_owned(),
            device_id: "DEV".to_owned(),
            access_token: Secret::new("syt_new"),
            refresh_token: None,
            expires_ms,
        }
    }

    #[test]
    fn a_password_is_kept_only_where_tokens_run_out() {
        let password = Secret::new("hunter2");
        assert_eq!(
            KeptLogin::of_password(made(None), &password),
            KeptLogin::Token(Secret::new("syt_new"))
        );
        let made = made(Some(9));
        assert_eq!(
            KeptLogin::of_password(made.clone(), &password),
            KeptLogin::Password { password, made }
        );
    }

    #[test]
    fn a_token_goes_before_a_password_and_nothing_is_asked_for() {
        let answer = read_login(" syt_a ", "bot", "hunter2").unwrap();
        assert!(matches!(answer, LoginAnswer::Token(token) if token.expose() == "syt_a"));
        for (user, password, sign) in [
            ("", "", "Nothing was entered"),
            ("bot", "", "no password"),
            ("", "hunter2", "No user"),
        ] {
            let fault = read_login("", user, password).unwrap_err();
            assert!(fault.what.contains(sign), "{fault}");
            assert!(!fault.to_string().contains("hunter2"));
        }
    }
}

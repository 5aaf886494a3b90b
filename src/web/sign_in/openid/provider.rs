//! Asks the provider: where its addresses and keys are (when it is first needed, and again where
//! that failed or is old), and who signed in. Its answers are believed only with its signature.

use super::OpenIdSettings;
use crate::tls::trust_authorities;
use crate::web::sign_in::secret_text::new_secret;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::http::Response;
use openidconnect::{
    AccessToken, AccessTokenHash, AdditionalClaims, AsyncHttpClient, AuthenticationFlow,
    AuthorizationCode, ClaimsVerificationError, Client, ClientId, CsrfToken, EmptyExtraTokenFields,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdToken,
    IdTokenFields, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, StandardErrorResponse, StandardTokenResponse,
    SubjectIdentifier, TokenResponse, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::Mutex;
use url::Url;

/// Timeouts of a request to the provider: to connect, and in all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of an answer, bytes.
const ANSWER_MAX: usize = 1024 * 1024;
/// How long addresses and keys are used until they are asked for again, ms.
const KNOWN_FOR_MS: i64 = 60 * 60 * 1000;
/// How long after asking for them it is not asked again, ms: after a failure, and for a key that
/// was not among them.
const ASK_AGAIN_AFTER_MS: i64 = 5_000;

/// All claims that have no field of their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OtherClaims(Map<String, Value>);

impl AdditionalClaims for OtherClaims {}

type ProviderIdToken = IdToken<
    OtherClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

type ProviderTokens = StandardTokenResponse<
    IdTokenFields<
        OtherClaims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

type ProviderClient = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    ProviderTokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// The provider, whose addresses and keys are asked for when they are needed.
#[derive(Debug)]
pub struct Provider {
    settings: OpenIdSettings,
    discovery: Mutex<Discovery>,
}

/// What is known of the provider.
#[derive(Debug, Default)]
struct Discovery {
    known: Option<Known>,
    /// The last failure to ask: when, ms, and why.
    failure: Option<Failure>,
}

#[derive(Debug, Clone)]
struct Known {
    client: Arc<ProviderClient>,
    http: ProviderHttp,
    at_ms: i64,
}

#[derive(Debug)]
struct Failure {
    at_ms: i64,
    why: String,
}

/// A sign-in that the browser is now sent to the provider for.
#[derive(Debug)]
pub struct BegunSignIn {
    /// Where the browser has to go.
    pub url: Url,
    /// The text that the provider hands back.
    pub state: String,
    pub nonce: Nonce,
    pub verifier: PkceCodeVerifier,
}

/// Why the provider did not say who signed in. The texts are for the log.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It cannot be asked now.
    #[error("the provider cannot be asked: {0}")]
    Unreachable(String),
    /// It says no, or what it says is not to be believed.
    #[error("{0}")]
    Refused(String),
}

/// The HTTP client for the provider.
#[derive(Debug, Clone)]
struct ProviderHttp(reqwest::Client);

/// Why a request to the provider failed.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("{0}")]
    Request(reqwest::Error),
    #[error("its answer is larger than {ANSWER_MAX} bytes")]
    TooLarge,
    #[error("its answer cannot be read: {0}")]
    Answer(#[from] openidconnect::http::Error),
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        // An address may carry a code.
        Self::Request(error.without_url())
    }
}

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut answer = self.0.execute(request.try_into()?).await?;
            let mut response = Response::builder().status(answer.status());
            for (name, value) in answer.headers() {
                response = response.header(name, value);
            }

            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await? {
                if body.len() + piece.len() > ANSWER_MAX {
                    return Err(HttpError::TooLarge);
                }

                body.extend_from_slice(&piece);
            }

            Ok(response.body(body)?)
        })
    }
}

impl ProviderHttp {
    fn new() -> Result<Self, reqwest::Error> {
        let client = trust_authorities(reqwest::Client::builder())
            .user_agent(concat!("callscope/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // It would lead our secret elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .build()?;

        Ok(Self(client))
    }
}

impl Provider {
    #[must_use]
    pub fn new(settings: OpenIdSettings) -> Self {
        Self {
            settings,
            discovery: Mutex::default(),
        }
    }

    /// The provider as it is known, asked at `now`, ms, if that is needed.
    async fn known(&self, now: i64) -> Result<Known, ProviderError> {
        let mut discovery = self.discovery.lock().await;
        let is_fresh = |known: &&Known| now < known.at_ms.saturating_add(KNOWN_FOR_MS);
        if let Some(known) = discovery.known.as_ref().filter(is_fresh) {
            return Ok(known.clone());
        }

        let known = self.ask_again(&mut discovery, now).await;
        // An old answer is better than none.
        match discovery.known.as_ref().filter(|_| known.is_err()) {
            Some(old) => Ok(old.clone()),
            None => known,
        }
    }

    /// The provider as it is known after it was asked anew, for a key that is not among those that
    /// are known.
    async fn known_anew(&self, now: i64) -> Result<Known, ProviderError> {
        let mut discovery = self.discovery.lock().await;
        let is_fresh = |known: &&Known| now < known.at_ms.saturating_add(ASK_AGAIN_AFTER_MS);
        if let Some(known) = discovery.known.as_ref().filter(is_fresh) {
            return Ok(known.clone());
        }

        self.ask_again(&mut discovery, now).await
    }

    /// Asks the provider for its addresses and keys, unless that failed a moment ago.
    async fn ask_again(&self, discovery: &mut Discovery, now: i64) -> Result<Known, ProviderError> {
        let is_fresh = |failed: &&Failure| now < failed.at_ms.saturating_add(ASK_AGAIN_AFTER_MS);
        if let Some(failure) = discovery.failure.as_ref().filter(is_fresh) {
            return Err(ProviderError::Unreachable(failure.why.clone()));
        }

        match self.ask(now).await {
            Ok(known) => {
                discovery.known = Some(known.clone());
                discovery.failure = None;
                Ok(known)
            }
            Err(why) => {
                tracing::warn!(
                    issuer = self.settings.issuer,
                    why,
                    "the provider of sign-ins \
                    cannot be asked"
                );
                discovery.failure = Some(Failure {
                    at_ms: now,
                    why: why.clone(),
                });
                Err(ProviderError::Unreachable(why))
            }
        }
    }

    /// Asks the provider for its addresses and keys. The error is in words.
    async fn ask(&self, now: i64) -> Result<Known, String> {
        let settings = &self.settings;
        let http = ProviderHttp::new().map_err(|error| words_of_error(&error))?;
        let issuer = IssuerUrl::new(settings.issuer.clone());
        let issuer = issuer.map_err(|error| words_of_error(&error))?;
        let redirect_url = RedirectUrl::new(settings.redirect_url.clone());
        let redirect_url = redirect_url.map_err(|error| words_of_error(&error))?;
        let metadata = CoreProviderMetadata::discover_async(issuer, &http).await;
        let metadata = metadata.map_err(|error| words_of_error(&error))?;
        let secret = settings.client_secret.clone();
        let client_id = ClientId::new(settings.client_id.clone());
        let client = ProviderClient::from_provider_metadata(metadata, client_id, secret)
            .set_redirect_uri(redirect_url);

        Ok(Known {
            client: Arc::new(client),
            http,
            at_ms: now,
        })
    }

    /// Begins a sign-in at `now`, ms.
    ///
    /// # Errors
    /// The provider cannot be asked.
    pub async fn begin_sign_in(&self, now: i64) -> Result<BegunSignIn, ProviderError> {
        let known = self.known(now).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        let (url, state, nonce) = known
            .client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                || CsrfToken::new(new_secret()),
                || Nonce::new(new_secret()),
            )
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();

        Ok(BegunSignIn {
            url,
            state: state.into_secret(),
            nonce,
            verifier,
        })
    }

    /// The claims of whoever signed in, for the code that the browser brought back. Where the token
    /// does not have `wanted`, the provider is asked for more.
    ///
    /// # Errors
    /// The provider cannot be asked, says no, or what it says is not to be believed.
    pub async fn claims_of_code(
        &self,
        code: String,
        verifier: PkceCodeVerifier,
        nonce: &Nonce,
        wanted: &str,
        now: i64,
    ) -> Result<Map<String, Value>, ProviderError> {
        let known = self.known(now).await?;
        let request = known
            .client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| ProviderError::Refused(words_of_error(&error)))?
            .set_pkce_verifier(verifier);
        let tokens = request.request_async(&known.http).await;
        let tokens = tokens.map_err(|error| match error {
            RequestTokenError::Request(error) => ProviderError::Unreachable(words_of_error(&error)),
            error => ProviderError::Refused(words_of_error(&error)),
        })?;

        let id_token = tokens.id_token().ok_or_else(|| {
            ProviderError::Refused("the provider gave no token of who it is".to_owned())
        })?;
        let access_token = tokens.access_token();
        let believed = match verify_token(&known, id_token, access_token, nonce, now) {
            // The provider may have new keys.
            Err(TokenFault::Signature(_)) => {
                let known = self.known_anew(now).await?;
                verify_token(&known, id_token, access_token, nonce, now)
            }
            other => other,
        };

        let claims = believed.map_err(|fault| ProviderError::Refused(fault.into_words()))?;
        if claims.contains_key(wanted) || known.client.user_info_url().is_none() {
            return Ok(claims);
        }

        ask_for_more(&known, access_token, &claims).await
    }
}

/// Why a token is not to be believed.
#[derive(Debug)]
enum TokenFault {
    /// It is not signed with a key that is known.
    Signature(String),
    Other(String),
}

impl TokenFault {
    fn into_words(self) -> String {
        let (Self::Signature(words) | Self::Other(words)) = self;
        words
    }
}

/// The claims of a token: it must be signed by the provider, be for us, be still good at `now`, ms,
/// and answer this sign-in.
fn verify_token(
    known: &Known,
    id_token: &ProviderIdToken,
    access_token: &AccessToken,
    nonce: &Nonce,
    now: i64,
) -> Result<Map<String, Value>, TokenFault> {
    let time = UNIX_EPOCH + Duration::from_millis(now.unsigned_abs());
    let verifier = known
        .client
        .id_token_verifier()
        .set_time_fn(move || time.into());
    let claims = id_token.claims(&verifier, nonce).map_err(|error| {
        let words = words_of_error(&error);
        match error {
            ClaimsVerificationError::SignatureVerification(_) => TokenFault::Signature(words),
            _ => TokenFault::Other(words),
        }
    })?;

    if let Some(expected) = claims.access_token_hash() {
        let other = |words: String| TokenFault::Other(words);
        let algorithm = id_token.signing_alg();
        let algorithm = algorithm.map_err(|error| other(words_of_error(&error)))?;
        let key = id_token.signing_key(&verifier);
        let key = key.map_err(|error| other(words_of_error(&error)))?;
        let hash = AccessTokenHash::from_token(access_token, algorithm, key);
        let hash = hash.map_err(|error| other(words_of_error(&error)))?;
        if hash != *expected {
            return Err(other("the two tokens do not belong together".to_owned()));
        }
    }

    match serde_json::to_value(claims) {
        Ok(Value::Object(claims)) => Ok(claims),
        _ => Err(TokenFault::Other("the token has no claims".to_owned())),
    }
}

/// What the provider tells of the person beside the token.
async fn ask_for_more(
    known: &Known,
    access_token: &AccessToken,
    claims: &Map<String, Value>,
) -> Result<Map<String, Value>, ProviderError> {
    let refused = |words: String| ProviderError::Refused(words);
    let subject = claims.get("sub").and_then(Value::as_str);
    let subject = subject.ok_or_else(|| refused("the token names nobody".to_owned()))?;
    let subject = SubjectIdentifier::new(subject.to_owned());
    let request = known.client.user_info(access_token.clone(), Some(subject));
    let request = request.map_err(|error| refused(words_of_error(&error)))?;
    let more: Result<UserInfoClaims<OtherClaims, CoreGenderClaim>, _> =
        request.request_async(&known.http).await;
    let more = more.map_err(|error| refused(words_of_error(&error)))?;

    match serde_json::to_value(more) {
        Ok(Value::Object(more)) => Ok(more),
        _ => Err(refused(
            "the provider tells nothing of the person".to_owned(),
        )),
    }
}

/// An error with its causes, in one line.
fn words_of_error(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }

    let is_plain = |sign: &char| !sign.is_control();
    words.chars().filter(is_plain).take(300).collect()
}

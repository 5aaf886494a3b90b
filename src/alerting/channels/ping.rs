//! A dead man's switch: an address that is asked regularly as long as we observe well. When no
//! request comes, the service behind it tells somebody (the form of healthchecks.io).

use super::SendError;
use super::http::send_request;
use url::Url;

#[derive(Debug, Clone)]
pub struct PingChannel {
    pub(super) http: reqwest::Client,
    pub(super) url: Url,
    /// How often it is asked, ms.
    pub(in crate::alerting) every_ms: i64,
}

impl PingChannel {
    /// Asks the address once.
    pub(in crate::alerting) async fn send(&self) -> Result<Option<String>, SendError> {
        send_request(self.http.get(self.url.clone())).await?;

        Ok(None)
    }
}

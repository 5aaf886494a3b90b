//! Lets the pages stand below a path, as in `https://example.org/callscope/`. Inside, every address
//! begins at `/`; the path is taken away from requests and put before links.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::uri::{PathAndQuery, Uri};
use actix_web::middleware::Next;
use std::sync::Arc;
use url::Url;

/// What stands before a path of ours in a page. The value of an attribute has no quote in it, so
/// this stands nowhere else.
const LINKS: [&str; 4] = ["href=\"/", "src=\"/", "action=\"/", "data-stream=\"/"];

/// The path below which the pages stand, without `/` at its end; empty if it is the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// The path of the public URL.
    #[must_use]
    pub fn from_public_url(public_url: Option<&str>) -> Self {
        let url = public_url.and_then(|url| Url::parse(url).ok());
        let path = url.map(|url| url.path().trim_end_matches('/').to_owned());

        Self(path.unwrap_or_default().into())
    }

    /// Are the pages at the root?
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The address without the path, as a proxy would pass it on that takes the path away; `None` if
    /// it does not begin with the path.
    fn strip_from_address<'a>(&self, address: &'a str) -> Option<&'a str> {
        let rest = address.strip_prefix(&*self.0)?;
        let is_whole_name = rest.is_empty() || rest.starts_with(['/', '?']);

        is_whole_name.then_some(rest)
    }

    /// The page with the path before each address of ours.
    #[must_use]
    pub fn prefix_links(&self, page: String) -> String {
        if self.is_root() {
            return page;
        }

        LINKS.iter().fold(page, |page, link| {
            let (attribute, _) = link.split_at(link.len() - 1);
            page.replace(link, &format!("{attribute}{}/", self.0))
        })
    }

    /// The address of ours with the path before it; `None` if it is no address of ours.
    fn prefix_address(&self, address: &str) -> Option<String> {
        address
            .starts_with('/')
            .then(|| format!("{}{address}", self.0))
    }
}

/// Takes the path away from the address of a request, and puts it before the address that an answer
/// leads on to. A request without the path is answered, too: many proxies take it away.
///
/// # Errors
/// Those of the service.
pub async fn serve_below_path(
    base: BasePath,
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if base.is_root() {
        return next.call(req).await;
    }

    if let Some(uri) = uri_without_path(&base, req.uri()) {
        req.match_info_mut().get_mut().update(&uri);
        req.head_mut().uri = uri;
    }

    let mut response = next.call(req).await?;
    let location = response.headers().get(header::LOCATION);
    let location = location.and_then(|address| base.prefix_address(address.to_str().ok()?));
    if let Some(Ok(address)) = location.map(|address| HeaderValue::from_str(&address)) {
        response.headers_mut().insert(header::LOCATION, address);
    }

    Ok(response)
}

/// The address without the path; `None` if it does not begin with it.
fn uri_without_path(base: &BasePath, uri: &Uri) -> Option<Uri> {
    let address = uri.path_and_query()?.as_str();
    let rest = base.strip_from_address(address)?;
    let rest = if rest.starts_with('/') {
        rest.to_owned()
    } else {
        format!("/{rest}")
    };

    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest.parse::<PathAndQuery>().ok()?);

    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> BasePath {
        BasePath::from_public_url(Some("https://example.org/our/calls/"))
    }

    #[test]
    fn a_root_has_no_path() {
        for url in [
            None,
            Some("https://example.org"),
            Some("https://example.org/"),
        ] {
            assert!(BasePath::from_public_url(url).is_root());
        }
    }

    #[test]
    fn the_path_is_taken_from_addresses_that_begin_with_it() {
        let without = |address: &str| {
            uri_without_path(&base(), &address.parse().unwrap()).map(|uri| uri.to_string())
        };

        assert_eq!(
            without("/our/calls/rooms?q=a").as_deref(),
            Some("/rooms?q=a")
        );
        assert_eq!(without("/our/calls").as_deref(), Some("/"));
        assert_eq!(without("/our/calls?q=a").as_deref(), Some("/?q=a"));
        assert_eq!(without("/our/calls/").as_deref(), Some("/"));
        for other in ["/", "/rooms", "/our/callsign", "/our", "/x/our/calls"] {
            assert_eq!(without(other), None, "{other}");
        }
    }

    #[test]
    fn links_of_ours_get_the_path_and_others_do_not() {
        let page = "<a href=\"/calls\">/calls</a> <img src=\"/static/a.svg\"> \
                    <form action=\"/sign-in\"> <a href=\"#here\"> <a href=\"https://a.example/\">";
        assert_eq!(
            base().prefix_links(page.to_owned()),
            "<a href=\"/our/calls/calls\">/calls</a> <img src=\"/our/calls/static/a.svg\"> \
             <form action=\"/our/calls/sign-in\"> <a href=\"#here\"> \
             <a href=\"https://a.example/\">"
        );
    }
}

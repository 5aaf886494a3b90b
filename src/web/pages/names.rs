//! Names of people and servers in parameters, in any case.

use crate::store::read::person::find_known_person;
use crate::store::stats::distributions::find_known_server;
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;

/// The server that the parameter `server` names, as it is known; `None` if it is not given.
///
/// # Errors
/// When the database fails.
pub(super) async fn server_of_query(web: &Web, query: &Query) -> Result<Option<String>, Error> {
    let Some(asked) = query.get("server") else {
        return Ok(None);
    };

    let known = find_known_server(&web.store, asked).await?;

    Ok(Some(known.unwrap_or_else(|| asked.to_lowercase())))
}

/// The person whom this parameter names by id, as the id is known; `None` if it is not given.
///
/// # Errors
/// When the database fails.
pub(super) async fn person_of_query(
    web: &Web,
    query: &Query,
    parameter: &str,
) -> Result<Option<String>, Error> {
    let Some(asked) = query.get(parameter) else {
        return Ok(None);
    };

    let known = find_known_person(&web.store, asked).await?;

    Ok(Some(known.unwrap_or_else(|| asked.to_owned())))
}

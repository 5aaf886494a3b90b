//! The parameter `space`: a page about the rooms of one space alone.

use crate::store::ingest::{rooms, spaces};
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::view::RoomRef;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// A space whose rooms are watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SpaceFacts {
    pub room: RoomRef,
    /// How many of its rooms are known.
    pub rooms: i64,
}

/// A choice of the list: all rooms, or those of one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceChoice {
    pub title: String,
    pub href: String,
    pub is_chosen: bool,
}

/// The site with nothing but the rooms of the space in the parameter `space`, an id or an alias;
/// the site as it is if none is given.
///
/// # Errors
/// As [`rooms_of_asked_space`].
pub(in crate::web) async fn site_of_space(web: &Web, query: &Query) -> Result<Web, Error> {
    let Some(room_ids) = rooms_of_asked_space(web, query).await? else {
        return Ok(web.clone());
    };

    Ok(Web {
        store: web.store.within_rooms(&room_ids).await?,
        ..web.clone()
    })
}

/// The rooms of the space in the parameter `space`, which may be an alias; `None` if none is given.
///
/// # Errors
/// When the viewer sees no such space, or the database fails.
pub(super) async fn rooms_of_asked_space(
    web: &Web,
    query: &Query,
) -> Result<Option<BTreeSet<String>>, Error> {
    let Some(asked) = query.get("space") else {
        return Ok(None);
    };
    let found = rooms::find_room_name(&web.store, asked).await?;
    let space_id = found.map_or_else(|| asked.to_owned(), |room| room.room_id);
    let room_ids = spaces::rooms_of_space(&web.store, &space_id).await?;
    if room_ids.is_empty() {
        return Err(Error::NotFound(
            "No space whose rooms are watched has this id or alias.".to_owned(),
        ));
    }

    Ok(Some(room_ids))
}

/// The spaces that the viewer may see, by name.
///
/// # Errors
/// When the database fails.
pub(super) async fn list_space_facts(web: &Web) -> Result<Vec<SpaceFacts>, Error> {
    let found = spaces::list_spaces(&web.store).await?;
    let facts = found.into_iter().map(|space| SpaceFacts {
        room: space.room.into(),
        rooms: space.rooms,
    });

    Ok(facts.collect())
}

/// The choices of space on the page at this path; none if there is no space.
pub(super) fn space_choices(spaces: &[SpaceFacts], path: &str, query: &Query) -> Vec<SpaceChoice> {
    if spaces.is_empty() {
        return Vec::new();
    }

    let asked = query.get("space");
    let choice = |title: &str, id: Option<&str>, is_chosen: bool| {
        let add = id.map(|id| ("space", id));
        SpaceChoice {
            title: title.to_owned(),
            href: format!("{path}{}", query.with(&["space", "cursor"], add)),
            is_chosen,
        }
    };
    let all = choice("All rooms", None, asked.is_none());
    let spaces = spaces.iter().map(|space| {
        let id = space.room.room_id.as_str();
        let is_chosen =
            asked.is_some_and(|asked| asked == id || Some(asked) == space.room.alias.as_deref());
        choice(space.room.title(), Some(id), is_chosen)
    });

    std::iter::once(all).chain(spaces).collect()
}

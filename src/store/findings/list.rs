//! Lists of stored findings, newest first, by any filter.

use super::derive::StoredFinding;
use crate::rtc::finding_kind::{FindingKind, Sureness};
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::MultiRow;
use crate::store::db::select_text::SelectText;
use crate::store::{Error, Reader};
use sqlx::Row;
use std::collections::HashMap;

json_row! {
    /// A row of `findings f`.
    struct FindingRow {
        id: String = "f.id",
        room_id: String = "f.room_id",
        call_id: String = "f.call_id",
        kind: FindingKind = "f.kind",
        certainty: Sureness = "f.certainty",
        from_ms: i64 = "f.from_ms",
        until_ms: i64 = "f.until_ms",
        server: String = "f.server",
        sfu: Option<String> = "f.sfu",
    }
}

/// Which findings a list asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingFilter {
    pub kind: Option<FindingKind>,
    pub sure: Option<Sureness>,
    pub room: Option<String>,
    /// About somebody of this homeserver.
    pub server: Option<String>,
    /// About this user.
    pub user: Option<String>,
    /// About the SFU of this host.
    pub sfu: Option<String>,
    /// Findings that lasted until this time or later, ms.
    pub from_ms: Option<i64>,
    /// Findings that began before this time, ms.
    pub to_ms: Option<i64>,
    /// Findings that were over by this time, ms.
    pub over_by_ms: Option<i64>,
}

impl FindingFilter {
    /// The filter with the findings that were over by this time, ms, alone.
    #[must_use]
    pub fn over_by(self, ms: i64) -> Self {
        Self {
            over_by_ms: Some(ms),
            ..self
        }
    }

    /// Does a finding match?
    #[must_use]
    pub fn matches(&self, finding: &StoredFinding) -> bool {
        use crate::rtc::id::server_of;
        let is =
            |asked: &Option<String>, one: &str| asked.as_deref().is_none_or(|asked| asked == one);
        let is_of_server = self.server.as_deref().is_none_or(|server| {
            finding.server == server || finding.users.iter().any(|user| server_of(user) == server)
        });
        let is_of_user = self
            .user
            .as_ref()
            .is_none_or(|user| finding.users.contains(user));

        self.kind.is_none_or(|kind| kind == finding.kind)
            && self.sure.is_none_or(|sure| sure == finding.sure)
            && is(&self.room, &finding.room_id)
            && is_of_server
            && is_of_user
            && is(&self.sfu, finding.sfu.as_deref().unwrap_or_default())
            && self
                .from_ms
                .is_none_or(|from| finding.until_ms.is_none_or(|until| until >= from))
            && self.to_ms.is_none_or(|to| finding.from_ms < to)
            && self
                .over_by_ms
                .is_none_or(|by| finding.until_ms.is_some_and(|until| until <= by))
    }

    /// Appends the conditions, each as ` and …`.
    fn push_conditions(&self, select: &mut SelectText) {
        if let Some(kind) = self.kind {
            select.push(" and f.kind = ").text(kind.as_str());
        }

        if let Some(sure) = self.sure {
            select.push(" and {f.certainty} = ").text(sure.as_str());
        }

        if let Some(room) = &self.room {
            select.push(" and f.room_id = ").text(room);
        }

        if let Some(server) = &self.server {
            select
                .push(" and f.id in (select p.finding_id from finding_people p where p.server = ")
                .text(server)
                .push(")");
        }

        if let Some(user) = &self.user {
            select
                .push(" and f.id in (select p.finding_id from finding_people p where p.user_id = ")
                .text(user)
                .push(")");
        }

        if let Some(sfu) = &self.sfu {
            select.push(" and f.sfu = ").text(sfu);
        }

        if let Some(from) = self.from_ms {
            select.push(" and {f.until_ms} >= ").number(from);
        }

        if let Some(to) = self.to_ms {
            select.push(" and f.from_ms < ").number(to);
        }

        if let Some(by) = self.over_by_ms {
            select.push(" and {f.until_ms} <= ").number(by);
        }
    }
}

/// A place in a list of findings, newest first: the last one already shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FindingPlace {
    pub from_ms: i64,
    pub id: String,
}

/// The stored findings that match, newest first, after `after`; `None` = from the newest. At most
/// `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_findings(
    store: &Reader,
    filter: &FindingFilter,
    after: Option<&FindingPlace>,
    limit: i64,
) -> Result<Vec<StoredFinding>, Error> {
    let mut select = SelectText::new(
        store.dialect(),
        sql!(
            "select string_agg(found.finding, '') from (select ",
            FindingRow::TEXT,
            " as finding from findings f where 1 = 1"
        ),
    );
    if let Some(place) = after {
        select
            .push(" and (f.from_ms, f.id) < (")
            .number(place.from_ms)
            .push(", ")
            .text(&place.id)
            .push(")");
    }

    filter.push_conditions(&mut select);
    select
        .push(" order by f.from_ms desc, f.id desc limit ")
        .number(limit)
        .push(") as found");
    let rows = select.statement().fetch_all(&store.read).await?;
    let found = read_rows(&rows, finding_from_row)?;

    with_people(store, found).await
}

/// The number of stored findings that match, up to `most`.
///
/// # Errors
/// When the database fails.
pub async fn count_findings(
    store: &Reader,
    filter: &FindingFilter,
    most: i64,
) -> Result<i64, Error> {
    let mut select = SelectText::new(
        store.dialect(),
        "select count(*) from (select 1 as one from findings f where 1 = 1",
    );
    filter.push_conditions(&mut select);
    select.push(" limit ").number(most).push(") as found");
    let row = select.statement().fetch_one(&store.read).await?;

    Ok(row.try_get(0)?)
}

const BY_ID: &str = sql!(
    "select ",
    FindingRow::LIST,
    " from findings f where f.id = $1"
);

/// The stored finding with this id; `None` if there is none.
///
/// # Errors
/// When the database fails.
pub async fn find_finding(store: &Reader, id: &str) -> Result<Option<StoredFinding>, Error> {
    let query = store.dialect().query(BY_ID);
    let rows = query.bind(id).fetch_all(&store.read).await?;
    let found = read_rows(&rows, finding_from_row)?;

    Ok(with_people(store, found).await?.pop())
}

// Only what is left over in a room outlasts its call.
// The newest first, so that none of long ago keeps others out.
// Of a room that is not read any more, it is not known whether it still lasts.
const OUTLASTED: &str = "select call_id from findings where kind = $1 and until_ms > $2
    and room_id in (select r.room_id from rooms r where r.watch in ('joined', 'peeked'))
    group by call_id order by max(from_ms) desc, call_id limit $3";

/// The ids of the calls that are over and of which a stored finding lasts at `now`, ms, as far as
/// was known when it was stored; at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn list_outlasted_calls(
    store: &Reader,
    now: i64,
    most: i64,
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(OUTLASTED)
        .bind(FindingKind::LeftOver.as_str())
        .bind(now)
        .bind(most)
        .fetch_all(&store.read)
        .await?)
}

const BY_KIND: &str = "select kind, count(*) from findings group by kind order by kind";

/// The number of stored findings of each kind.
///
/// # Errors
/// When the database fails.
pub async fn count_by_kind(store: &Reader) -> Result<Vec<(FindingKind, i64)>, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(BY_KIND).fetch_all(&store.read).await?;
    let counted = rows
        .into_iter()
        .filter_map(|(kind, count)| Some((kind.parse().ok()?, count)));

    Ok(counted.collect())
}

fn finding_from_row(row: FindingRow) -> StoredFinding {
    StoredFinding {
        id: row.id,
        room_id: row.room_id,
        call_id: row.call_id,
        kind: row.kind,
        sure: row.certainty,
        from_ms: row.from_ms,
        until_ms: Some(row.until_ms),
        server: row.server,
        sfu: row.sfu,
        users: Vec::new(),
    }
}

static PEOPLE: MultiRow = MultiRow::new(
    "select finding_id, user_id from finding_people where finding_id in (",
    "?",
    ")",
);

/// The findings with the users whom they are about.
async fn with_people(
    store: &Reader,
    mut found: Vec<StoredFinding>,
) -> Result<Vec<StoredFinding>, Error> {
    if found.is_empty() {
        return Ok(found);
    }

    let ids: Vec<&str> = found.iter().map(|finding| finding.id.as_str()).collect();
    let mut connection = store.read.acquire().await?;
    let mut people: HashMap<String, Vec<String>> = HashMap::new();
    for row in PEOPLE.read_by_ids(&mut connection, &ids).await? {
        people
            .entry(row.try_get("finding_id")?)
            .or_default()
            .push(row.try_get("user_id")?);
    }

    for finding in &mut found {
        finding.users = people.remove(&finding.id).unwrap_or_default();
        finding.users.sort_unstable();
    }

    Ok(found)
}

//! The titles of rooms that have neither name nor alias: the names of their people. They stand in a
//! table of their own, because not everybody who may see a room may see who is in it.

use crate::rtc::room_title::{NAMED_MAX, PeopleOfRoom, TitlePerson, title_of_people};
use crate::store::{Error, Tx, Writer, to_i64, to_usize};
use sqlx::Row;
use sqlx::any::AnyRow;

/// The title of the room `r` by its people; null if it has a name or an alias, or if the viewer may
/// not see who is in it.
macro_rules! people_title {
    () => {
        "(select rt.title from room_titles rt where rt.room_id = r.room_id)"
    };
}
pub(in crate::store) use people_title;

/// The columns of the room `r` that [`RoomName::from_row`](crate::store::model::RoomName) reads.
macro_rules! room_name {
    () => {
        concat!(
            "r.room_id, r.name, r.alias, ",
            $crate::store::derive::room_titles::people_title!(),
            " as people_title"
        )
    };
}
pub(in crate::store) use room_name;

const NAMED: &str = "select case when name is null and alias is null then 0 else 1 end as named,
    members_ms, (select count(*) from room_titles t where t.room_id = rooms.room_id) as titled
    from rooms where room_id = $1";
const DELETE: &str = "delete from room_titles where room_id = $1";
const STORE: &str = "insert into room_titles (room_id, title, folded) values ($1, $2, $3)
    on conflict (room_id) do update set title = excluded.title, folded = excluded.folded
    where room_titles.title <> excluded.title";

// Our own accounts do not count.
const PRESENT: &str = "select m.user_id, p.name from room_members m
    left join people p on p.room_id = m.room_id and p.user_id = m.user_id
    where m.room_id = $1 and m.joined = 1 and m.user_id not in (select v.user_id from vantages v)
    order by m.user_id limit $2";
const PRESENT_COUNT: &str = "select count(*) from room_members m where m.room_id = $1
    and m.joined = 1 and m.user_id not in (select v.user_id from vantages v)";
// Only who joined once has a row among the people; others were just invited, or banned.
const FORMER: &str = "select m.user_id, p.name from room_members m
    join people p on p.room_id = m.room_id and p.user_id = m.user_id
    where m.room_id = $1 and m.joined = 0 and m.user_id not in (select v.user_id from vantages v)
    order by m.user_id limit $2";
const CALLERS: &str = "select c.user_id, p.name from (select distinct sender as user_id from chains
        where room_id = $1) as c
    left join people p on p.room_id = $1 and p.user_id = c.user_id
    order by c.user_id limit $2";
const CALLERS_COUNT: &str = "select count(distinct sender) from chains where room_id = $1";

const UNCOUNTED: &str = "select count(*) from rooms where room_id = $1
    and name is null and alias is null and members_ms is null";
const UNTITLED: &str = "select r.room_id from rooms r where r.name is null and r.alias is null
    and r.watch <> 'blind'
    and not exists (select 1 from room_titles t where t.room_id = r.room_id)";

/// Rooms that get their titles in one transaction.
const TITLED_AT_ONCE: usize = 100;

/// Makes the titles of the rooms that have none yet: an older version stored them.
///
/// # Errors
/// When the database fails.
pub async fn add_missing_titles(store: &Writer) -> Result<(), Error> {
    let room_ids: Vec<String> = sqlx::query_scalar(UNTITLED).fetch_all(&store.write).await?;
    for portion in room_ids.chunks(TITLED_AT_ONCE) {
        let mut tx = store.writing().await?;
        for room_id in portion {
            refresh_room_title(&mut tx, room_id).await?;
        }

        tx.commit().await?;
    }

    Ok(())
}

/// Makes the title of a room again from the people who are in it, or deletes it if the room has a
/// name or an alias.
pub(in crate::store) async fn refresh_room_title(tx: &mut Tx, room_id: &str) -> Result<(), Error> {
    let Some(room) = sqlx::query(NAMED)
        .bind(room_id)
        .fetch_optional(&mut **tx)
        .await?
    else {
        return Ok(());
    };

    let is_named = room.try_get::<i64, _>("named")? != 0;
    let is_counted = room.try_get::<Option<i64>, _>("members_ms")?.is_some();
    let title = if is_named {
        None
    } else {
        title_of_people(&read_people(tx, room_id, is_counted).await?)
    };

    match title {
        Some(title) => {
            let folded = title.to_lowercase();
            sqlx::query(STORE)
                .bind(room_id)
                .bind(title)
                .bind(folded)
                .execute(&mut **tx)
                .await?;
        }
        None if room.try_get::<i64, _>("titled")? == 0 => {}
        None => {
            sqlx::query(DELETE).bind(room_id).execute(&mut **tx).await?;
        }
    }

    Ok(())
}

/// Makes the title of a room again after somebody came into a call or left one. Only where nobody
/// counted the members, the people of its calls stand for them.
pub(in crate::store) async fn refresh_title_by_callers(
    tx: &mut Tx,
    room_id: &str,
) -> Result<(), Error> {
    let uncounted: i64 = sqlx::query_scalar(UNCOUNTED)
        .bind(room_id)
        .fetch_one(&mut **tx)
        .await?;
    if uncounted == 0 {
        return Ok(());
    }

    refresh_room_title(tx, room_id).await
}

/// Who is or was in the room. If nobody is known to be in it and its members were never counted,
/// these are the people of its calls.
async fn read_people(tx: &mut Tx, room_id: &str, is_counted: bool) -> Result<PeopleOfRoom, Error> {
    let present = read_first(tx, PRESENT, room_id).await?;
    if present.is_empty() && !is_counted {
        return Ok(PeopleOfRoom {
            present: read_first(tx, CALLERS, room_id).await?,
            present_count: count_people(tx, CALLERS_COUNT, room_id).await?,
            is_incomplete: true,
            ..PeopleOfRoom::default()
        });
    }

    let present_count = count_people(tx, PRESENT_COUNT, room_id).await?;
    let former = if present.is_empty() {
        read_first(tx, FORMER, room_id).await?
    } else {
        Vec::new()
    };

    Ok(PeopleOfRoom {
        present,
        present_count,
        former,
        is_incomplete: !is_counted,
    })
}

/// How many people a statement counts.
async fn count_people(tx: &mut Tx, statement: &'static str, room_id: &str) -> Result<usize, Error> {
    let count: i64 = sqlx::query_scalar(statement)
        .bind(room_id)
        .fetch_one(&mut **tx)
        .await?;

    Ok(to_usize(count))
}

/// The first people of a statement, as many as a title names.
async fn read_first(
    tx: &mut Tx,
    statement: &'static str,
    room_id: &str,
) -> Result<Vec<TitlePerson>, Error> {
    let rows = sqlx::query(statement)
        .bind(room_id)
        .bind(to_i64(NAMED_MAX))
        .fetch_all(&mut **tx)
        .await?;

    rows.iter().map(person_from_row).collect()
}

fn person_from_row(row: &AnyRow) -> Result<TitlePerson, Error> {
    Ok(TitlePerson {
        user_id: row.try_get("user_id")?,
        name: row.try_get("name")?,
    })
}

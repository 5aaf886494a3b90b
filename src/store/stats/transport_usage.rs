//! How much each transport was used within a span of time.

use super::ghost_time::Gone;
use super::spans::{seen_from, seen_until, sign_from};
use super::unobserved;
use crate::rtc::coverage::{Span, blind_ms_within};
use crate::rtc::transport::{Selection, Transport, TransportStay, transports_in_use};
use crate::store::{Error, Reader};
use futures_util::TryStreamExt;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How much one transport was used within a span. `service_url` is the address that members state,
/// or else the key of its SFU. It is null if a type has neither.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportUsage {
    pub kind: String,
    pub service_url: Option<String>,
    pub calls: i64,
    pub devices: i64,
    pub people: i64,
    /// Device time, ms; and the same without the time after the last sign of a device that never
    /// left.
    pub together_ms: i64,
    pub together_seen_ms: i64,
    pub servers: BTreeSet<String>,
    /// Devices that use it now, and when it was last used, ms.
    pub now: i64,
    pub last_ms: i64,
}

const ROOMS: &str = "select distinct m.room_id from memberships m
    where m.until_ms > $1 and m.joined_ms < $2 and m.until_ms > m.joined_ms";
const STAYS: &str = concat!(
    "select m.session_id, m.room_id, m.user_id, m.device_id, m.chain, m.server, m.joined_ms,
        m.join_event_id, m.until_ms, m.transport_type, m.transport_url, m.selection, ",
    seen_from!(),
    " as seen_from, ",
    sign_from!(),
    " as sign_from, ",
    seen_until!("$3"),
    " as seen_until
    from memberships m where m.until_ms > $1 and m.joined_ms < $2 and m.until_ms > m.joined_ms
    and m.session_id is not null order by m.session_id, m.joined_ms, m.user_id, m.device_id, m.id"
);

/// The users of a transport, while it is being summed.
#[derive(Debug, Default)]
struct UsageSum {
    carried: TransportUsage,
    devices: HashSet<(String, String)>,
    now: HashSet<(String, String)>,
    people: HashSet<String>,
}

/// How much each transport was used within a span, as known at `now`, ms, most used first; and the
/// device time without a known transport, ms. The transport of a member depends on all stays of its
/// call, so they are read one by one: the cost follows the number of stays in the span. For the
/// devices of `gone`, an SFU carries nothing.
///
/// # Errors
/// When the database fails.
pub async fn usage_by_transport(
    store: &Reader,
    span: Span,
    now: i64,
    gone: &Gone,
) -> Result<(Vec<TransportUsage>, i64), Error> {
    let rooms: Vec<String> = sqlx::query_scalar(ROOMS)
        .bind(span.from)
        .bind(span.to)
        .fetch_all(&store.read)
        .await?;
    let rooms: BTreeSet<String> = rooms.into_iter().collect();
    let blind = unobserved::unobserved_spans_by_room(store, &rooms, span, now).await?;
    let mut found: BTreeMap<Option<(String, Option<String>)>, UsageSum> = BTreeMap::new();
    read_stays_by_call(store, span, now, gone, |call| {
        add_stays_of_call(&mut found, call, &blind, span, now);
    })
    .await?;
    let without = found
        .remove(&None)
        .map_or(0, |using| using.carried.together_ms);
    let done =
        |((kind, service_url), using): ((String, Option<String>), UsageSum)| TransportUsage {
            kind,
            service_url,
            devices: crate::store::to_i64(using.devices.len().max(using.now.len())),
            people: crate::store::to_i64(using.people.len()),
            now: crate::store::to_i64(using.now.len()),
            ..using.carried
        };

    let mut list: Vec<TransportUsage> = found
        .into_iter()
        .filter_map(|(key, using)| Some(done((key?, using))))
        .collect();
    list.sort_by(|a, b| (b.together_ms, &a.service_url).cmp(&(a.together_ms, &b.service_url)));

    Ok((list, without))
}

/// Reads the stays of a span, as known at `now`, ms, and hands over those of each call together:
/// the transport of a member depends on all of them. A device of `gone` was heard until it was last
/// heard.
pub(super) async fn read_stays_by_call(
    store: &Reader,
    span: Span,
    now: i64,
    gone: &Gone,
    mut add_call: impl FnMut(&[StayRow]),
) -> Result<(), Error> {
    let mut rows = sqlx::query(STAYS)
        .bind(span.from)
        .bind(span.to)
        .bind(now)
        .fetch(&store.read);
    let mut call: Vec<StayRow> = Vec::new();
    let mut known = String::new();
    while let Some(row) = rows.try_next().await? {
        let session: String = row.try_get("session_id")?;
        if known != session {
            add_call(&std::mem::take(&mut call));
            known = session;
        }

        let mut stay = StayRow::read(&row)?;
        stay.hear(&row, gone)?;
        call.push(stay);
    }

    add_call(&call);

    Ok(())
}

/// A stay with what its use of a transport follows from.
pub(super) struct StayRow {
    room_id: String,
    pub user_id: String,
    device_id: Option<String>,
    member_key: String,
    pub server: String,
    pub stay: TransportStay,
    /// The span in which it was really seen, ms; empty or backwards if it never was.
    pub seen_from: i64,
    pub seen_until: i64,
}

impl StayRow {
    /// The stay in this row of [`STAYS`]. Its seen span does not know of ghosts yet, see
    /// [`Self::hear`].
    pub fn read(row: &sqlx::any::AnyRow) -> Result<Self, Error> {
        let kind: Option<String> = row.try_get("transport_type")?;
        let address: Option<String> = row.try_get("transport_url")?;
        let server: String = row.try_get("server")?;
        let transport = kind.map(|kind| Transport::stored(kind, address, &server));
        let selection = Selection::from_word(row.try_get("selection")?);
        let seen_from: i64 = row.try_get("seen_from")?;
        let sign_from: i64 = row.try_get("sign_from")?;

        Ok(Self {
            room_id: row.try_get("room_id")?,
            user_id: row.try_get("user_id")?,
            device_id: row.try_get("device_id")?,
            member_key: row.try_get("chain")?,
            server,
            // Since a start may be refuted, or only claimed, it has two columns. The one column of
            // an end covers all cases.
            seen_from: seen_from.max(sign_from),
            seen_until: row.try_get("seen_until")?,
            stay: TransportStay {
                joined_ms: row.try_get("joined_ms")?,
                until_ms: row.try_get("until_ms")?,
                transport,
                selection,
            },
        })
    }

    /// Ends the seen span of a stay at the time when its device was last heard, if the stay still
    /// counts though its device is probably gone.
    pub fn hear(&mut self, row: &sqlx::any::AnyRow, gone: &Gone) -> Result<(), Error> {
        if gone.ghosts.is_empty() {
            return Ok(());
        }

        let heard_ms = gone.heard_ms(&self.room_id, row.try_get("join_event_id")?, &self.user_id);
        self.seen_until = heard_ms.map_or(self.seen_until, |ms| ms.min(self.seen_until));

        Ok(())
    }
}

/// How much of the span `seen` was observed, ms. The unobserved spans (`blind`) are in order and do
/// not overlap.
fn observed_ms(blind: Option<&Vec<Span>>, seen: Span) -> i64 {
    let unseen_ms = blind.map_or(0, |blind| blind_ms_within(blind, seen));

    (seen.to - seen.from - unseen_ms).max(0)
}

/// Adds the stays of one call to the sums of the transports that they used. The key `None` is for
/// stays without a known transport. `call` has the session id of each stay, which is the same for
/// all. Times are cut to `span`; `now`, ms, tells who uses a transport now; `blind` are the
/// unobserved spans, by room.
fn add_stays_of_call(
    found: &mut BTreeMap<Option<(String, Option<String>)>, UsageSum>,
    call: &[StayRow],
    blind: &BTreeMap<String, Vec<Span>>,
    span: Span,
    now: i64,
) {
    let stays: Vec<TransportStay> = call.iter().map(|row| row.stay.clone()).collect();
    let mut used: BTreeSet<Option<(String, Option<String>)>> = BTreeSet::new();

    for (row, transport) in call.iter().zip(transports_in_use(&stays)) {
        let key = transport.map(|transport| {
            let address = transport.address().map(ToOwned::to_owned);
            (transport.kind, address)
        });
        let using = found.entry(key.clone()).or_default();
        let (joined_ms, until_ms) = (row.stay.joined_ms, row.stay.until_ms);
        let (from, until) = (joined_ms.max(span.from), until_ms.min(span.to));
        using.carried.together_ms += (until - from).max(0);
        let seen = Span {
            from: from.max(row.seen_from),
            to: until.min(row.seen_until),
        };
        using.carried.together_seen_ms += observed_ms(blind.get(&row.room_id), seen);
        using.carried.last_ms = using.carried.last_ms.max(until);
        using.carried.servers.insert(row.server.clone());
        // Two stays without a device id at the same time are two devices. Over time, each new join
        // would be counted as another device.
        let device = |unnamed: &str| {
            (
                row.user_id.clone(),
                row.device_id.clone().unwrap_or_else(|| unnamed.to_owned()),
            )
        };

        if joined_ms <= now && until_ms > now {
            using.now.insert(device(&row.member_key));
        }

        using.devices.insert(device(""));
        using.people.insert(row.user_id.clone());
        using.carried.calls += i64::from(used.insert(key));
    }
}

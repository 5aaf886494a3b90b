//! The viewer's time zone: typed times, days, ticks and the words of the shapes; and narrow
//! screens.

use crate::site::{MINUTE, NOW, Site, event, quote, text};
use crate::support::chromium::Browser;
use serde_json::{Value, json};

const CALL: &str = "org.matrix.msc3401.call.member";
/// Eight hours behind UTC in November.
const WEST: &str = "America/Los_Angeles";

/// A room with one stay per pair: from and until, in minutes ago.
async fn room(site: &Site, name: &str, stays: &[(i64, i64)]) -> String {
    let (room, user) = (format!("!{name}:example.org"), "@ana:a.example");
    let mut events = Vec::new();
    for (from, until) in stays {
        let join = json!({ "application": "m.call", "call_id": "", "device_id": "D",
            "expires": 10_000 * MINUTE,
            "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
            "foci_preferred": [{ "type": "livekit",
            "livekit_service_url": "https://sfu.example/jwt" }] });
        let key = format!("_{user}_D_m.call");
        events.push(event(
            &format!("$in{from}{name}"),
            CALL,
            user,
            &key,
            *from,
            join,
        ));
        events.push(event(
            &format!("$out{from}{name}"),
            CALL,
            user,
            &key,
            *until,
            json!({}),
        ));
    }

    site.write_to(&room, events).await;

    room
}

async fn call_in(site: &Site, room: &str) -> String {
    let calls = site
        .json(&format!("/api/v1/calls?room={}", quote(room)))
        .await;
    format!("{}/calls/{}", site.base, text(&calls["data"][0]["id"]))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn what_is_typed_is_the_viewers_time() {
    // 10:00 UTC is 02:00 there; Alice and Bob were in a call then.
    const SEND: &str = "(() => { const field = document.querySelector('input[name=at]');
        field.value = '2026-11-22T02:00'; field.form.requestSubmit(); return field.labels[0].textContent; })()";
    const AFTER: &str = "[location.search, document.querySelector('input[name=at]').value,
        document.getElementById('then')?.textContent]";
    let site = Site::filled("typed").await;
    let mut browser = Browser::start().await;
    let url = format!("{}/rooms/{}", site.base, quote(crate::site::ROOM));
    browser.open("page", &url, json!({"zone": WEST})).await;
    let label = browser.eval("page", SEND).await;
    assert!(
        text(&label).contains("Los_Angeles"),
        "which zone counts is said: {label}"
    );
    browser.wait("page", "#then").await;
    let found = browser.eval("page", AFTER).await;
    assert_eq!(found[0], "?at=2026-11-22T10%3A00%3A00Z");
    assert_eq!(found[1], "2026-11-22T02:00", "it stays as it was typed");
    assert!(text(&found[2]).contains("Alice Moreau"), "{found}");
    browser
        .open(
            "plain",
            &format!("{url}?at=2026-11-22T10:00"),
            json!({"js": false, "zone": WEST}),
        )
        .await;
    assert!(
        browser
            .text("plain", "main")
            .await
            .contains("Moment, in UTC")
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn times_have_a_date_where_the_call_has_two_days_there() {
    const TIMES: &str = "[...document.querySelectorAll('#stays time, #evidence summary time')]
        .map((time) => time.textContent)";
    const TITLE: &str = "document.querySelector('.tl-row svg title').textContent";
    let site = Site::filled("dates").await;
    // 22:07 UTC of the 21st to 00:17 UTC of the 22nd: two days in UTC and in Berlin, one in Los
    // Angeles.
    let night = room(&site, "night", &[(1000, 870)]).await;
    let night = call_in(&site, &night).await;
    // 22:07 to 23:17 UTC: one day in UTC, two in Berlin.
    let late = room(&site, "late", &[(1000, 930)]).await;
    let late = call_in(&site, &late).await;
    let mut browser = Browser::start().await;

    for (url, zone, dated) in [
        (&night, "UTC", true),
        (&night, WEST, false),
        (&night, "Europe/Berlin", true),
        (&late, "UTC", false),
        (&late, "Europe/Berlin", true),
    ] {
        browser.open("page", url, json!({"zone": zone})).await;
        let times = browser.eval("page", TIMES).await;
        let times: Vec<String> = serde_json::from_value(times).unwrap();
        assert!(
            times.len() == 4 && times.iter().all(|time| time.contains("Nov") == dated),
            "{zone}: {times:?}"
        );
        let title = browser.eval("page", TITLE).await;
        let first = times[0].replace(" 2026", "").replace(", ", " 2026 ");
        assert!(
            text(&title).contains(&first) && !text(&title).contains("UTC"),
            "{zone}: {title}, not {first}"
        );
        browser.close("page").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn ticks_stand_on_round_local_times() {
    const TICKS: &str = "[...document.querySelectorAll('text[data-ms]')].map((text) => {
        const at = new Date(Number(text.dataset.ms));
        return [text.textContent, at.getHours() * 60 + at.getMinutes(), text.getAttribute('x')]; })";
    const LINES: &str = "[...document.querySelectorAll('.tl-back line:not(.nowl)')].map((line) => line.getAttribute('x1'))";
    let site = Site::filled("ticks").await;
    let long = room(&site, "long", &[(4000, 100)]).await;
    let week = room(&site, "week", &[(9000, 100)]).await;
    let mut browser = Browser::start().await;

    for (room, step) in [(&long, 12 * 60), (&week, 24 * 60)] {
        for zone in [WEST, "Europe/Berlin", "Asia/Kolkata", "UTC"] {
            let url = call_in(&site, room).await;
            browser.open("page", &url, json!({"zone": zone})).await;
            let ticks = browser.eval("page", TICKS).await;
            let ticks = ticks.as_array().unwrap();
            assert!((4..=9).contains(&ticks.len()), "{zone}: {ticks:?}");
            for tick in ticks {
                let minutes = tick[1].as_i64().unwrap();
                assert_eq!(minutes % step, 0, "{zone}: {tick}");
                assert_eq!(
                    text(&tick[0]).contains("Nov"),
                    minutes == 0,
                    "a date means midnight: {zone}, {tick}"
                );
            }

            let lines = browser.eval("page", LINES).await;
            let places: Vec<&Value> = ticks.iter().map(|tick| &tick[2]).collect();
            assert_eq!(
                lines.as_array().unwrap().iter().collect::<Vec<_>>(),
                places,
                "{zone}"
            );
            browser.close("page").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn a_day_has_its_own_calls_in_any_zone() {
    const HEADS: &str = "[...document.querySelectorAll('tr.day')]
        .map((row) => row.textContent.trim().replace(' 2026', ''))";
    let site = Site::empty("heads").await;
    // 14:17, 09:17, 07:17 and 06:17 UTC today, 22:07 yesterday: in Los Angeles the last two are
    // yesterday's.
    room(
        &site,
        "heads",
        &[(30, 20), (330, 320), (450, 440), (510, 500), (1000, 990)],
    )
    .await;
    let mut browser = Browser::start().await;

    for (path, zone, heads) in [
        (
            "",
            "UTC",
            [
                "Sunday, 22 November 4 calls, 1 person",
                "Saturday, 21 November 1 call, 1 person",
            ],
        ),
        (
            "",
            WEST,
            [
                "Sunday, 22 November 2 calls",
                "Saturday, 21 November 3 calls",
            ],
        ),
        (
            "?limit=3",
            WEST,
            ["Sunday, 22 November 2 calls", "Saturday, 21 November"],
        ),
    ] {
        browser
            .open(
                "page",
                &format!("{}/calls{path}", site.base),
                json!({"zone": zone}),
            )
            .await;
        let shown = browser.eval("page", HEADS).await;
        assert_eq!(shown, json!(heads), "{path} {zone}");
        browser.close("page").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn hours_by_weekday_move_by_parts_of_an_hour_too() {
    const CELLS: &str = "(() => { const places = [...document.querySelectorAll('svg[data-week] rect:not(.h0)')]
        .map((cell) => `${Math.round(parseFloat(cell.getAttribute('x')) * 24)} ${cell.getAttribute('y') / 20}`).sort();
        const rows = [...document.querySelectorAll('table.tight caption + thead + tbody')]
            .find((body) => body.rows.length === 24).rows;
        const busy = [...rows].flatMap((row) => [...row.cells].slice(1).flatMap((cell, day) =>
            cell.textContent ? [`${row.cells[0].textContent} ${day}`] : []));
        return [places, busy, document.querySelector('[data-hour]').textContent]; })()";
    let site = Site::empty("hours").await;
    // 09:20 to 09:47 UTC on Sunday, and 18:10 to 18:30 on Saturday.
    room(&site, "hours", &[(327, 300), (1237, 1217)]).await;
    let mut browser = Browser::start().await;

    // Positions in hundredths of an hour, and days from Monday.
    for (zone, places, rows, most) in [
        (
            "UTC",
            &["1800 5", "900 6"][..],
            ["09:00 6", "18:00 5"],
            "Sunday, 09:00 to 10:00",
        ),
        (
            "Asia/Kolkata",
            &["-50 6", "1450 6", "2350 5"],
            ["14:30 6", "23:30 5"],
            "Sunday, 14:30 to 15:30",
        ),
        (
            "Asia/Kathmandu",
            &["1475 6", "2375 5", "-25 6"],
            ["14:45 6", "23:45 5"],
            "Sunday, 14:45 to 15:45",
        ),
        (
            "America/St_Johns",
            &["1450 5", "550 6"],
            ["05:30 6", "14:30 5"],
            "Sunday, 05:30 to 06:30",
        ),
    ] {
        browser
            .open(
                "page",
                &format!("{}/statistics", site.base),
                json!({"zone": zone}),
            )
            .await;
        let mut places = places.to_vec();
        places.sort_unstable();
        assert_eq!(
            browser.eval("page", CELLS).await,
            json!([places, rows, most]),
            "{zone}"
        );
        browser.close("page").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn the_busiest_hour_is_the_viewers() {
    const BUSIEST: &str = "document.querySelector('[data-busy]').closest('dd').textContent";
    let site = Site::empty("busiest").await;
    // Ten calls from 00:17 UTC on Sunday.
    let stays: Vec<(i64, i64)> = (0..10)
        .map(|index| (870 - 3 * index, 869 - 3 * index))
        .collect();
    let room = room(&site, "busiest", &stays).await;
    let mut browser = Browser::start().await;
    let url = format!("{}/rooms/{}", site.base, quote(&room));
    for (zone, words) in [
        ("UTC", "Sundayaround 00:00"),
        (WEST, "Saturdayaround 16:00"),
    ] {
        browser.open("page", &url, json!({"zone": zone})).await;
        assert_eq!(browser.eval("page", BUSIEST).await, words, "{zone}");
        browser.close("page").await;
    }

    browser
        .open("plain", &url, json!({"js": false, "zone": WEST}))
        .await;
    assert!(
        browser
            .text("plain", "main")
            .await
            .contains("around 00:00 UTC")
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn the_field_for_a_moment_shows_all_of_it() {
    // The field's natural width and its actual width.
    const WIDTHS: &str = "(() => { const field = document.querySelector('input.at');
        field.type = 'datetime-local';
        const free = field.cloneNode(); free.className = ''; free.style.width = 'auto'; document.body.append(free);
        return free.offsetWidth - field.offsetWidth; })()";
    let site = Site::filled("field").await;
    let mut browser = Browser::start().await;
    let url = format!("{}/rooms/{}", site.base, quote(crate::site::ROOM));

    for width in [320, 390, 768, 900, 1280] {
        browser
            .open(
                "page",
                &url,
                json!({"width": width, "height": 700, "locale": "en-US"}),
            )
            .await;
        let lacks = browser.eval("page", WIDTHS).await;
        assert!(
            lacks.as_f64().unwrap() <= 0.0,
            "at {width} px the field lacks {lacks} px"
        );
        browser.close("page").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn a_day_of_the_calendar_is_the_same_west_of_greenwich() {
    const FACTS: &str = "document.querySelector('.year dl').textContent";
    let site = Site::filled("west").await;
    let mut browser = Browser::start().await;
    let url = format!("{}/rooms/{}", site.base, quote(crate::site::ROOM));
    browser.open("page", &url, json!({"zone": WEST})).await;
    let facts = browser.eval("page", FACTS).await;
    assert!(text(&facts).contains("2, on 22 November"), "{facts}");
}

/// Elements of the open page that are too wide, text that breaks inside a word, and targets that
/// are too small.
const NARROW: &str = "(() => { const wrong = [];
    const over = document.documentElement.scrollWidth - innerWidth;
    if (over > 0) wrong.push(`${over} px too wide`);
    for (const table of document.querySelectorAll('.box > table')) {
        const style = getComputedStyle(table.parentElement);
        const edge = table.parentElement.getBoundingClientRect().right - parseFloat(style.paddingRight);
        const out = Math.round(table.getBoundingClientRect().right - edge);
        if (out > 1) wrong.push(`the table ${table.className} is ${out} px wider than its box`);
    }
    for (const link of document.querySelectorAll('.nav a')) {
        const range = document.createRange(); range.selectNodeContents(link);
        // A number beside the word is smaller, and text for screen readers has no width: only
        // another line is a break.
        const tops = [...range.getClientRects()].filter((box) => box.width > 1).map((box) => box.top);
        if (Math.max(...tops) - Math.min(...tops) > 14) wrong.push(`${link.textContent} is broken`);
    }
    for (const link of document.querySelectorAll('.top a, .foot a, .key a, p.ph a, .crumb a, p.after a, p.sec a, .pager a, .chips a, summary, button')) {
        const box = link.getBoundingClientRect();
        if (box.height && box.height < 24) wrong.push(`${link.textContent} is ${box.height} px high`);
    }
    return wrong; })()";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn the_clocks_of_servers_fit_a_narrow_phone() {
    let site = Site::filled("clocks").await;
    // The stream is received from the first answer on.
    site.write_live(Vec::new(), NOW - MINUTE).await;
    // Our clock goes forward: an earlier receive time would not be believed.
    for index in 0..12 {
        let came = NOW - MINUTE + 2000 * (index + 1);
        for server in 0..3 {
            let user = format!("@p:a-homeserver-with-a-long-name-{server}.organisation.example");
            let join = json!({ "application": "m.call", "call_id": "", "device_id": "D",
                "expires": 14_400_000 + index,
                "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
                "foci_preferred": [] });
            let mut one = event(
                &format!("$c{server}{index}"),
                CALL,
                &user,
                &format!("_{user}_D_m.call"),
                0,
                join,
            );
            one["origin_server_ts"] = json!(came - 90_000 * server);
            site.write_live(vec![one], came).await;
        }
    }

    let mut browser = Browser::start().await;

    for width in [320, 360, 375] {
        browser
            .open(
                "page",
                &format!("{}/servers", site.base),
                json!({"width": width, "height": 700}),
            )
            .await;
        assert!(browser.count("page", "table#clocks tbody tr").await >= 2);
        assert_eq!(browser.eval("page", NARROW).await, json!([]), "{width} px");
        browser.close("page").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn every_page_fits_the_narrowest_phone_a_tablet_half_a_screen_and_paper() {
    let app = crate::demo().await;
    let mut browser = Browser::start().await;
    let mut wrong = Vec::new();
    let mut pages: Vec<String> = crate::pages::all(&app)
        .await
        .into_iter()
        .map(|page| page.path)
        .collect();
    // Findings and long names make rows wide.
    let past = app.list_first("/api/v1/calls?status=ended&limit=200").await;
    let found = past.iter().filter(|call| {
        call["findings"]
            .as_array()
            .is_some_and(|found| !found.is_empty())
    });
    pages.extend(
        found
            .take(2)
            .map(|call| format!("/calls/{}", text(&call["id"]))),
    );
    for path in &pages {
        browser
            .open("page", &format!("{}{path}", app.http.base), json!({}))
            .await;
        // 718 px is the width of A4 between its margins.
        for (width, media) in [
            (320, "screen"),
            (718, "print"),
            (768, "screen"),
            (900, "screen"),
        ] {
            browser.resize("page", width, media).await;
            let found = browser.eval("page", NARROW).await;
            if found != json!([]) {
                wrong.push(format!("{path} at {width} px: {found}"));
            }
        }

        browser.close("page").await;
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

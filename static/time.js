// Times in the viewer's zone: the server writes UTC, with the machine's form in each <time>. Works without this file too.
(() => {
  // A formatter costs far more than its use.
  const formatters = new Map();
  const part = (date, options) => {
    const key = JSON.stringify(options);
    if (!formatters.has(key)) formatters.set(key, new Intl.DateTimeFormat("en-GB", options));
    return formatters.get(key).format(date);
  };
  const clock = (date) => part(date, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const day = (date, year = date.getFullYear() !== new Date().getFullYear()) =>
    part(date, { day: "numeric", month: "long", ...(year && { year: "numeric" }) });
  const short = (date, year = date.getFullYear() !== new Date().getFullYear()) =>
    part(date, { day: "numeric", month: "short", ...(year && { year: "numeric" }) });
  const today = (date) => date.toDateString() === new Date().toDateString();
  const forms = {
    clock,
    seconds: (date) => part(date, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }),
    when: (date) => (today(date) ? clock(date) : day(date)),
    moment: (date) => (today(date) ? clock(date) : `${day(date)}, ${clock(date)}`),
    day: (date) => day(date),
    dayname: (date) => `${part(date, { weekday: "long" })}, ${day(date)}`,
    shortday: (date) => part(date, { day: "numeric", month: "short" }),
    month: (date) => part(date, { month: "short", year: "numeric" }),
    stamp: (date, dated) => (dated ? `${short(date)}, ${forms.seconds(date)}` : forms.seconds(date)),
  };
  const write = (element, ms, dated) => {
    const form = forms[element.dataset.f];
    if (form && Number.isFinite(ms)) element.textContent = form(new Date(ms), dated);
  };
  // The viewer's clock as if it were UTC, and as text like 2026-11-22T14:05:00.
  const wall = (ms) => ms - new Date(ms).getTimezoneOffset() * 60000;
  const iso = (ms) => (Math.abs(ms) < 8e15 ? new Date(ms).toISOString().slice(0, 19) : "");
  const local = (ms) => iso(wall(ms));
  const differs = (from, to) => new Date(from).toDateString() !== new Date(to).toDateString();

  // A list by day is grouped anew where the viewer's midnight is another.
  const regroup = (table) => {
    const body = table.tBodies[0];
    const old = body ? [...body.querySelectorAll("tr.day")] : [];
    const rows = body ? [...body.querySelectorAll("tr[data-start]")] : [];
    // By each day's own offset: a zone that is UTC in winter is not in summer.
    if (!old.length || rows.every((row) => !new Date(Number(row.dataset.start)).getTimezoneOffset())) return;
    const key = (calls) => calls.map((row) => row.id).join(" ");
    // What the server says of a day holds where it has the same calls here.
    const said = new Map();
    for (const head of old) {
      const calls = [];
      for (let row = head.nextElementSibling; row?.dataset.start; row = row.nextElementSibling) calls.push(row);
      said.set(key(calls), head.querySelector("small")?.textContent);
    }
    const groups = new Map();
    for (const row of rows) {
      const date = new Date(Number(row.dataset.start));
      const midnight = new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
      if (!groups.has(midnight)) groups.set(midnight, []);
      groups.get(midnight).push(row);
    }
    const pattern = old[0].cloneNode(true);
    pattern.querySelector("small")?.remove();
    body.replaceChildren();
    [...groups].forEach(([midnight, calls], index) => {
      const head = pattern.cloneNode(true);
      head.id = `d-${midnight}`;
      const time = head.querySelector("time");
      time.textContent = forms.dayname(new Date(midnight));
      time.dateTime = local(midnight).slice(0, 10);
      // A day that goes on over the page's edge has more calls than are here: no sum then.
      const cut = (index === 0 && "cutBefore" in table.dataset) || (index === groups.size - 1 && "cutAfter" in table.dataset);
      if (!cut) {
        const small = head.ownerDocument.createElement("small");
        small.textContent = said.get(key(calls)) ?? `${calls.length} call${calls.length === 1 ? "" : "s"}`;
        time.after(" ", small);
      }
      body.append(head, ...calls);
    });
  };

  // Ticks stand on round times of the viewer's zone; how far apart is the server's choice (src/web/svg/axis.rs).
  const hours = 3600000;
  const ticks = (from, to, step, now) => {
    const place = (ms) => ((ms - from) / (to - from)) * 100;
    const found = [];
    for (let at = Math.ceil(wall(from) / step) * step; at < wall(to); at += step) {
      const clock = new Date(at);
      const ms = new Date(clock.getUTCFullYear(), clock.getUTCMonth(), clock.getUTCDate(), clock.getUTCHours(), clock.getUTCMinutes()).getTime();
      // A time that the change to summer time leaves out has no place.
      if (wall(ms) !== at || ms <= from || ms >= to || Math.abs(place(now) - place(ms)) < 6) continue;
      const isDay = step >= 24 * hours || (step >= 12 * hours && at % (24 * hours) === 0);
      const form = step >= 200 * 24 * hours ? "month" : isDay ? "shortday" : "clock";
      found.push({ ms, form, x: `${Math.round(place(ms) * 100) / 100}%` });
    }
    return found;
  };
  const retick = (svg) => {
    const places = ticks(...svg.dataset.axis.split(" ").map(Number));
    for (const kind of ["line.grid[x1]", "text[data-ms]"]) {
      const old = [...svg.querySelectorAll(kind)];
      if (!old.length || !places.length) continue;
      old[0].before(...places.map(({ ms, form, x }, index) => {
        const tick = old[0].cloneNode(true);
        for (const name of kind.startsWith("line") ? ["x1", "x2"] : ["x"]) tick.setAttribute(name, x);
        if (kind.startsWith("text")) {
          [tick.dataset.ms, tick.dataset.f] = [ms, form];
          tick.classList.toggle("t2", index % 2 === 1);
        }
        return tick;
      }));
      for (const tick of old) tick.remove();
    }
  };

  // What the shapes of a timeline say, for hover, focus and readers: there stand times as the server writes them, and "UTC".
  const clock1 = /(?:(\d{1,2} [A-Z][a-z]{2} \d{4}) )?(\d\d:\d\d:\d\d)/.source;
  const clocks = new RegExp(`${clock1}(?: to ${clock1})? UTC`, "g");
  const retell = (picture) => {
    const axis = picture.querySelector("[data-axis]");
    if (!axis) return;
    const [from, to] = axis.dataset.axis.split(" ").map(Number);
    const dated = differs(from, to);
    const told = (day, time) => {
      // Without a day it is the one day of the picture.
      const ms = Date.parse(day ? `${day} ${time} UTC` : `${iso(from).slice(0, 10)}T${time}Z`);
      if (Number.isNaN(ms)) return `${day ? `${day} ` : ""}${time} UTC`;
      return `${dated || differs(ms, from) ? `${short(new Date(ms), true)} ` : ""}${forms.seconds(new Date(ms))}`;
    };
    const here = (text) =>
      text.replace(clocks, (_, day, time, untilDay, until) => told(day, time) + (until ? ` to ${told(untilDay, until)}` : ""));
    for (const title of picture.querySelectorAll("title")) title.textContent = here(title.textContent);
    for (const link of picture.querySelectorAll("a[aria-label]")) link.ariaLabel = here(link.ariaLabel);
  };

  // The time machine's field: what is typed is the viewer's time, and what is sent the moment that it means.
  const field = (input) => {
    if (input.dataset.ms) input.value = local(Number(input.dataset.ms)).replace(/(:\d\d):00$/, "$1");
    const zone = input.form?.querySelector("[data-atzone]");
    if (zone) zone.textContent = `in your zone (${new Intl.DateTimeFormat().resolvedOptions().timeZone})`;
  };
  document.addEventListener("formdata", (event) => {
    const typed = event.target.querySelector("input.at")?.value;
    const date = new Date(typed);
    if (typed && !Number.isNaN(date.getTime())) event.formData.set("at", date.toISOString().replace(".000Z", "Z"));
  });

  // Hour by weekday: the cells move to the viewer's zone as it is today. Where that differs by part of an hour, they begin
  // at that minute of the hour, and the last of a day stands at both edges: at its end and on the next morning.
  const days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
  const moveWeek = (root) => {
    const offset = -new Date().getTimezoneOffset();
    const minutes = ((offset % 60) + 60) % 60;
    const shifted = (hour) => (hour + Math.floor(offset / 60) + 336) % 168;
    const clock = (hour) => `${String(hour % 24).padStart(2, "0")}:${String(minutes).padStart(2, "0")}`;
    for (const cells of root.querySelectorAll("svg[data-week]")) {
      for (const edge of cells.querySelectorAll("[data-edge]")) edge.remove();
      const put = (cell, x, y) => {
        cell.setAttribute("x", `${(x * 100) / 24}%`);
        cell.setAttribute("y", y * 20);
      };
      [...cells.querySelectorAll("rect")].forEach((cell, index) => {
        const hour = shifted(index);
        const title = cell.querySelector("title");
        if (title) title.textContent = `${days[Math.floor(hour / 24)].slice(0, 3)} ${clock(hour)}: ${title.textContent.split(": ").pop()}`;
        put(cell, (hour % 24) + minutes / 60, Math.floor(hour / 24));
        if (minutes && hour % 24 === 23) {
          const edge = cell.cloneNode(true);
          edge.dataset.edge = "";
          put(edge, minutes / 60 - 1, Math.floor(((hour + 1) % 168) / 24));
          cell.after(edge);
        }
      });
    }
    for (const table of root.querySelectorAll("table[data-hours]")) {
      // A row an hour, a cell a day. Once moved it is never moved again.
      const cells = [...table.querySelectorAll("td")];
      cells.map((cell) => cell.textContent).forEach((sum, index) => {
        const hour = shifted((index % 7) * 24 + Math.floor(index / 7));
        cells[(hour % 24) * 7 + Math.floor(hour / 24)].textContent = sum;
      });
      [...table.querySelectorAll("tbody th")].forEach((head, hour) => (head.textContent = clock(hour)));
      table.removeAttribute("data-hours");
    }
    for (const text of root.querySelectorAll("[data-hour]")) {
      const hour = shifted(Number(text.dataset.hour));
      text.textContent = `${days[Math.floor(hour / 24)]}, ${clock(hour)} to ${clock(hour + 1)}`;
    }
    for (const text of root.querySelectorAll("[data-busy]")) {
      const hour = shifted(Number(text.dataset.busy));
      text.textContent = days[Math.floor(hour / 24)];
      text.nextElementSibling.textContent = `around ${clock(hour)}`;
    }
    for (const note of root.querySelectorAll("[data-weekzone]")) note.textContent = "Hours are in your zone, as its clocks stand today.";
  };

  // Rewrites all times below an element; live.js calls it on what it fetched.
  window.callscopeTimes = (root) => {
    for (const table of root.querySelectorAll("table.calls")) regroup(table);
    for (const part of root.querySelectorAll("[data-span]")) {
      part.classList.toggle("dated", differs(...part.dataset.span.split(" ").map(Number)));
    }
    for (const time of root.querySelectorAll("time[data-f]")) {
      write(time, Date.parse(time.dateTime), time.closest("[data-span].dated") !== null);
      time.title = time.dateTime.replace("T", " ").replace("Z", " UTC");
    }
    for (const picture of root.querySelectorAll(".tl")) retell(picture);
    for (const svg of root.querySelectorAll("svg[data-axis]")) retick(svg);
    for (const text of root.querySelectorAll("text[data-ms]")) write(text, Number(text.dataset.ms));
    for (const input of root.querySelectorAll("input.at")) field(input);
    moveWeek(root);
    for (const note of root.querySelectorAll("[data-zone]")) note.textContent = "Times are in your zone, UTC on hover.";
  };
  window.callscopeTimes(document);
})();

// Keeps the page up to date: the server says that something changed, and the same page is fetched again.
// Only what differs is touched, so focus, open details, selection and scroll stay. Works without this file too.
(() => {
  // The pages may stand below a path, so the address of the stream comes with the page.
  const streamAddress = document.currentScript?.dataset.stream;
  const body = document.body;
  if (!("follow" in body.dataset)) return;
  const room = body.dataset.room && decodeURIComponent(body.dataset.room);
  const skew = Date.now() - Number(body.dataset.now);
  const announce = document.getElementById("announce");
  const broken = document.getElementById("broken");
  const parser = new DOMParser();

  // Clocks that count up.
  const two = (number) => String(number).padStart(2, "0");
  const running = (ms) => {
    const all = Math.max(0, Math.floor(ms / 1000));
    const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
    if (h >= 96) return `${Math.floor(h / 24).toLocaleString("en")} d ${h % 24} h`;
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };
  const count = (root) => {
    for (const clock of root.querySelectorAll("[data-since]")) {
      const text = running(Date.now() - skew - Number(clock.dataset.since));
      if (clock.textContent !== text) clock.textContent = text;
    }
  };
  setInterval(() => count(document), 1000);

  // Makes `old` like `fresh`, child by child; children with an id are found again by it.
  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const morph = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      return;
    }
    if ("keep" in old.dataset) return;
    for (const { name, value } of fresh.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    const ids = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
    // What has gone goes first: then nothing that stays has to move, and focus stays with it.
    for (const child of [...old.children]) if (child.id && !ids.has(child.id)) child.remove();
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const known = child.id && [...old.children].find((other) => other.id === child.id);
      if (known && known !== at) old.insertBefore(known, at);
      const match = known || at;
      if (match && same(match, child)) {
        at = match.nextSibling;
        morph(match, child);
      } else {
        // Something else stands here: it goes, unless it is wanted further down.
        if (at && !(at.id && ids.has(at.id))) {
          const gone = at;
          at = at.nextSibling;
          gone.remove();
        }
        old.insertBefore(child, at);
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  // The headline is read out, at most once in 30 s.
  let said = document.getElementById("headline")?.textContent;
  let saidAt = 0;
  const say = () => {
    const text = document.getElementById("headline")?.textContent;
    if (!announce || !text || text === said || Date.now() - saidAt < 30000) return;
    said = text;
    saidAt = Date.now();
    announce.textContent = text;
  };

  const stamp = () => {
    const watch = document.getElementById("watch");
    if (watch) watch.title = `This page is as of ${new Date().toLocaleTimeString("en-GB")}`;
  };

  const tell = (words) => {
    if (!broken) return;
    broken.hidden = !words;
    broken.textContent = words;
  };

  let timer = 0;
  let busy = false;
  let again = false;
  const refresh = async () => {
    timer = 0;
    if (document.hidden || busy) {
      again = true;
      return;
    }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = parser.parseFromString(await answer.text(), "text/html");
      window.callscopeTimes?.(page);
      count(page);
      const [now, then] = [document.querySelectorAll("[data-live]"), page.querySelectorAll("[data-live]")];
      const focused = document.activeElement;
      now.forEach((element, index) => then[index] && morph(element, then[index]));
      if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
      document.title = page.title;
      stamp();
      say();
      if (stream?.readyState === EventSource.OPEN) tell("");
    } catch {
      if (!lost) tell("This page could not be brought up to date. It is tried again by itself.");
      again = true;
      soon(5000);
    }
    busy = false;
    if (again && !document.hidden) soon();
  };
  const soon = (wait = 80 + Math.random() * 120) => {
    timer ||= setTimeout(refresh, wait);
  };
  document.addEventListener("visibilitychange", () => !document.hidden && again && soon(0));

  // Bars grow and the time of the last sync ages also when nothing changes.
  setInterval(() => document.querySelector("[data-since], #watch") && soon(), 30000);

  let stream;
  let wait = 1000;
  let lost = 0;
  const connect = () => {
    stream = new EventSource(streamAddress);
    stream.addEventListener("open", () => {
      wait = 1000;
      // Whatever happened while we did not hear is fetched once.
      if (lost) soon(0);
      lost = 0;
      tell("");
    });
    stream.addEventListener("change", (event) => {
      let data = {};
      try {
        data = JSON.parse(event.data);
      } catch { /* look at everything */ }
      if (!room || !data.room_id || data.room_id === room) soon();
    });
    stream.addEventListener("error", () => {
      stream.close();
      lost ||= Date.now();
      tell(`The live connection broke at ${new Date(lost).toLocaleTimeString("en-GB")}. What you see may be old; it mends itself.`);
      setTimeout(connect, wait * (0.7 + Math.random() * 0.6));
      wait = Math.min(wait * 2, 30000);
    });
  };
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => event.persisted && connect());
  stamp();
  connect();
})();

// The calls of a room as a widget in it: asks the client for a token by which its homeserver says who it is, exchanges
// that for a session that shows this room only, and keeps the room's page up to date. The session lives in this page alone.
(() => {
  const query = new URLSearchParams(location.search);
  const room = query.get("room") || "";
  // The pages may stand below a path.
  const base = location.pathname.replace(/\/widget$/, "");
  const widgetId = query.get("widgetId") || "";
  const parent = (() => {
    try {
      return new URL(query.get("parentUrl")).origin;
    } catch {
      return "";
    }
  })();
  const state = document.getElementById("state");
  const main = document.getElementById("main");
  const say = (words) => {
    state.hidden = !words;
    state.textContent = words;
  };
  const EVERY_MS = 10000;
  let session = "";
  let asked = "";
  let timer = 0;

  if (window.parent === window || !room) {
    say("This page is for a room: add it there as a widget.");
    return;
  }

  // Nothing that is sent to the client is secret, so a client that does not say where it is may get it, too.
  const send = (message) => window.parent.postMessage(message, parent || "*");

  const askForToken = () => {
    if (asked) return;
    asked = `callscope-${Date.now()}-${Math.random()}`;
    send({ api: "fromWidget", action: "get_openid", requestId: asked, widgetId, data: {} });
  };

  const refresh = async () => {
    clearTimeout(timer);
    try {
      const answer = await fetch(`${base}/embed/rooms/${encodeURIComponent(room)}`, {
        headers: { authorization: `Bearer ${session}` },
        credentials: "omit",
        cache: "no-store",
      });
      if (answer.status === 401) {
        // The session has ended: another token begins the next.
        asked = "";
        askForToken();
        return;
      }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      if (!answer.ok || !fresh) throw new Error("no room");
      main.replaceChildren(...fresh.childNodes);
      say("");
    } catch {
      say("The calls cannot be read now.");
    }
    timer = setTimeout(refresh, EVERY_MS);
  };

  const exchange = async (token) => {
    const fields = new URLSearchParams({ room, server: token.matrix_server_name, token: token.access_token });
    try {
      const answer = await fetch(`${base}/widget/session`, { method: "POST", body: fields, credentials: "omit" });
      const body = await answer.json();
      if (!answer.ok) {
        say(`Nothing is shown: ${body.error}.`);
        return;
      }
      session = body.token;
      await refresh();
    } catch {
      say("The calls cannot be read now. Close the widget and open it again.");
    }
  };

  // What the client says of the token: at once, or after it has asked the person.
  const onToken = (data) => {
    if (data?.state === "allowed") exchange(data);
    else if (data?.state === "blocked") say("Your client did not say who you are, so nothing is shown.");
  };

  const ANSWERS = {
    capabilities: () => ({ capabilities: [] }),
    supported_api_versions: () => ({ supported_versions: ["0.0.1", "0.0.2"] }),
    notify_capabilities: () => {
      askForToken();
      return {};
    },
    openid_credentials: (data) => {
      if (data?.original_request_id === asked) onToken(data);
      return {};
    },
  };

  addEventListener("message", (event) => {
    const message = event.data;
    if (event.source !== window.parent || (parent && event.origin !== parent) || !message) return;
    if (message.api === "toWidget" && !message.response) {
      const answer = ANSWERS[message.action];
      send({ ...message, response: answer ? answer(message.data) : { error: { message: "not known here" } } });
    } else if (message.api === "fromWidget" && message.requestId === asked && message.response) {
      onToken(message.response);
    }
  });

  // For a client that waits for this, and for one that asks for no capabilities.
  send({ api: "fromWidget", action: "content_loaded", requestId: "callscope-loaded", widgetId, data: {} });
  setTimeout(askForToken, 3000);
})();

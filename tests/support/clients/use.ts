// Asks a running Callscope by the types that were made of its document, and prints what it found.

import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const base = process.argv[2] ?? "";
const client = createClient<paths>({ baseUrl: base });

const told = await client.GET("/api/v1/version");
const ended = await client.GET("/api/v1/calls", {
  params: { query: { status: "ended", limit: 2 } },
});
const running = await client.GET("/api/v1/calls/active");
const watched = await client.GET("/api/v1/rooms", { params: { query: { limit: 1 } } });
if (!told.data || !ended.data || !running.data || !watched.data) {
  throw new Error(JSON.stringify([told.error, ended.error, running.error, watched.error]));
}

// A word of a closed set is known as one.
const reasons = ended.data.data.flatMap((call) =>
  call.members.map((stay): "left" | (string & {}) | null => stay.end_reason),
);

console.log(
  JSON.stringify({
    version: told.data.version,
    calls: ended.data.data.map((call) => call.id),
    reasons,
    running: running.data.active_total,
    rooms: watched.data.total,
  }),
);

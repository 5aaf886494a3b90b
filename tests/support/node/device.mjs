// One Matrix device running the real MatrixRTC session of matrix-js-sdk. It is a process
// of its own, so that killing it is a crash: nothing is sent any more.
import "./polyfill.mjs";
import { serve, tell } from "./lines.mjs";
import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { MatrixRTCSessionEvent, MatrixRTCSessionManager } from "matrix-js-sdk/lib/matrixrtc/index.js";

const ROOM_CALL = "m.call#ROOM";
const sleep = (ms) => new Promise((f) => setTimeout(f, ms));
let client;
const managers = new Map(); // slot id -> MatrixRTCSessionManager
const sessions = new Map(); // room|slot -> MatrixRTCSession

async function until(what, ms, probe) {
    const end = Date.now() + ms;
    while (Date.now() < end) {
        const v = probe();
        if (v) return v;
        await sleep(20);
    }
    throw new Error(`not within ${ms} ms: ${what}`);
}

// Tells when the homeserver answered a request that makes an event, and which event it made.
async function telling(url, init) {
    const r = await fetch(url, init);
    const path = new URL(url).pathname;
    if (init?.method === "PUT" && /\/rooms\/[^/]+\/(state|send)\//.test(path)) {
        const body = await r.clone().json().catch(() => ({}));
        tell({ event: "sent", path: decodeURIComponent(path), status: r.status, event_id: body.event_id ?? null });
    }
    return r;
}

function managerOf(slot) {
    if (slot === ROOM_CALL) return client.matrixRTC;
    if (!managers.has(slot)) {
        const [application, id] = slot.split("#");
        const m = new MatrixRTCSessionManager(logger, client, { application, id });
        m.start();
        managers.set(slot, m);
    }
    return managers.get(slot);
}

async function sessionOf({ room, slot = ROOM_CALL }) {
    const key = `${room}|${slot}`;
    if (!sessions.has(key)) {
        const r = await until(`joined ${room}`, 15000, () => {
            const r = client.getRoom(room);
            return r?.getMyMembership() === "join" ? r : undefined;
        });
        const s = managerOf(slot).getRoomSession(r);
        s.on(MatrixRTCSessionEvent.MembershipManagerError, (e) => tell({ event: "manager_error", error: String(e?.cause ?? e) }));
        sessions.set(key, s);
        await s.initialMembershipCalculated;
    }
    return sessions.get(key);
}

const facts = (m) => ({
    user_id: m.userId,
    device_id: m.deviceId,
    slot_id: m.slotId,
    event_id: m.eventId,
    kind: m.getAbsoluteExpiry() === undefined ? "sticky" : "session",
});

const own = (s) => s.memberships.find((m) => m.userId === client.getUserId() && m.deviceId === client.getDeviceId());

function joinOptions(c) {
    const o = { manageMediaKeys: false, unstableSendStickyEvents: !!c.sticky };
    if (c.delay_ms) o.delayedLeaveEventDelayMs = c.delay_ms;
    if (c.restart_ms) o.delayedLeaveEventRestartMs = c.restart_ms;
    if (c.expires_ms) o.membershipEventExpiryMs = c.expires_ms;
    if (c.headroom_ms) o.membershipEventExpiryHeadroomMs = c.headroom_ms;
    if (c.intent) o.callIntent = c.intent;
    return o;
}

serve({
    async start(c) {
        client = sdk.createClient({ baseUrl: c.base_url, accessToken: c.access_token, userId: c.user_id, deviceId: c.device_id, logger, fetchFn: telling });
        const ready = new Promise((done) => client.on(sdk.ClientEvent.Sync, (s) => (s === "PREPARED" || s === "SYNCING") && done()));
        await client.startClient({ initialSyncLimit: 1, disablePresence: true, pollTimeout: 10000 });
        await Promise.race([ready, sleep(30000).then(() => Promise.reject(new Error("no first sync in 30 s")))]);
    },
    async join(c) {
        const s = await sessionOf(c);
        const userId = client.getUserId();
        const deviceId = client.getDeviceId();
        const transport = { type: "livekit", livekit_service_url: c.livekit ?? "https://livekit.invalid/jwt", livekit_alias: c.room };
        s.joinRTCSession({ userId, deviceId, memberId: `${userId}:${deviceId}` }, [], transport, joinOptions(c));
        return facts(await until("own membership", 60000, () => own(s)));
    },
    async leave(c) {
        const s = await sessionOf(c);
        const left = await s.leaveRoomSession(15000);
        // Else a join right after this would take the old membership for the new one.
        await until("own membership gone", 60000, () => !own(s));
        return { left };
    },
    async intent(c) {
        await (await sessionOf(c)).updateCallIntent(c.value);
    },
    async memberships(c) {
        const s = await sessionOf(c);
        await s.ensureRecalculateSessionMembers();
        return s.memberships.map(facts);
    },
});

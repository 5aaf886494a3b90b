// Pictures of the pages of a running Callscope: node screenshots.mjs URL FOLDER
// Desktop and phone, light and dark; the pages of the first running call and its room too.
import { FLAGS } from "./flags.mjs";
import { chromium } from "playwright-core";
import { mkdirSync } from "node:fs";
import path from "node:path";

const [base, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const { data } = await (await fetch(`${base}/api/v1/calls/active`)).json();
// The call with most people is the most telling.
const call = data.sort((a, b) => b.people - a.people)[0];
const pages = { overview: "/", calls: "/calls", rooms: "/rooms", servers: "/servers", transports: "/transports", statistics: "/statistics", wall: "/wall", status: "/status" };
if (call) {
    pages.call = `/calls/${call.id}`;
    pages.server = `/servers/${call.servers[0]}`;
    pages.room = `/rooms/${encodeURIComponent(call.room.room_id)}`;
}
const sizes = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };

const browser = await chromium.launch({ executablePath: process.env.CALLSCOPE_TEST_CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
for (const [size, viewport] of Object.entries(sizes))
    for (const colorScheme of ["light", "dark"]) {
        const context = await browser.newContext({ viewport, colorScheme, locale: "en-GB", timezoneId: "Europe/Berlin" });
        const page = await context.newPage();
        for (const [name, at] of Object.entries(pages)) {
            await page.goto(base + at, { waitUntil: "load" });
            const file = path.join(folder, `${name}-${size}-${colorScheme}.png`);
            await page.screenshot({ path: file });
            process.stdout.write(file + "\n");
        }
        await context.close();
    }
await browser.close();

// Pictures of the pages of a running Callscope: node screenshots.mjs URL FOLDER
// Desktop and phone, light and dark, from top to bottom; the pages of the running call with most people and its room too.
import { FLAGS } from "./flags.mjs";
import { chromium } from "playwright-core";
import { mkdirSync } from "node:fs";
import path from "node:path";

const [base, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const { data } = await (await fetch(`${base}/api/v1/calls/active`)).json();
// The call with most people is the most telling.
const call = data.sort((a, b) => b.people - a.people)[0];
const pages = {
    overview: "/", calls: "/calls", rooms: "/rooms", servers: "/servers", transports: "/transports", statistics: "/statistics",
    wall: "/wall", status: "/status", about: "/about", rejected: "/rejected", api: "/api/docs", docs: "/docs", "docs-configure": "/docs/configure", "api-keys": "/api/docs/CallFacts",
    nothing: "/calls?q=nothing+is+called+so", error: "/calls/none",
};
if (call) {
    pages.call = `/calls/${call.id}`;
    pages.evidence = `/calls/${call.id}?events_from=0`;
    pages.server = `/servers/${call.servers[0]}`;
    pages.room = `/rooms/${encodeURIComponent(call.room.room_id)}`;
    pages.frame = `/embed${pages.room}`;
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
            const height = Math.min(await page.evaluate(() => document.documentElement.scrollHeight), 3000);
            await page.screenshot({ path: file, fullPage: true, clip: { x: 0, y: 0, width: viewport.width, height: Math.max(height, viewport.height) } });
            process.stdout.write(file + "\n");
        }
        await context.close();
    }
await browser.close();

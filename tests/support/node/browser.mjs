// Debian's Chromium, driven by playwright-core: pages by name, with what went wrong in each.
import { audit } from "./axe.mjs";
import { serve } from "./lines.mjs";
import { FLAGS } from "./flags.mjs";
import { chromium } from "playwright-core";

const pages = new Map(); // name -> {context, page, faults, asked}
let browser;

function watch(page, faults, asked) {
    page.on("request", (r) => !r.url().startsWith("data:") && asked.push(r.url()));
    page.on("console", (m) => m.type() === "error" && faults.push(`console: ${m.text()}`));
    page.on("pageerror", (e) => faults.push(`uncaught: ${e}`));
    page.on("requestfailed", (r) => {
        const why = r.failure()?.errorText;
        // Leaving a page ends its event stream: that is no fault.
        if (why !== "net::ERR_ABORTED") faults.push(`request: ${r.url()} ${why}`);
    });
    page.on("response", (r) => r.status() >= 400 && faults.push(`status ${r.status()}: ${r.url()}`));
}

const commands = {
    async start(c) {
        browser = await chromium.launch({ executablePath: c.executable, headless: true, args: FLAGS });
    },
    // A new page in a profile of its own.
    async open(c) {
        const context = await browser.newContext({
            javaScriptEnabled: c.js !== false,
            viewport: { width: c.width ?? 1280, height: c.height ?? 900 },
            colorScheme: c.scheme ?? "light",
            timezoneId: c.zone ?? "Europe/Berlin",
            locale: c.locale ?? "en-GB",
        });
        const page = await context.newPage();
        const faults = [];
        const asked = [];
        watch(page, faults, asked);
        pages.set(c.page, { context, page, faults, asked });
        return await commands.go(c);
    },
    async go(c) {
        const { page } = pages.get(c.page);
        const r = await page.goto(c.url, { waitUntil: "load", timeout: 30000 });
        return { status: r.status(), title: await page.title(), bytes: (await r.body()).length };
    },
    // Another window, or paper: what is open is laid out anew.
    async resize(c) {
        const { page } = pages.get(c.page);
        await page.setViewportSize({ width: c.width, height: c.height });
        await page.emulateMedia({ media: c.media });
    },
    async text(c) {
        return await pages.get(c.page).page.locator(c.selector ?? "body").first().innerText();
    },
    // The text in the first frame of the page.
    async frame_text(c) {
        return await pages.get(c.page).page.frameLocator("iframe").locator("body").innerText();
    },
    // `links`: where the matching anchors lead, without the query.
    async links(c) {
        // All at one moment: the page may change between two questions.
        const read = (all) => all.map((a) => a.getAttribute("href"));
        const hrefs = await pages.get(c.page).page.locator(c.selector).evaluateAll(read);
        return hrefs.filter(Boolean).map((h) => h.split(/[?#]/)[0]);
    },
    // Clicks what a person sees under this name (a pattern), or the first match of a selector, and waits
    // for the page that it leads to. Returns where that is.
    async click(c) {
        const { page } = pages.get(c.page);
        const link = c.selector
            ? page.locator(c.selector)
            : page.locator("main").getByRole("link", { name: new RegExp(c.name) });
        await link.first().click({ timeout: 10000 });
        await page.waitForLoadState("load");
        return page.url();
    },
    // Fills in a field; a box or a choice is ticked.
    async fill(c) {
        const field = pages.get(c.page).page.locator(c.selector).first();
        const kind = await field.getAttribute("type");
        if (kind === "checkbox" || kind === "radio") await field.check();
        else await field.fill(c.value);
    },
    async count(c) {
        return await pages.get(c.page).page.locator(c.selector).count();
    },
    async audit(c) {
        return await audit(pages.get(c.page).page);
    },
    async eval(c) {
        return await pages.get(c.page).page.evaluate(c.script);
    },
    async wait(c) {
        await pages.get(c.page).page.locator(c.selector).first().waitFor({ state: c.state ?? "attached", timeout: c.ms ?? 60000 });
    },
    async faults(c) {
        return pages.get(c.page).faults;
    },
    async asked(c) {
        return pages.get(c.page).asked;
    },
    async screenshot(c) {
        await pages.get(c.page).page.screenshot({ path: c.path, fullPage: !!c.full });
    },
    async close(c) {
        const p = pages.get(c.page);
        pages.delete(c.page);
        await p.context.close();
    },
};

serve(commands);

// axe-core in a page: what people who cannot see, or use no mouse, would run into.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// The violations, worst first: {impact, rule, help, at: [[selector, why], ...]}. The source goes in by the
// DevTools connection, so the page's own policy for scripts stays as it is.
export async function audit(page) {
    await page.evaluate(source);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    const order = ["critical", "serious", "moderate", "minor"];
    return found.violations
        .map((v) => ({ impact: v.impact, rule: v.id, help: v.help, at: v.nodes.slice(0, 5).map((n) => [n.target.join(" "), n.failureSummary]) }))
        .sort((a, b) => order.indexOf(a.impact) - order.indexOf(b.impact));
}

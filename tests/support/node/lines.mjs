// One JSON object a line: commands {id, do, ...} come in on standard input, answers
// {id, ok, result|error} and unasked {event, ...} lines go out. When standard input
// ends, whoever started this process is gone, and so is this process.
import { createInterface } from "node:readline";

const out = process.stdout;

export const tell = (o) => out.write(JSON.stringify({ ts: Date.now(), ...o }) + "\n");

export function serve(commands) {
    const input = createInterface({ input: process.stdin, crlfDelay: Infinity });
    input.on("line", async (text) => {
        const c = JSON.parse(text);
        try {
            if (!commands[c.do]) throw new Error(`no command ${c.do}`);
            tell({ id: c.id, ok: true, result: (await commands[c.do](c)) ?? null });
        } catch (e) {
            tell({ id: c.id, ok: false, error: String(e?.stack ?? e) });
        }
    });
    input.on("close", () => process.exit(0));
    process.on("unhandledRejection", (e) => tell({ event: "unhandled", error: String(e?.stack ?? e) }));
    tell({ event: "up" });
}

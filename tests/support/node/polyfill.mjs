// matrix-js-sdk asks for Node 22; this is what it needs beyond Node 20.
Promise.withResolvers ??= function () {
    let resolve, reject;
    const promise = new this((a, b) => {
        resolve = a;
        reject = b;
    });
    return { promise, resolve, reject };
};

// Standard output carries our own lines only. RTC_LOG=1 shows the SDK's log on standard error.
const sink = process.env.RTC_LOG ? (...a) => process.stderr.write(a.map(String).join(" ") + "\n") : () => {};
for (const k of ["trace", "debug", "info", "log", "warn", "error"]) console[k] = sink;

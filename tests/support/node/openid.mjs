// A real provider of OpenID Connect: the certified oidc-provider. Whoever logs in is whom they say.
import { serve } from "./lines.mjs";
import { createServer } from "node:http";
import Provider from "oidc-provider";

let server;
let handler;
// The identity token that the next answers carry in place of the right one.
let swapped = null;

// A person by the name of the login.
const account = (id) => ({
    accountId: id,
    claims: async () => ({
        sub: id,
        preferred_username: id,
        matrix_id: id === "odd" ? "odd" : `@${id}:example.org`,
    }),
});

serve({
    // Takes a port, a free one by default; returns the issuer.
    async listen({ port = 0 }) {
        server = createServer((req, res) => (handler ? handler(req, res) : res.writeHead(503).end()));
        await new Promise((done) => server.listen(port, "127.0.0.1", done));
        return { issuer: `http://127.0.0.1:${server.address().port}` };
    },

    // Answers as a provider for these clients. With `in_token`, the claims are in the token of who it
    // is; else they have to be asked for.
    serve({ issuer, clients, in_token }) {
        const provider = new Provider(issuer, {
            clients,
            claims: { openid: ["sub"], profile: ["preferred_username"], matrix: ["matrix_id"] },
            scopes: ["openid", "profile", "matrix"],
            conformIdTokenClaims: !in_token,
            findAccount: (_, id) => account(id),
            features: { devInteractions: { enabled: true } },
            pkce: { required: () => false },
            cookies: { keys: ["of a test"] },
            // Nobody is asked whether the client may know who it is.
            async loadExistingGrant(ctx) {
                const grant = new ctx.oidc.provider.Grant({
                    clientId: ctx.oidc.client.clientId,
                    accountId: ctx.oidc.session.accountId,
                });
                grant.addOIDCScope("openid profile matrix");
                await grant.save();
                return grant;
            },
        });
        // As Matrix Authentication Service does, and unlike this one, a scope that is not known is refused.
        const known = ["openid", "profile", "matrix"];
        provider.use(async (ctx, next) => {
            const { scope = "", redirect_uri, state } = ctx.query;
            if (ctx.path === "/auth" && !String(scope).split(" ").every((name) => known.includes(name))) {
                const why = new URLSearchParams({ error: "invalid_scope", state: String(state) });
                ctx.redirect(`${redirect_uri}?${why}`);
                return;
            }

            await next();
            if (swapped && ctx.path === "/token" && ctx.body?.id_token) ctx.body = { ...ctx.body, id_token: swapped };
        });
        handler = provider.callback();
    },

    swap({ id_token }) {
        swapped = id_token;
    },
});

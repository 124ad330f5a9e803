// A certified OpenID provider (oidc-provider), for tests: whoever writes a name into its form is that person.
//
// Argument: JSON with port, client, secret, redirects (redirect URIs). Says "ready" when it listens.

import { generateKeyPair, exportJWK } from "jose";
import Provider from "oidc-provider";

const { port, client, secret, redirects } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;

async function key(alg, kid) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), kid, alg, use: "sig" };
}

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: client,
      client_secret: secret,
      application_type: "native",
      redirect_uris: redirects,
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  jwks: { keys: [await key("RS256", "one"), await key("ES256", "two")] },
  cookies: { keys: ["of a test"] },
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["preferred_username", "name"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id.split(" ")[0], name: `${id} of the test` }),
  }),
  // Who has logged in agrees.
  async loadExistingGrant(ctx) {
    const { Grant } = ctx.oidc.provider;
    const grant = new Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid profile");
    await grant.save();
    return grant;
  },
});
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith("/interaction/")) {
    return next();
  }
  if (ctx.method === "GET") {
    ctx.type = "html";
    ctx.body =
      '<!doctype html><html lang="en"><title>Provider</title><link rel="icon" href="data:,">' +
      '<form method="post"><label>Who <input name="who"></label>' +
      '<button name="answer" value="yes">Go on</button><button name="answer" value="no">No</button></form>';
    return undefined;
  }
  const chunks = [];
  for await (const chunk of ctx.req) {
    chunks.push(chunk);
  }
  const form = new URLSearchParams(Buffer.concat(chunks).toString());
  const result =
    form.get("answer") === "no" ? { error: "access_denied" } : { login: { accountId: form.get("who") ?? "" }, consent: {} };
  ctx.respond = false;
  return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
});
provider.on("server_error", (_, error) => console.error(error));
provider.listen(port, "127.0.0.1", () => console.log("ready"));

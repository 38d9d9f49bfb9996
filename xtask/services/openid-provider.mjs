// A certified OpenID provider (the npm package oidc-provider) for the tests of signing in at one.
// Usage: NODE_PATH=node_modules node openid-provider.mjs PORT ORIGIN_OF_THE_GATE
//
// Whoever types a name at its form is that person, with that name's address; `amr` is what the form
// says. Addresses of names that begin with `unverified` are not verified.
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const [port, origin] = process.argv.slice(2);
const main = path.join(process.env.NODE_PATH, 'oidc-provider/lib/index.js');
const { Provider } = await import(pathToFileURL(main));

const client = (id, names) => ({
  client_id: id,
  client_secret: 'a-secret-of-the-client-4f7c1e9b2d8a6053',
  redirect_uris: names.map((name) => `${origin}/.portcullis/auth/openid/${name}/callback`),
  post_logout_redirect_uris: [`${origin}/.portcullis/auth/sign-in`],
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client('the-product', ['company'])],
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  cookies: { keys: ['only for tests'] },
  claims: { openid: ['sub', 'amr', 'acr'], email: ['email', 'email_verified'], auth_time: null },
  acrValues: ['urn:two-factors'],
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, name) => ({
    accountId: name,
    claims: () => ({
      sub: name,
      email: `${name}@corp.test`,
      email_verified: !name.startsWith('unverified'),
    }),
  }),
  // Nobody is asked whether the product may know them.
  async loadExistingGrant(ctx) {
    const known = ctx.oidc.session.grantIdFor(ctx.oidc.client.clientId);
    if (known) return ctx.oidc.provider.Grant.find(known);
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope('openid email');
    await grant.save();
    return grant;
  },
});

async function form(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  if (ctx.method === 'GET') {
    ctx.type = 'html';
    ctx.body = `<!doctype html><title>Provider</title><form method="post">
      <input name="login"><input name="amr"><button type="submit">Sign in</button></form>`;
    return;
  }
  const said = await form(ctx.req);
  const result = said.has('deny')
    ? { error: 'access_denied', error_description: '<script>alert(1)</script>' }
    : {
        login: {
          accountId: said.get('login'),
          amr: said.get('amr') ? said.get('amr').split(' ') : undefined,
          acr: said.get('acr') ?? undefined,
        },
      };
  ctx.respond = false;
  await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
});

provider.listen(Number(port), '127.0.0.1');

// Who is calling, as Portcullis says it. The key set is fetched once and again when an unknown key
// appears. Refuse every request without an assertion: requests of nobody bear one too, with the
// subject `anonymous`.

import { createRemoteJWKSet, jwtVerify } from 'jose';

const gate = process.env.PORTCULLIS_URL ?? 'http://127.0.0.1:8080';
const keys = createRemoteJWKSet(new URL('/.portcullis/jwks.json', gate), { cacheMaxAge: 3_600_000 });
const expected = {
  algorithms: ['EdDSA'],
  typ: 'portcullis-assertion+jwt',
  issuer: process.env.PORTCULLIS_ISSUER ?? 'portcullis', // [assertion] issuer
  audience: process.env.PORTCULLIS_AUDIENCE ?? 'app', // the name in [upstream.NAME]
  requiredClaims: ['iss', 'aud', 'sub', 'iat', 'exp', 'roles'],
  maxTokenAge: '5m', // no assertion lives longer; refuses an `iat` in the future as well
  clockTolerance: 2, // seconds
};

/** The verified claims: `sub`, `roles`, and for a user `sid` and perhaps `tenant`. Throws otherwise. */
export async function caller(request) {
  // `request.headers` joins lines of one name; here a second line has to be seen.
  const values = request.headersDistinct['x-portcullis-assertion'] ?? [];
  if (values.length !== 1) throw new Error('there must be exactly one assertion');
  const { payload } = await jwtVerify(values[0], keys, expected);
  if (typeof payload.aud !== 'string') throw new Error('an assertion is for one product');
  return payload;
}

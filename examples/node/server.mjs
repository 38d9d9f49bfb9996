// A product behind Portcullis. `npm install && PORT=8000 node server.mjs` in this folder.

import { createServer } from 'node:http';
import { caller } from './portcullis.mjs';

function answer(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

const server = createServer(async (request, response) => {
  let claims;
  try {
    claims = await caller(request);
  } catch {
    return answer(response, 401, { detail: 'this request did not come through the gate' });
  }
  const path = request.url.split('?')[0];
  if (path === '/whoami') return answer(response, 200, { subject: claims.sub, roles: claims.roles });
  if (path === '/reports') {
    if (!claims.roles.includes('admin')) return answer(response, 403, { detail: 'administrators only' });
    return answer(response, 200, ['everything is fine']);
  }
  return answer(response, 404, { detail: 'there is nothing here' });
});
server.listen(Number(process.env.PORT ?? 8000), '127.0.0.1');

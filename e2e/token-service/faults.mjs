// Faults by path, in front of the provider: an error status, a delay, a body that is none, a connection cut off.
const HUGE = 32 * 1024 * 1024;
const BODIES = {
  html: (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Sign in</title><p>Please sign in.'),
  huge: (res) => {
    const chunk = Buffer.alloc(64 * 1024, 'x');
    let left = HUGE / chunk.length;
    res.writeHead(200, { 'content-type': 'application/json' });
    res.write('{"active":true,"filler":"');
    const more = () => {
      while (left > 0 && !res.destroyed) {
        left -= 1;
        if (!res.write(chunk)) return;
      }
      if (left === 0) { left = -1; res.end('"}'); }
    };
    res.on('drain', more);
    more();
  },
  truncated: (res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': '200' });
    res.write('{"active":true,"scope":"ord', () => res.socket.destroySoon());
  },
  reset: (res) => res.socket.resetAndDestroy(),
};

function problem({ path, status, delayMs, body, times }) {
  if (typeof path !== 'string' || !path.startsWith('/')) return 'path: wanted, beginning with /';
  if (status === undefined && delayMs === undefined && body === undefined) return 'one of status, delayMs, body is wanted';
  if (status !== undefined && !(Number.isInteger(status) && status >= 200 && status <= 599)) return 'status: from 200 to 599';
  if (delayMs !== undefined && !(delayMs >= 0)) return 'delayMs: a number of milliseconds';
  if (body !== undefined && !BODIES[body]) return `body: one of ${Object.keys(BODIES).join(', ')}`;
  if (times !== undefined && times !== null && !(Number.isInteger(times) && times > 0)) return 'times: a positive number, or null for always';
  return undefined;
}

export function createFaults() {
  const faults = new Map();
  const take = (path) => {
    const fault = faults.get(path);
    if (fault?.left !== undefined) {
      fault.left -= 1;
      if (fault.left === 0) faults.delete(path);
    }
    return fault;
  };

  return {
    set(wanted) {
      const wrong = problem(wanted);
      if (wrong) throw new Error(wrong);
      faults.set(wanted.path, { ...wanted, left: wanted.times ?? undefined });
    },
    clear: () => faults.clear(),

    // True when the fault has answered and the request shall go no further.
    async answered(path, res) {
      const fault = take(path);
      if (!fault) return false;
      if (fault.delayMs) await new Promise((done) => { setTimeout(done, fault.delayMs); });
      if (fault.body) BODIES[fault.body](res);
      else if (fault.status !== undefined) {
        const headers = { 'content-type': 'application/json', ...(fault.retryAfter !== undefined && { 'retry-after': String(fault.retryAfter) }) };
        res.writeHead(fault.status, headers).end('{"error":"temporarily_unavailable"}');
      } else return false;
      return true;
    },
  };
}

// What the provider remembers. Its own store forgets beyond 1000 entries, which a long test run reaches, and belongs to
// one provider, while here a provider is replaced whenever its keys or scopes change.

export function createStore() {
  const entries = new Map();
  const alive = (entry) => entry !== undefined && entry.until > Date.now();

  const where = (model, member, value) => {
    for (const [key, entry] of entries) {
      if (key.startsWith(`${model}:`) && entry.payload[member] === value && alive(entry)) return structuredClone(entry.payload);
    }
    return undefined;
  };

  const adapter = (model) => ({
    async upsert(id, payload, expiresIn) {
      const until = expiresIn ? Date.now() + expiresIn * 1000 : Infinity;
      entries.set(`${model}:${id}`, { payload: structuredClone(payload), until });
    },
    async find(id) {
      const entry = entries.get(`${model}:${id}`);
      return alive(entry) ? structuredClone(entry.payload) : undefined;
    },
    async findByUid(uid) {
      return where(model, 'uid', uid);
    },
    async findByUserCode(userCode) {
      return where(model, 'userCode', userCode);
    },
    async consume(id) {
      const entry = entries.get(`${model}:${id}`);
      if (entry) entry.payload.consumed = Math.floor(Date.now() / 1000);
    },
    async destroy(id) {
      entries.delete(`${model}:${id}`);
    },
    async revokeByGrantId(grantId) {
      for (const [key, { payload }] of entries) {
        if (payload.grantId === grantId) entries.delete(key);
      }
    },
  });

  // What is alive of a model, for the control port.
  adapter.list = (model, member, value) => [...entries]
    .filter(([key, entry]) => key.startsWith(`${model}:`) && entry.payload[member] === value && alive(entry))
    .map(([, { payload }]) => structuredClone(payload));
  return adapter;
}

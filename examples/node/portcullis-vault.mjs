// Seals and opens fields of the product at the gate: Node 18, nothing to install.
export class Vault {
  constructor(gate, key) {
    this.base = gate.replace(/\/$/, "") + "/.portcullis/vault/";
    this.headers = { authorization: "Bearer " + key, "content-type": "application/json" };
  }

  async call(verb, items, tenant) {
    const body = JSON.stringify(tenant ? { tenant, items } : { items });
    const signal = AbortSignal.timeout(5000);
    const answer = await fetch(this.base + verb, { method: "POST", headers: this.headers, body, signal });
    if (!answer.ok) throw new Error(`${verb}: ${answer.status} ${(await answer.json()).type ?? ""}`);
    return (await answer.json()).items;
  }

  async seal(table, field, row, value, tenant) {
    return (await this.call("seal", [{ table, field, row: String(row), value }], tenant))[0].sealed;
  }

  async open(table, field, row, sealed, tenant) {
    const [item] = await this.call("open", [{ table, field, row: String(row), sealed }], tenant);
    if (item.error) throw new Error(item.error);
    return item.value;
  }

  async index(table, field, value, tenant) {
    return (await this.call("index", [{ table, field, value }], tenant))[0].index;
  }
}

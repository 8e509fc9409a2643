// A member of a channel at a key server, in JavaScript: for Node 20 or later, and with
// the same code for browsers. It enters with a channel key, opens the epochs' secrets,
// which are wrapped to a key of its own, and prints what changes.
//
//   npm install @hpke/core
//   node member.mjs https://127.0.0.1:8443 stage 123 card
//
// In Node, set NODE_EXTRA_CA_CERTS to the authority of the server's certificate.

import { readFile } from "node:fs/promises";
import { Aes128Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes128Gcm() });
const utf8 = new TextEncoder();
const toBase64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function concat(...parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

const be16 = (n) => new Uint8Array([n >> 8, n & 255]);
const str = (s) => concat(be16(utf8.encode(s).length), utf8.encode(s));
const be64 = (n) => {
  const b = new Uint8Array(8);
  new DataView(b.buffer).setBigUint64(0, BigInt(n));
  return b;
};

// unwrap returns the epochs that have a secret, with it. See "Wrapped" in openapi.yaml.
export async function unwrap(keys, member, privateKey) {
  const given = keys.epochs.filter((e) => e.state !== "retiring");
  const recipient = await suite.createRecipientContext({
    recipientKey: privateKey,
    enc: fromBase64(keys.wrapped.enc),
    info: concat(utf8.encode("chanseal 1 keys"), str(keys.channel), str(member)),
  });
  const aad = concat(...given.map((e) => concat(be64(e.epoch), be16(e.suite_id))));
  const secrets = new Uint8Array(await recipient.open(fromBase64(keys.wrapped.ciphertext), aad));
  if (secrets.length !== 32 * given.length) throw new Error("the wrapped keys do not fit");
  return given.map((e, i) => ({ ...e, secret: secrets.slice(32 * i, 32 * (i + 1)) }));
}

async function request(url, token, options = {}) {
  const headers = { Authorization: `Bearer ${token}`, ...options.headers };
  if (options.body) headers["Content-Type"] = "application/json";
  const reply = await fetch(url, { ...options, headers });
  if (!reply.ok) {
    const problem = await reply.json();
    throw new Error(`${problem.title} (${problem.reason})`);
  }
  return reply;
}

// events yields a stream's events: {name, id, data}.
async function* events(reply) {
  let text = "";
  for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const fields = Object.fromEntries(text.slice(0, end).split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
      if (fields.event) yield { name: fields.event, id: fields.id, data: JSON.parse(fields.data) };
    }
  }
}

export async function* member(server, channel, uid, card) {
  const base = `${server}/v1/channels/${encodeURIComponent(channel)}`;
  const pair = await suite.kem.generateKeyPair();
  const body = JSON.stringify({ uid, kem: "x25519", public_key: toBase64(await suite.kem.serializePublicKey(pair.publicKey)) });
  const seat = await (await request(`${base}/members`, card, { method: "POST", body })).json();
  try {
    for await (const event of events(await request(`${base}/watch`, seat.token))) {
      if (event.name === "keys") yield await unwrap(event.data, seat.member, pair.privateKey);
      if (event.name === "put-out") throw new Error(`${event.data.title} (${event.data.reason})`);
    }
  } finally {
    await request(`${base}/members/me`, seat.token, { method: "DELETE" }).catch(() => {});
  }
}

if (process.argv[1] === (await import("node:url")).fileURLToPath(import.meta.url)) {
  const [server, channel, uid, file] = process.argv.slice(2);
  const card = (await readFile(file, "utf8")).trim();
  for await (const epochs of member(server, channel, uid, card)) {
    // Never print a secret: this prints the hash of each, to compare two members.
    for (const e of epochs) {
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", e.secret));
      console.log(`epoch ${e.epoch} ${e.state} ${toBase64(hash)}`);
    }
    console.log("current");
  }
}

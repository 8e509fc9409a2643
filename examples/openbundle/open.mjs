// Opens a bundle of chanseal's in JavaScript: what a browser or a Node program needs to
// become a member of a channel. It shows what is in the bundle and the epochs'
// fingerprints, to compare with "chanseal channel show"; the secrets stay inside.
//
//	npm install @hpke/core @hpke/hybridkem-x-wing
//	node open.mjs FINGERPRINT me.identity stage.bundle
//
// An age identity opens its part with the program age (1.0 or later).
//
// The format is that of SPEC.md, "Bundles".

import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import * as crypto from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cwd } from "node:process";
import { pathToFileURL } from "node:url";

// Modules may be installed beside this file or in the working directory.
async function load(name) {
  try {
    return await import(name);
  } catch {
    return await import(pathToFileURL(createRequire(cwd() + "/").resolve(name)));
  }
}

const sha256 = (...parts) => crypto.createHash("sha256").update(Buffer.concat(parts.map((p) => Buffer.from(p)))).digest();
const fingerprint = (b) => b.subarray(0, 16).toString("hex").match(/.{4}/g).join("-");

class Reader {
  constructor(b) { this.b = b; this.at = 0; }
  bytes(n) {
    if (n > this.b.length - this.at) throw new Error("it is cut off");
    return this.b.subarray(this.at, (this.at += n));
  }
  u8() { return this.bytes(1)[0]; }
  u16() { return this.bytes(2).readUInt16BE(); }
  u32() { return this.bytes(4).readUInt32BE(); }
  u64() { return this.bytes(8).readBigUInt64BE(); }
  time() { return new Date(Number(this.u64() / 1_000_000n)); }
  end() { if (this.at !== this.b.length) throw new Error("bytes are left over"); }
}

function parse(b) {
  const r = new Reader(b);
  if (r.bytes(15).toString("latin1") !== "chanseal bundle" || r.u8() !== 1) throw new Error("this is no bundle of version 1");
  const u = { issuer: r.bytes(32), id: r.bytes(16), created: r.time(), notBefore: r.time(), notAfter: r.time(), parts: [] };
  u.head = b.subarray(0, r.at);
  for (let n = r.u16(); n > 0; n--) u.parts.push({ hint: r.bytes(8), kem: r.u16(), sealed: r.bytes(r.u32()) });
  u.body = r.bytes(r.u32());
  u.signed = b.subarray(0, r.at);
  u.signature = r.bytes(64);
  r.end();
  return u;
}

// The issuer's signature comes first: nothing else is looked at before.
function verify(u, expected) {
  const is = fingerprint(sha256("chanseal 1 issuer", u.issuer));
  if (is !== expected) throw new Error(`it is of the issuer ${is}, not ${expected}`);
  const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), u.issuer]);
  const key = crypto.createPublicKey({ key: spki, format: "der", type: "spki" });
  if (!crypto.verify(null, Buffer.concat([Buffer.from("chanseal 1 bundle signature"), u.signed]), key, u.signature)) throw new Error("it was altered");
  const now = Date.now();
  if (now < u.notBefore - 60_000) throw new Error("it is not valid yet");
  if (now > u.notAfter.getTime() + 60_000) throw new Error("it has expired");
}

async function kem(name) {
  const core = await load("@hpke/core");
  switch (name) {
    case "x25519": return [core, new core.DhkemX25519HkdfSha256(), 32];
    case "p256": return [core, new core.DhkemP256HkdfSha256(), 65];
    case "mlkem768-x25519": return [core, new (await load("@hpke/hybridkem-x-wing")).XWing(), 1120];
  }
  throw new Error(`no KEM ${name}`);
}

// openPart returns the content key ‖ the sender numbers that go with it.
async function openPart(u, identityFile) {
  const text = readFileSync(identityFile, "utf8");
  const info = Buffer.concat([Buffer.from("chanseal 1 bundle part"), u.issuer, u.id]);
  const [line] = text.split("\n").filter((l) => l !== "" && !l.startsWith("#"));
  if (line.startsWith("AGE-SECRET-KEY-")) return openByAge(u, info, identityFile);
  const [, name, secret] = line.split(":");
  const [core, k, encSize] = await kem(name);
  const suite = new core.CipherSuite({ kem: k, kdf: new core.HkdfSha256(), aead: new core.Aes256Gcm() });
  const raw = Buffer.from(secret, "base64url");
  const recipientKey = await k.deserializePrivateKey(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
  for (const part of u.parts.filter((p) => p.kem === k.id)) {
    try {
      const ctx = await suite.createRecipientContext({ recipientKey, enc: part.sealed.subarray(0, encSize), info });
      return Buffer.from(await ctx.open(part.sealed.subarray(encSize)));
    } catch { /* somebody else's */ }
  }
  throw new Error("no part is for this identity");
}

function openByAge(u, info, identityFile) {
  for (const part of u.parts.filter((p) => p.kem === 0)) {
    const age = spawnSync("age", ["--decrypt", "--identity", identityFile], { input: part.sealed });
    if (age.error) throw age.error;
    if (age.status === 0 && age.stdout.subarray(0, info.length).equals(info)) return age.stdout.subarray(info.length);
  }
  throw new Error("no part is for this identity");
}

function openBody(u, key) {
  const tag = u.body.length - 16;
  const aes = crypto.createDecipheriv("aes-256-gcm", key, Buffer.alloc(12));
  aes.setAAD(u.head).setAuthTag(u.body.subarray(tag));
  const r = new Reader(Buffer.concat([aes.update(u.body.subarray(0, tag)), aes.final()]));
  const channel = r.bytes(r.u16());
  r.u64(); // serial
  r.u64(); // grace
  const epochs = [];
  for (let n = r.u16(); n > 0; n--) {
    const number = r.u64(), kind = r.u8(), state = r.u8(), suite = r.u16();
    r.bytes(4 * 8); // created, activate_at, activated, until
    r.bytes(2 * r.u16()); // barred senders
    const secret = r.bytes(32);
    const label = Buffer.alloc(channel.length + 12);
    label.writeUInt16BE(channel.length);
    channel.copy(label, 2);
    label.writeBigUInt64BE(number, 2 + channel.length);
    label.writeUInt16BE(suite, 10 + channel.length);
    const print = crypto.hkdfSync("sha256", secret, "", Buffer.concat([Buffer.from("chanseal 1 fingerprint"), label]), 16);
    epochs.push({ epoch: Number(number), kind, state, suite, fingerprint: fingerprint(Buffer.from(print)) });
  }
  r.end();
  return { channel: channel.toString(), epochs };
}

async function main([from, identityFile, bundleFile]) {
  const u = parse(readFileSync(bundleFile));
  verify(u, from);
  const part = new Reader(await openPart(u, identityFile));
  const key = part.bytes(32);
  const senders = [];
  for (let n = part.u16(); n > 0; n--) senders.push([part.u16(), part.u16()]);
  part.end();
  return { ...openBody(u, key), senders, not_after: u.notAfter };
}

try {
  console.log(JSON.stringify(await main(process.argv.slice(2)), null, 2));
} catch (e) {
  console.error(`open.mjs: ${e.message}`);
  process.exitCode = 1;
}

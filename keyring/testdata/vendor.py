"""Makes vendor.json: what ImportVendor derives, written down from SPEC.md with nothing
but Python's hashlib and hmac. Run it in this directory: python3 vendor.py"""
import base64, hashlib, hmac, json

ROUNDS = 600_000
SUITES = {"aes-128-xts": 0xF002, "aes-256-xts": 0xF003, "aes-128-gcm": 4, "aes-256-gcm": 5, "aes-128-gcm2": 4, "aes-256-gcm2": 5}


def s(x: bytes) -> bytes:
    return len(x).to_bytes(2, "big") + x


def secret(channel: str, mode: str, key: bytes, salt: bytes) -> bytes:
    label = b"chanseal 1 vendor key" + s(channel.encode()) + s(mode.encode()) + s(salt)
    return hashlib.pbkdf2_hmac("sha256", key, label, ROUNDS, 32)


def fingerprint(channel: str, epoch: int, suite: int, sec: bytes) -> str:
    prk = hmac.digest(bytes(32), sec, "sha256")
    info = b"chanseal 1 fingerprint" + s(channel.encode()) + epoch.to_bytes(8, "big") + suite.to_bytes(2, "big")
    x = hmac.digest(prk, info + b"\x01", "sha256")[:16].hex()
    return "-".join(x[i:i + 4] for i in range(0, 32, 4))


salt = base64.b64encode(bytes(range(32))).decode()
digits = "0123456789abcdef" * 4
cases = [
    ("stage", "aes-128-gcm2", "7", digits, "text", salt),
    ("stage", "aes-128-gcm2", "AES_128_GCM2", digits, "bytes", salt),
    ("stage", "aes-256-gcm2", "aes-256-gcm-2", digits, "text", base64.b64encode(bytes(31) + b"\x01").decode()),
    ("stage", "aes-128-gcm", "5", "correct horse battery staple", "", ""),
    ("Größe", "aes-128-gcm", "aes-128-gcm", "Schlüssel", "", ""),
    ("stage", "aes-256-gcm", "6", "abcd", "", ""),
    ("stage", "aes-128-xts", "1", digits.upper(), "bytes", ""),
    ("stage", "aes-256-xts", "aes-256-xts", digits[:63], "", ""),
]
out = []
for channel, mode, asked, key, hex_, salt64 in cases:
    raw = bytes.fromhex(key) if hex_ == "bytes" else key.encode()
    sec = secret(channel, mode, raw, base64.b64decode(salt64))
    out.append({"channel": channel, "mode": asked, "key": key, "hex": hex_, "salt": salt64, "suite": SUITES[mode],
                "secret": sec.hex(), "fingerprint": fingerprint(channel, 1, SUITES[mode], sec)})
with open("vendor.json", "w", encoding="utf-8") as f:
    json.dump(out, f, ensure_ascii=False, indent=1)
    f.write("\n")

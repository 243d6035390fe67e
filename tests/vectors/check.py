#!/usr/bin/env python3
"""The vectors once more, in another language, from docs/protocol.md: everything but OPAQUE itself.

    python3 -m pip install 'cryptography>=42'    (with OpenSSL 3.2 or later: its wheels have it)
    python3 tests/vectors/check.py
"""

import hashlib
import hmac
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FILES = Path(__file__).parent / "v1"
RUN, SCHEDULE, MESSAGES, RECORDS, FLEET = (
    json.loads((FILES / f"{name}.json").read_text()) for name in ("run", "schedule", "messages", "records", "fleet")
)
CHECKS = 0


def same(what, computed, committed):
    global CHECKS
    CHECKS += 1
    assert computed == committed, f"{what}:\n  {computed!r}\n  {committed!r}"


# --- section 3: encoding --------------------------------------------------------------------------------


def varint(number):
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def fixed(text):
    return bytes.fromhex(text)


def long(text):
    return varint(len(text) // 2) + fixed(text)


def boolean(value):
    return bytes([value])


def optional(encode):
    return lambda value: b"\0" if value is None else b"\1" + encode(value)


def many(encode):
    return lambda values: varint(len(values)) + b"".join(map(encode, values))


def struct(**fields):
    return lambda value: b"".join(encode(value[name]) for name, encode in fields.items())


def enum(*variants):
    """Each a name, or a name and what encodes its fields; the place is the number."""
    table = {}
    for number, variant in enumerate(variants):
        name, encode = variant if isinstance(variant, tuple) else (variant, lambda value: b"")
        table[name] = (number, encode)

    def encode(value):
        name, fields = (value, None) if isinstance(value, str) else next(iter(value.items()))
        number, inner = table[name]
        return varint(number) + inner(fields)

    return encode


# --- sections 4, 11 to 23, 25, 28: messages and audit entries -------------------------------------------

REFUSAL = enum(
    "Denied", "NameTaken", ("TryAgainAt", varint), "SessionEnded", ("KeyIdTaken", fixed), "NotFound", "TooLarge",
    ("AlreadyDeleted", fixed), "LoginTooOld", "HeadMoved",
)
FRAME = struct(session_id=fixed, sequence=varint, sealed=long)
CLIENT_MESSAGE = enum(
    ("RegistrationRequest", struct(account=long, blinded=fixed)),
    ("RegistrationUpload", struct(session_id=fixed, upload=fixed, wrap=fixed, head=fixed, transcript=fixed)),
    ("LoginRequest", struct(
        account=long, profile=struct(memory_kib=varint, passes=varint, lanes=varint), ke1=fixed)),
    ("LoginFinish", struct(session_id=fixed, ke3=fixed)),
    ("Frame", FRAME),
)
SERVER_MESSAGE = enum(
    ("RegistrationResponse", struct(session_id=fixed, user_id=fixed, evaluated=fixed)),
    ("Registered", struct(session_id=fixed)),
    ("LoginResponse", struct(session_id=fixed, ke2=fixed)),
    ("Refused", struct(session_id=fixed, refusal=REFUSAL)),
    ("Frame", FRAME),
)
KIND = enum(("Bytes", varint), "Secp256k1", "Ed25519")
SECRETS = many(struct(header=long, ciphertext=long))
KEY_IDS = many(fixed)
PLACE = struct(at=varint, session_id=fixed, sequence=varint, request=fixed, granted=boolean)
ACTION = enum(
    "Register", ("LogIn", struct(attempts_spent=varint)), "Store", "Retrieve", "List", "Delete", "ChangePassword",
    "DeleteAccount",
)
ENTRY = struct(
    user_id=fixed, session_id=fixed, sequence=varint, request=fixed, at=varint, action=ACTION, granted=boolean,
    key_ids=KEY_IDS,
)
FILTER = struct(
    about=enum("All", "Account", "Secrets"), key_ids=KEY_IDS, **{"from": optional(varint)}, until=optional(varint))
NOTHING = struct()
REQUEST = enum(
    ("Generate", struct(kinds=many(KIND))),
    ("Store", struct(secrets=SECRETS, head=fixed)),
    ("Retrieve", struct(key_ids=KEY_IDS)),
    ("List", struct(after=optional(fixed), limit=varint)),
    ("Delete", struct(key_ids=KEY_IDS, head=fixed)),
    ("ChangePassword", enum(
        ("Start", struct(blinded=fixed)), ("Finish", struct(upload=fixed, wrap=fixed, head=fixed)))),
    ("Audit", struct(filter=FILTER, after=optional(PLACE), limit=varint)),
    ("Status", NOTHING),
    ("LogOut", NOTHING),
    ("DeleteAccount", struct(head=optional(fixed))),
    ("Heads", struct(**{"from": optional(varint)})),
)
REPLY = enum(
    ("Refused", REFUSAL),
    ("Welcome", struct(user_id=fixed, wrap=fixed, expires=varint)),
    ("Generate", struct(server_random=fixed)),
    ("Store", struct(key_ids=KEY_IDS, repeated=boolean)),
    ("Retrieve", struct(secrets=SECRETS)),
    ("List", struct(secrets=SECRETS, next=optional(fixed), epoch=varint)),
    ("Delete", struct(key_ids=KEY_IDS)),
    ("ChangePassword", enum(("Evaluated", struct(evaluated=fixed)), "Changed")),
    ("Audit", struct(entries=many(ENTRY), next=optional(PLACE))),
    ("Status", struct(lifetime=varint, idle=varint, recent=varint)),
    ("LogOut", NOTHING),
    ("DeleteAccount", struct(done=boolean)),
    ("Heads", struct(heads=many(fixed), newest=varint)),
)
PENDING = struct(secrets=SECRETS, since=optional(struct(epoch=varint, hash=fixed)), tag=fixed)


def messages():
    for list_name, encode, version in (
        ("client_messages", CLIENT_MESSAGE, b"\1"), ("server_messages", SERVER_MESSAGE, b"\1"),
        ("requests", REQUEST, b""), ("replies", REPLY, b""), ("refusals", REFUSAL, b""),
    ):
        for entry in MESSAGES[list_name]:
            same(f"{list_name}: {entry['name']}", (version + encode(entry["value"])).hex(), entry["bytes"])


# --- sections 6 to 9 and 28: the key schedule, hashes, secrets, heads, pins -----------------------------


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def expand(prk, info, length):
    out, block, number = b"", b"", 1
    while len(out) < length:
        block = mac(prk, block + info + bytes([number]))
        out, number = out + block, number + 1
    return out[:length]


def info(label, *fields):
    label = b"keystow v1 " + label.encode()
    return bytes([len(label)]) + label + b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def digest(label, *parts):
    return hashlib.sha256(b"keystow v1 " + label.encode() + b"".join(parts)).digest()


def schedule():
    """Every step by itself."""
    for step in SCHEDULE["steps"]:
        name, label = step["name"], step.get("label")
        value = {key: fixed(text) for key, text in step.items() if key not in ("name", "label", "does")}
        match step["does"]:
            case "HKDF-Expand":
                same(name, value["info"][: 12 + len(label)], info(label))
                given = expand(value["prk"], value["info"], len(value["gives"]))
            case "HKDF-Extract":
                given = mac(value["salt"], value["ikm"])
            case "HMAC-SHA-256":
                given = mac(value["key"], value["message"])
            case "SHA-256":
                same(name, value["message"].startswith(b"keystow v1 "), label is not None)
                same(name, label is None or value["message"].startswith(b"keystow v1 " + label.encode()), True)
                given = hashlib.sha256(value["message"]).digest()
            case "AES-256-GCM-SIV":
                given = AESGCMSIV(value["key"]).encrypt(value["nonce"], value["plaintext"], value["aad"])
            case "ChaCha20":
                stream = Cipher(algorithms.ChaCha20(value["key"], bytes(16)), None).encryptor()
                given = stream.update(bytes(len(value["gives"])))
            case "info":
                given = info(label, value["suite"], value["profile"])
            case _:  # OPAQUE: a library's matter
                continue
        same(name, given.hex(), step["gives"])


def public_component(kind, secret):
    if kind == "secp256k1":
        key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1()).public_key()
        return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.from_private_bytes(secret).public_key()
        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b""


def generate(vault_key, kind, user_id, server_random, index, client_random):
    """Sections 7 and 9."""
    prk = mac(expand(vault_key, info("generation hedge"), 32), client_random)
    raw = expand(prk, info("secret", user_id, kind, server_random, index), 64 if kind[0] == 1 else kind[4])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    return (int.from_bytes(raw, "big") % (order - 1) + 1).to_bytes(32, "big") if kind[0] == 1 else raw


def vault():
    """From export_key to each secret in the clear, and along the heads."""
    steps = {step["name"]: step for step in SCHEDULE["steps"]}
    user_id, export_key = fixed(RUN["user_id"]), fixed(steps["log in"]["export_key"])
    wrap = fixed(RUN["account_record"])[-48:]
    wrap_key = expand(export_key, info("vault wrap", user_id), 32)
    vault_key = AESGCMSIV(wrap_key).decrypt(bytes(12), wrap, b"\1" + user_id)
    same("vault key", vault_key.hex(), steps["vault key"]["gives"])
    client_random = fixed(steps["PRK of the generation"]["ikm"])
    for secret in RUN["secrets"]:
        record = fixed(secret["record"])
        header_length = record[2]
        header, ciphertext = record[3 : 3 + header_length], record[3 + header_length + 1 :]
        opened = AESGCMSIV(expand(vault_key, info("record", header), 32)).decrypt(bytes(12), ciphertext, header)
        same("secret", opened.hex(), secret["secret"])
        same("key ID", digest("key id", header)[:16].hex(), secret["key_id"])
        same("public", public_component(secret["kind"], opened).hex(), secret["public"] or "")
        same("public in the header", header[57:-32].hex(), secret["public"] or "")
        made = generate(vault_key, header[17:22], user_id, header[23:55], header[55:57], client_random)
        same("generated", made.hex(), secret["secret"])
    head_key, prev = expand(vault_key, info("vault head"), 32), bytes(32)
    for epoch, head in enumerate(SCHEDULE["heads"]):
        sealed, at = fixed(head["head"]), epoch.to_bytes(8, "big")
        nonce = digest("head nonce", fixed(head["session_id"]), head["sequence"].to_bytes(8, "big"))[:12]
        same("epoch and nonce", sealed[:20], at + nonce)
        contents = AESGCMSIV(head_key).decrypt(nonce, sealed[20:], b"\1" + user_id + at)
        says = prev + head["count"].to_bytes(8, "big") + fixed(head["digest"]) + fixed(head["credential_tag"])
        same("contents", contents.hex(), says.hex())
        prev = digest("head", sealed)
        same("pin", (at + prev).hex(), head["pin"])
        same("pin's text", bech32m("kspin", prev + at.lstrip(b"\0")), head["pin_text"])
    element_key = expand(vault_key, info("vault element"), 32)
    elements = [int.from_bytes(mac(element_key, fixed(secret["key_id"])), "big") for secret in RUN["secrets"]]
    same("digest", (sum(elements) % 2**256).to_bytes(32, "big").hex(), SCHEDULE["heads"][1]["digest"])


def bech32m(prefix, data):
    """BIP 350."""
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    digits = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    state = 1
    for digit in [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + digits + [0] * 6:
        top, state = state >> 25, (state & 0x1FFFFFF) << 5 ^ digit
        for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> i & 1 else 0
    state ^= 0x2BC830A3
    return prefix + "1" + "".join(letters[digit] for digit in digits + [state >> 5 * (5 - i) & 31 for i in range(6)])


# --- sections 9 and 25: records -------------------------------------------------------------------------


def records():
    for header in RECORDS["headers"]:
        parts = "version user_id kind length origin server_random index public binder".split()
        laid_out = b"".join(fixed(header[part]) for part in parts)
        same(header["name"], laid_out.hex(), header["bytes"])
        same(header["name"], digest("key id", laid_out)[:16].hex(), header["key_id"])
    for entry in RECORDS["audit_entries"]:
        value = entry["value"]
        same(entry["name"], (b"\1" + ENTRY(value)).hex(), entry["bytes"])
        same(entry["name"], PLACE(value).hex(), entry["place"])
        key = [fixed(value["user_id"]), fixed(value["session_id"]), value["sequence"].to_bytes(8, "big")]
        same(entry["name"], b"".join([*key, fixed(value["request"]), bytes([value["granted"]])]).hex(), entry["key"])
    for pin in RECORDS["pins"]:
        data = fixed(pin["bytes"])
        same(pin["name"], pin["epoch"].to_bytes(8, "big"), data[:8])
        same(pin["name"], bech32m("kspin", data[8:] + data[:8].lstrip(b"\0")), pin["text"])
    for record in RECORDS["records"]:
        if record["name"].startswith("pending"):
            same(record["name"], (b"\1" + PENDING(record["value"])).hex(), record["bytes"])
        elif record["name"].startswith("secret"):
            laid_out = b"\1\0" + long(record["header"]) + long(record["ciphertext"])
            same(record["name"], laid_out.hex(), record["bytes"])


def attempts():
    """Section 24."""
    window, now = 900_000, RUN["inputs"]["now_millis"]
    for counter, ends in RUN["attempts"]:
        shift = int.from_bytes(fixed(counter)[:8], "big") % window
        same("window", now + window - (now + shift) % window, ends)
    names = [RUN["inputs"][name].encode() for name in ("account", "unknown_account")]
    same("counters", sorted(digest("attempts", name).hex() for name in names), sorted(c for c, _ in RUN["attempts"]))


if __name__ == "__main__":
    for check in (messages, schedule, vault, records, attempts):
        check()
    print(f"{CHECKS} values are what docs/protocol.md says")

#!/usr/bin/env python3
"""Shares of a path's instructions, by what they are spent on: the profiles that `cargo bench --bench instructions` leaves.

    python3 benches/support/shares.py target/gungraun/keystow/instructions/paths/*/callgrind.*.out

Each instruction counts for the function that it is part of, and that function for the first group whose pattern it has.
"""

import collections
import pathlib
import re
import sys

GROUPS = [
    ("stack overwritten, memory wiped", r"memset|zeroize"),
    ("copies", r"memcpy|memmove|memcmp"),
    ("malloc and free", r"malloc|free|calloc|realloc|unlink_chunk|__rustc|__rdl|__rust_"),
    ("secp256k1", r"k256|primeorder|elliptic_curve|fiat|wnaf"),
    ("ristretto255, Ed25519", r"curve25519|ed25519|ristretto|edwards"),
    ("SHA-2", r"sha2|digest|hmac|hkdf|block_buffer|crypto_common"),
    ("AES-256-GCM-SIV", r"aes|polyval|universal_hash|cipher|ctr::|ghash"),
    ("ChaCha20", r"chacha|rand_core"),
    ("opaque-ke, voprf", r"opaque_ke|voprf|generic_array"),
    ("inversions and comparisons", r"crypto_bigint|subtle|ctutils|cmov"),
    ("MemoryStore and driver", r"keystow::testing|Apart|btree|instructions::"),
    ("encoding", r"serde|postcard|[Ss]erialize|keystow::codec"),
    ("the rest of keystow", r"keystow"),
]


def costs(path):
    """Instructions by function, without those of what it calls."""
    own, current, called = collections.Counter(), None, False
    for line in path.read_text().splitlines():
        if line.startswith("fn="):
            current = line[3:]
        elif line.startswith("calls="):
            called = True
        elif match := re.match(r"[+\-*\d]\S* (\d+)", line):
            if not called and current is not None:
                own[current] += int(match[1])
            called = False
    return own


def group_of(name):
    return next((group for group, pattern in GROUPS if re.search(pattern, name)), "other")


def main():
    for argument in sys.argv[1:]:
        path, groups = pathlib.Path(argument), collections.Counter()
        own = costs(path)
        for name, count in own.items():
            groups[group_of(name)] += count
        total = sum(groups.values())
        print(f"{path.parent.name}: {total:,} instructions")
        for group, count in groups.most_common():
            if count * 200 >= total:
                print(f"  {100 * count / total:5.1f} %  {group}")


main()

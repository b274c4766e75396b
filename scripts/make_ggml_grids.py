#!/usr/bin/python3
"""docs/ggml_grids.txt -> src/base/ggml_grids.h, after comparing the checksums: make_ggml_grids.py (from anywhere)."""
import hashlib
import os

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def tables(path):
    """name -> (dim, bits, values, words)"""
    found, sha, name = {}, None, None
    for line in open(path).read().split("\n"):
        if line.startswith("# sha256"):
            sha = line.split()[2]
        elif line.startswith("@"):
            name, rest = line[1:].split()[0], [int(x) for x in line.split()[1:]]
            found[name] = [sha, rest, ""]
        elif line and line[0] != "#":
            found[name][2] += line
    for name, (sha, (n, dim, bits, digits, *values), text) in found.items():
        words = [int(text[i:i + digits], 16) for i in range(0, len(text), digits)]
        flat = bytes(values[w >> bits * j & (1 << bits) - 1] for w in words for j in range(dim))
        assert len(words) == n and hashlib.sha256(flat).hexdigest() == sha, name
        found[name] = (dim, bits, values, words)
    return found


def main():
    out = ["/* ggml_grids.h - made by scripts/make_ggml_grids.py from docs/ggml_grids.txt: do not edit.",
           " *",
           " * The grids of ggml's i-quants, packed: coordinate j of entry i is the level number word[i] >> bits * j, bits of it.",
           " * 2-bit levels are 8, 25, 43. 3-bit levels are 4, 12, 20, 28, 36, 44, 52, 62 (iq3xxs) or 1, 3, .. 15 (iq3s). */",
           "#ifndef WC_BASE_GGML_GRIDS_H", "#define WC_BASE_GGML_GRIDS_H", "", "#include <stdint.h>", "",
           "/* clang-format off */"]
    for name, (dim, bits, values, words) in tables(os.path.join(root, "docs/ggml_grids.txt")).items():
        out.append("static const uint16_t wc_ggml_%s[%d] = {" % (name[:-5], len(words)))
        for i in range(0, len(words), 12):
            out.append("    " + " ".join("0x%04x," % w for w in words[i:i + 12]))
        out.append("};")
    out += ["/* clang-format on */", "", "#endif", ""]
    with open(os.path.join(root, "src/base/ggml_grids.h"), "w") as f:
        f.write("\n".join(out))


main()

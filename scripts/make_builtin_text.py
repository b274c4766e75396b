#!/usr/bin/env python3
"""Makes src/calib/builtin.txt, the calibration text that is compiled into the program.

usage: make_builtin_text.py PROSE.txt > src/calib/builtin.txt      (from the repository root)

PROSE.txt: public-domain prose, passages separated by a line `<|endoftext|>'. The result mixes the beginnings of many
passages with source code of this repository and scripts/builtin_misc.txt (other languages, tables, dialogue, numbers,
code in other languages), in turns, so that any evenly spread choice of windows sees all of it. The committed text is not
remade when the sources change: results depend on it."""
import glob
import itertools
import sys

PASSAGES, PASSAGE_BYTES, CODE_BYTES = 64, 4000, 100_000


def cut(text, size):
    """At most size characters, ending at the end of a paragraph where there is one."""
    if len(text) <= size:
        return text
    end = text.rfind("\n\n", 0, size)
    return text[: end if end > size // 2 else size]


def pieces(text, size):
    """text in paragraphs-aligned pieces of about size characters."""
    while text:
        head = cut(text, size)
        yield head.strip("\n")
        text = text[len(head):].lstrip("\n")


def main():
    prose = open(sys.argv[1], encoding="utf-8").read().split("<|endoftext|>")
    prose = [cut(p.strip(), PASSAGE_BYTES) for p in prose if len(p) > PASSAGE_BYTES]
    prose = prose[:: max(1, len(prose) // PASSAGES)][:PASSAGES]
    names = sorted(glob.glob("src/*/*.c") + glob.glob("methods/*/*.c") + glob.glob("formats/*/*.c") + glob.glob("scripts/*.py"))
    code = [cut(open(n, encoding="utf-8").read(), 3500) for n in names[:: max(1, len(names) * 3500 // CODE_BYTES)]]
    misc = list(pieces(open("scripts/builtin_misc.txt", encoding="utf-8").read(), 900))
    turns = itertools.zip_longest(prose, code, misc)
    sys.stdout.write("\n\n".join(p for turn in turns for p in turn if p) + "\n")


main()

#!/usr/bin/env python3
"""What the compiler made of the CUDA kernels' loops, for docs/CUDA.md:

    cuobjdump -sass build/libwcdecode_cuda.a | scripts/cuda_counts.py [sm_90]

For each kernel of that architecture: its instructions, and its longest stretch that no branch leaves or enters, which is
the body of the loop over codes; of that the instructions in all and by name. A body of wcu_grid_piped<BITS> works on 8
rows (4 above 4 bits) of 32 columns, one of wcu_grid_product<BITS, 1> and wcu_lut_product<BITS, 1> on 4 rows."""
import collections
import re
import sys


def kernels(lines, arch):
    """Yields (name, [(address, instruction)]) of every function of one architecture."""
    name, body, wanted = None, [], False
    for line in lines:
        found = re.match(r"\s*arch = (\S+)", line)
        if found:
            wanted = found.group(1) == arch
        found = re.match(r"\s*Function : (\S+)", line)
        if found:
            if name:
                yield name, body
            name, body = found.group(1) if wanted else None, []
        found = re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?);", line)
        if found and name:
            body.append((int(found.group(1), 16), found.group(2)))
    if name:
        yield name, body


def stretches(body):
    """Instructions between branches and the places that branches go to."""
    targets = {int(t, 16) for _, i in body for t in re.findall(r"BRA\S*.*?(0x[0-9a-f]+)", i)}
    run = []
    for address, instruction in body:
        if address in targets:
            yield run
            run = []
        run.append(instruction)
        if "BRA" in instruction or "EXIT" in instruction:
            yield run
            run = []
    yield run


def main():
    arch = sys.argv[1] if len(sys.argv) > 1 else "sm_90"
    for name, body in kernels(sys.stdin, arch):
        longest = max(stretches(body), key=len)
        names = collections.Counter(re.sub(r"^@\S+ +", "", i).split(".")[0].split(" ")[0] for i in longest)
        mix = ", ".join(f"{n} {k}" for k, n in names.most_common(6))
        print(f"{name}: {len(body)} instructions, longest stretch {len(longest)}: {mix}")


main()

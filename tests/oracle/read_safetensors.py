"""A second reader of safetensors, for the tests of the first: numpy and the standard library only.

    read_safetensors.py FILE           one line per tensor, in order of name: name in hex, dtype, shape, data in hex
    read_safetensors.py FILE NAME      the tensor's values as raw little-endian f32 on standard output
"""
import json
import struct
import sys

import numpy as np


def load(path):
    raw = open(path, "rb").read()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + n].decode("utf-8"))
    header.pop("__metadata__", None)
    return header, raw[8 + n:]


def as_f32(dtype, data):
    if dtype == "F32":
        return np.frombuffer(data, "<f4")
    if dtype == "F16":
        return np.frombuffer(data, "<f2").astype("<f4")
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << np.uint32(16)).view("<f4")
    raise SystemExit("no f32 view of " + dtype)


header, data = load(sys.argv[1])
if len(sys.argv) == 3:
    entry = header[sys.argv[2]]
    begin, end = entry["data_offsets"]
    sys.stdout.buffer.write(as_f32(entry["dtype"], data[begin:end]).tobytes())
else:
    for name in sorted(header, key=lambda s: s.encode("utf-8")):
        begin, end = header[name]["data_offsets"]
        print(name.encode("utf-8").hex(), header[name]["dtype"], header[name]["shape"], data[begin:end].hex())

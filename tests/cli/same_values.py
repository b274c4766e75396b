#!/usr/bin/env python3
"""Holds the second reader's arrays against a safetensors file of floats: equal, or exit code 1 with the first that differs.

usage: same_values.py MODEL.safetensors FILE.wcz FOLDER      (FOLDER: what wcz_reader.py FILE.wcz --dump-all wrote)"""
import json
import struct
import subprocess
import sys

import numpy as np

raw = open(sys.argv[1], "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
listed = subprocess.run(["/usr/bin/python3", "scripts/wcz_reader.py", sys.argv[2], "--list"], capture_output=True, text=True, check=True)
names = [line.split(" ")[0] for line in listed.stdout.splitlines() if not line.startswith("meta ")]
assert sorted(names) == sorted(n for n in header if n != "__metadata__")
for i, name in enumerate(names):
    begin, end = header[name]["data_offsets"]
    want = np.frombuffer(data[begin:end], {"F32": "<f4", "F16": "<f2"}[header[name]["dtype"]]).astype(np.float32)
    if not np.array_equal(np.load("%s/%d.npy" % (sys.argv[3], i)).reshape(-1), want):
        sys.exit("%s differs" % name)

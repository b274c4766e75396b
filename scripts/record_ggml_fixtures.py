#!/usr/bin/python3
"""Records tests/data/ggml/blocks.bin: random blocks of every type and what the `gguf' package (pip install gguf) makes
of them. Needed only to record it anew.

    record: u32 type id, u32 bytes, u32 weights (little-endian), the bytes, the weights as f32
"""
import os
import struct

import numpy as np
from gguf import GGMLQuantizationType, dequantize

F16_FIELDS = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
              "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0],
              "IQ3_XXS": [0], "IQ3_S": [0], "IQ4_NL": [0], "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64]}
BLOCK = {"Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "Q2_K": (256, 84),
         "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210), "IQ2_XXS": (256, 66),
         "IQ2_XS": (256, 74), "IQ2_S": (256, 82), "IQ3_XXS": (256, 98), "IQ3_S": (256, 110), "IQ4_NL": (32, 18),
         "IQ4_XS": (256, 136), "TQ1_0": (256, 54), "TQ2_0": (256, 66)}


def main():
    rng = np.random.default_rng(1)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/data/ggml/blocks.bin")
    with open(path, "wb") as f:
        for name, fields in F16_FIELDS.items():
            t = GGMLQuantizationType[name]
            weights, size = BLOCK[name]
            n = 1024 // weights
            blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
            for at in fields:
                d = (rng.standard_normal(n) * 10.0 ** rng.integers(-3, 1, n)).astype(np.float16)
                d[0] = np.float16(-5.96e-8)
                blocks[:, at:at + 2] = d.view(np.uint8).reshape(n, 2)
            values = dequantize(blocks.reshape(-1), t).astype(np.float32).reshape(-1)
            assert values.size == 1024 and np.isfinite(values).all()
            f.write(struct.pack("<III", t.value, blocks.size, values.size) + blocks.tobytes() + values.tobytes())


main()

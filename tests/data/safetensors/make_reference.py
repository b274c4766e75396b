"""Writes reference.safetensors with the `safetensors` package (made with version 0.8.0).

One tensor or more of every dtype that the package writes, names that need escaping, a scalar and an empty tensor. The unit
tests read it and write the same tensors again: the bytes must be equal.
Usage: python make_reference.py reference.safetensors
"""
import ctypes
import sys

from safetensors import TensorSpec, serialize

SIZES = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
         "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "float8_e4m3fn": 1, "float8_e5m2": 1,
         "float8_e8m0fnu": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float4_e2m1fn_x2": 1}
buffers = []


def spec(dtype, shape):
    count = 1
    for d in shape:
        count *= d
    seed = len(buffers)
    data = bytes((seed * 37 + i * i * 11 + i) & 0x3F for i in range(count * SIZES[dtype]))
    buffers.append(ctypes.create_string_buffer(data, max(len(data), 1)))
    return TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffers[-1]), data_len=len(data))


tensors = {"t." + dtype: spec(dtype, [3, 5]) for dtype in SIZES}
tensors["b"] = spec("float16", [2, 2, 3])
tensors["a"] = spec("float16", [7])
tensors["a.b"] = spec("bfloat16", [1, 9])
tensors["scalar"] = spec("float32", [])
tensors["empty"] = spec("float32", [0, 4])
tensors["quote \" backslash \\ slash / tab \t newline \n bell \x07 del \x7f"] = spec("uint8", [1])
tensors["gr\u00fc\u00df \u6f22 \U0001f600"] = spec("uint8", [2])
tensors[""] = spec("uint8", [3])
with open(sys.argv[1], "wb") as f:
    f.write(serialize(tensors, {"format": "pt"}))

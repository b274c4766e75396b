#!/usr/bin/env python3
"""Records words that the packers of AutoGPTQ, AutoAWQ and compressed-tensors themselves make of known codes, for
tests/unit/test_packing.c. Needs torch and the unpacked sources of the three (0.7.1, 0.2.9 and 0.20.0 were used).

usage: record_packing_fixtures.py AUTO_GPTQ AUTOAWQ COMPRESSED_TENSORS >tests/data/packing/words.txt

The three arguments are folders that hold auto_gptq/, awq/ and compressed_tensors/. Of each, only the function that packs
is taken and run, unchanged. W [N, K] = [32, 96], groups of 32; code (n, k) and zero (n, g) are hashes of their place:
see `number'. A line is: packer, tensor, bits, rows, columns, then the words."""
import ast
import importlib.util
import os
import sys
import types

import numpy as np
import torch

N, K, GROUP = 32, 96, 32


def number(row, col, bits):
    return ((row * 2654435761 + col * 40503 * 65537 + 12345) % 2**32 >> 13) & ((1 << bits) - 1)


def matrix(rows, cols, bits, first=0, least=0):
    return torch.tensor([[max(least, number(r, first + c, bits)) for c in range(cols)] for r in range(rows)])


def method(path, cls, name, scope):
    """The function `name' of the class as it stands in the file, without the imports around it."""
    for node in ast.parse(open(path).read()).body:
        for item in getattr(node, "body", []):
            if getattr(node, "name", "") == cls and getattr(item, "name", "") == name:
                item.decorator_list = []
                exec(compile(ast.Module([item], []), path, "exec"), scope)
                return scope[name]
    raise KeyError(name)


def show(packer, tensor, bits, words):
    w = words.numpy().astype(np.int64) & 0xFFFFFFFF
    print(packer, tensor, bits, *w.shape, *("%08x" % x for x in w.reshape(-1)))


def linear(weight):
    return types.SimpleNamespace(weight=types.SimpleNamespace(data=weight, dtype=torch.float32, device="cpu"), bias=None,
                                 in_features=K, out_features=N)


def main():
    gptq, awq, compressed = sys.argv[1:]
    nowhere = types.SimpleNamespace(Conv1D=type("Conv1D", (), {}))
    pack = method(os.path.join(gptq, "auto_gptq/nn_modules/qlinear/qlinear_cuda.py"), "QuantLinear", "pack",
                  {"torch": torch, "np": np, "nn": torch.nn,
                   "transformers": types.SimpleNamespace(pytorch_utils=nowhere)})
    for bits in (2, 3, 4, 8):
        zero = matrix(N, K // GROUP, bits, 1000, 1).float()  # its writer has no zero of 0
        code = matrix(N, K, bits).float()
        me = types.SimpleNamespace(bits=bits, infeatures=K, g_idx=torch.arange(K) // GROUP)
        pack(me, linear(code - zero.repeat_interleave(GROUP, 1)), torch.ones(N, K // GROUP), zero.clone())
        show("gptq", "qweight", bits, me.qweight)
        show("gptq", "qzeros", bits, me.qzeros)

    class Layer(types.SimpleNamespace):
        def __init__(self, *shape):
            super().__init__(w_bit=4, group_size=GROUP, in_features=K, out_features=N)

    from_linear = method(os.path.join(awq, "awq/modules/linear/gemm.py"), "WQLinear_GEMM", "from_linear",
                         {"torch": torch, "get_best_device": lambda: "cpu"})
    zero, code = matrix(N, K // GROUP, 4, 1000), matrix(N, K, 4)
    layer = from_linear(Layer, linear((code - zero.repeat_interleave(GROUP, 1)).float()), 4, GROUP, False,
                        torch.ones(K // GROUP, N), zero.t().contiguous())
    show("awq", "qweight", 4, layer.qweight)
    show("awq", "qzeros", 4, layer.qzeros)

    path = os.path.join(compressed, "compressed_tensors/compressors/pack_quantized/helpers.py")
    spec = importlib.util.spec_from_file_location("helpers", path)
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    for bits in (3, 4, 8):
        half = 1 << (bits - 1)
        zero, code = matrix(N, K // GROUP, bits, 1000), matrix(N, K, bits)
        show("compressed-tensors", "weight_packed", bits, helpers.pack_to_int32((code - half).to(torch.int8), bits, 1))
        show("compressed-tensors", "weight_zero_point", bits, helpers.pack_to_int32((zero - half).to(torch.int8), bits, 0))


main()

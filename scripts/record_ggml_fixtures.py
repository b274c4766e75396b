#!/usr/bin/python3
"""Records tests/data/ggml with the `gguf' package (pip install gguf); needed only to record anew.

blocks.bin: random blocks of every type and what the package makes of them.
    record: u32 type id, u32 bytes, u32 weights (little-endian), the bytes, the weights as f32
small.gguf: a llama of one block, 32 wide, with q and k interleaved as converters do it, keys of every type, and a
    tokenizer. small.f32: its matrices as Hugging Face has them, in the order of MATRICES.
"""
import os
import struct

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize

F16_FIELDS = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
              "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0],
              "IQ3_XXS": [0], "IQ3_S": [0], "IQ4_NL": [0], "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64]}
BLOCK = {"Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "Q2_K": (256, 84),
         "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210), "IQ2_XXS": (256, 66),
         "IQ2_XS": (256, 74), "IQ2_S": (256, 82), "IQ3_XXS": (256, 98), "IQ3_S": (256, 110), "IQ4_NL": (32, 18),
         "IQ4_XS": (256, 136), "TQ1_0": (256, 54), "TQ2_0": (256, 66)}


# name, rows, cols, type, heads of an interleaved one
MATRICES = [("token_embd.weight", 8, 32, "F16", 0), ("blk.0.attn_q.weight", 32, 32, "Q8_0", 2),
            ("blk.0.attn_k.weight", 16, 32, "Q4_0", 1), ("blk.0.attn_v.weight", 16, 32, "Q5_1", 0),
            ("blk.0.attn_output.weight", 32, 32, "F32", 0), ("blk.0.ffn_gate.weight", 64, 32, "Q4_1", 0),
            ("blk.0.ffn_up.weight", 64, 32, "BF16", 0), ("blk.0.ffn_down.weight", 32, 64, "Q5_0", 0)]
TOKENS = ["<unk>", "a", "b", "\u0120", "ab", "\u0120a", "<|end|>", "[PAD7]"]


def small(folder):
    rng = np.random.default_rng(2)
    w = GGUFWriter(os.path.join(folder, "small.gguf"), "llama")
    w.add_context_length(64)
    w.add_embedding_length(32)
    w.add_block_count(1)
    w.add_feed_forward_length(64)
    w.add_head_count(2)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(16)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(TOKENS)
    w.add_token_types([2, 1, 1, 1, 1, 1, 3, 5])
    w.add_token_merges(["a b", "\u0120 a"])
    w.add_bos_token_id(6)
    w.add_eos_token_id(6)
    w.add_add_bos_token(True)
    w.add_uint8("test.u8", 200)
    w.add_int8("test.i8", -3)
    w.add_uint16("test.u16", 60000)
    w.add_int16("test.i16", -300)
    w.add_uint64("test.u64", 1 << 40)
    w.add_int64("test.i64", -5)
    w.add_float64("test.f64", 0.1)
    w.add_array("test.list", [1.5, 2.5])
    with open(os.path.join(folder, "small.f32"), "wb") as f:
        for name, rows, cols, kind, heads in MATRICES:
            x = rng.standard_normal((rows, cols)).astype(np.float32)
            t = GGMLQuantizationType[kind]
            stored = x
            if heads:  # LlamaModel.permute of the converter
                stored = x.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(x.shape)
            data = quantize(stored, t)
            w.add_tensor(name, data, raw_dtype=t)
            back = dequantize(data, t).astype(np.float32).reshape(rows, cols)
            if heads:
                back = back.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)
            f.write(back.tobytes())
    for name in ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"):
        w.add_tensor(name, np.ones(32, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    rng = np.random.default_rng(1)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/data/ggml")
    small(folder)
    with open(os.path.join(folder, "blocks.bin"), "wb") as f:
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

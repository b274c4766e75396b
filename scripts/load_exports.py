#!/usr/bin/env python3
"""Loads exported folders with Hugging Face transformers and compares their logits with those of the same weights as floats:
load_exports.py FLOATS FOLDER...

FLOATS is `wcompress export --to safetensors --dtype f32 m.wcz', FOLDER another export of m.wcz. Needs torch, transformers
and what it loads the format with (optimum and GPTQModel, or compressed-tensors); not part of any test. For each it prints
the modules that took the place of linear layers, the largest difference and the largest logit at 64 positions, how often the
top token is the same, and whether the tokenizer gives the same ids. BACKEND=torch chooses GPTQModel's kernel."""
import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, AwqConfig, GPTQConfig

POSITIONS = 64


def backend(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        method = json.load(f).get("quantization_config", {}).get("quant_method")
    name = os.environ.get("BACKEND")
    if name and method == "gptq":
        return {"quantization_config": GPTQConfig(bits=4, backend=name)}
    if name and method == "awq":
        return {"quantization_config": AwqConfig(bits=4, backend=name + "_awq")}
    return {}


def load(folder):
    """Logits [positions, vocabulary] of one fixed window, and the kinds of the linear modules."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True,
                                                       **backend(folder))
    lost = {key: sorted(names)[:3] for key, names in info.items() if names and key.endswith(("keys", "msgs"))}
    p = torch.arange(POSITIONS)
    with torch.inference_mode():
        logits = model((7 + 13 * p + 5 * p * p)[None] % model.config.vocab_size).logits[0]
    return logits, sorted({type(m).__name__ for n, m in model.named_modules() if n.endswith("_proj")}), lost


def token_ids(folder):
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        return None
    with open("tests/data/eval/technical.txt", encoding="utf-8") as f:
        return AutoTokenizer.from_pretrained(folder)(f.read())["input_ids"]


def main():
    floats, folders = sys.argv[1], sys.argv[2:]
    want, _, _ = load(floats)
    ids = token_ids(floats)
    for folder in folders:
        try:
            got, kinds, lost = load(folder)
        except Exception as error:  # whatever the loader throws is the answer
            print(folder, "FAILED", type(error).__name__, str(error).split("\n", maxsplit=1)[0])
            continue
        print("%s %s: %.2g of %.3g, top token %d/%d, ids %s %s" % (
            folder, ",".join(kinds), (got - want).abs().max(), want.abs().max(),
            (got.argmax(1) == want.argmax(1)).sum(), POSITIONS,
            "none" if ids is None else "equal" if ids == token_ids(folder) else "DIFFER", lost or ""))


main()

#!/usr/bin/env python3
"""Records tiny models that other programs have quantized, as they save them, and the values that those programs make of
them, for tests/unit/test_quantized_fixtures.c. Not part of any test.

usage: record_quantized_fixtures.py gptqmodel|llmcompressor|compressed_tensors OUT     (from the repository root)

OUT is tests/data/quantized, whose README.md has the kinds, and the versions that were used. Needs torch, transformers and
GPTQModel, or llm-compressor, or a compressed-tensors that still has actorder "group". Everything runs on the CPU, with
the programs' own quantizers but for the last, which packs what was rounded here. For every kind:
    OUT/NAME/               the folder that was saved; of its tokenizer nothing is kept
    OUT/NAME.safetensors    the weights that the program itself dequantizes, F16
The model is random (tests/oracle/make_models.py makes its bytes): one block of Llama, 64 wide, 96 in the MLP (64 for AWQ,
whose quantizer wants multiples of 64 outputs)."""
import glob
import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, "tests/oracle")
import make_models  # noqa: E402

sys.path.pop(0)  # other names there are those of packages

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

VOCAB, GROUP = 48, 32


def make_base(folder, name="base", **shape):
    config = dict(make_models.BASE, model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=64,
                  intermediate_size=96, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
                  vocab_size=VOCAB, torch_dtype="float16")
    make_models.MODELS = {name: ("F16", dict(config, **shape))}
    make_models.write(folder, name)
    base = os.path.join(folder, name)
    model = {"type": "WordLevel", "vocab": {"<%d>" % i: i for i in range(VOCAB)}, "unk_token": "<0>"}
    with open(os.path.join(base, "tokenizer.json"), "w") as f:
        json.dump({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model}, f)
    with open(os.path.join(base, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<1>", "eos_token": "<2>",
                   "pad_token": "<2>", "unk_token": "<0>"}, f)
    return base


def calibration():
    g = torch.Generator().manual_seed(1)
    return [torch.randint(0, VOCAB, (1, 64), generator=g) for _ in range(16)]


def keep_config(path):
    """Without what belongs to the machine that it was made on."""
    with open(path) as f:
        config = json.load(f)
    meta = config.get("quantization_config", config).get("meta", {})
    for key in ("uri", "offload_to_disk_path"):
        meta.pop(key, None)
    with open(path, "w") as f:
        json.dump(config, f, indent=1)


def finish(saved, out, name, values):
    """What is kept of a saved folder, and the values [outputs, inputs] of its layers."""
    target = os.path.join(out, name)
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    for path in glob.glob(os.path.join(saved, "*")):
        if "token" in os.path.basename(path) or not os.path.isfile(path):
            continue
        shutil.copy(path, target)
        if path.endswith("config.json"):
            keep_config(os.path.join(target, os.path.basename(path)))
    save_file({k + ".weight": v.detach().to(torch.float16).contiguous() for k, v in sorted(values.items())},
              target + ".safetensors")
    for path in glob.glob(os.path.join(target, "*")) + [target + ".safetensors"]:
        os.chmod(path, 0o644)
    print(name, sum(os.path.getsize(p) for p in glob.glob(os.path.join(target, "*"))), sorted(os.listdir(target)))


def record_gptqmodel(base, scratch, out):
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from gptqmodel.nn_modules.qlinear import BaseQuantLinear
    kinds = {
        "gptq": dict(bits=4, group_size=GROUP),
        "gptq_act": dict(bits=4, group_size=GROUP, desc_act=True, act_group_aware=False),
        "gptq_v2": dict(bits=3, group_size=GROUP, sym=False, format="gptq_v2"),
        "gptq_dynamic": dict(bits=4, group_size=GROUP, dynamic={
            r"-:.*\.o_proj": {}, r"+:.*\.down_proj": {"bits": 8, "group_size": 16}}),
        "awq": dict(bits=4, group_size=GROUP, quant_method="awq", format="gemm", sym=False),
    }
    data = [{"input_ids": x, "attention_mask": torch.ones_like(x)} for x in calibration()]
    for name, config in kinds.items():
        saved = os.path.join(scratch, name)
        if name == "awq":
            base = make_base(scratch, "square", intermediate_size=64, num_key_value_heads=2)
        model = GPTQModel.load(base, QuantizeConfig(**config), device="cpu", dtype=torch.float16)
        model.quantize(data, batch_size=1, backend=BACKEND.TORCH)
        model.save(saved)
        backend = BACKEND.TORCH_AWQ if name == "awq" and hasattr(BACKEND, "TORCH_AWQ") else BACKEND.TORCH
        model = GPTQModel.load(saved, backend=backend, device="cpu", dtype=torch.float16)
        values = {}
        for path, module in model.model.named_modules():
            if isinstance(module, BaseQuantLinear):
                with torch.inference_mode():  # a product with the identity: AWQ's modules show their values in no other way
                    values[path] = module(torch.eye(module.in_features, dtype=torch.float16)).T.clone()
        finish(saved, out, name, values)


def record_llmcompressor(base, scratch, out):
    from compressed_tensors.quantization import QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM
    kinds = {"ct": {}, "ct_asym": dict(symmetric=False), "ct_rows": dict(num_bits=8, strategy="channel", group_size=None)}
    data = Dataset.from_dict({"input_ids": [x[0].tolist() for x in calibration()]})
    for name, change in kinds.items():
        weights = dict({"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}, **change)
        saved = os.path.join(scratch, name)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
        recipe = GPTQModifier(ignore=["lm_head"], config_groups={"group_0": {"targets": ["Linear"], "weights": weights}})
        oneshot(model=model, dataset=data, recipe=recipe, max_seq_length=64, num_calibration_samples=16)
        model.save_pretrained(saved, save_compressed=True)
        with open(os.path.join(saved, "config.json")) as f:
            scheme = QuantizationScheme(**json.load(f)["quantization_config"]["config_groups"]["group_0"])
        finish(saved, out, name, decompressed(load_file(os.path.join(saved, "model.safetensors")), scheme))


def decompressed(tensors, scheme):
    from compressed_tensors.compressors import PackedQuantizationCompressor
    values = {}
    for path in sorted({k.rsplit(".", 1)[0] for k in tensors if k.endswith(".weight_packed")}):
        module = {k.rsplit(".", 1)[1]: v for k, v in tensors.items() if k.rsplit(".", 1)[0] == path}
        values[path] = PackedQuantizationCompressor.decompress(module, scheme)["weight"]
    return values


def record_compressed_tensors(base, scratch, out):
    """actorder "group": columns belong to groups in the order of a permutation, which is all that its readers see."""
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
    scheme = QuantizationScheme(targets=["Linear"], format="pack-quantized", weights={
        "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP, "actorder": "group"})
    saved, tensors = os.path.join(scratch, "ct_act"), {}
    for name, w in load_file(os.path.join(base, "model.safetensors")).items():
        if "_proj" not in name:
            tensors[name] = w
            continue
        order = torch.randperm(w.shape[1])
        g_idx = torch.empty(w.shape[1], dtype=torch.int32)
        g_idx[order] = (torch.arange(w.shape[1]) // GROUP).to(torch.int32)
        scale = w[:, order].reshape(w.shape[0], -1, GROUP).abs().amax(-1) / 7.5
        module = {"weight": w, "weight_scale": scale, "weight_g_idx": g_idx}
        for key, value in PackedQuantizationCompressor.compress(module, scheme).items():
            tensors[name.removesuffix("weight") + key] = value.contiguous()
    os.makedirs(saved)
    save_file(tensors, os.path.join(saved, "model.safetensors"))
    with open(os.path.join(base, "config.json")) as f:
        config = json.load(f)
    config["quantization_config"] = QuantizationConfig(
        config_groups={"group_0": scheme}, format="pack-quantized", quantization_status="compressed",
        ignore=["lm_head"]).model_dump(mode="json")
    with open(os.path.join(saved, "config.json"), "w") as f:
        json.dump(config, f, indent=1)
    finish(saved, out, "ct_act", decompressed(tensors, scheme))


def main():
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as scratch:
        base = make_base(scratch)
        {"gptqmodel": record_gptqmodel, "llmcompressor": record_llmcompressor,
         "compressed_tensors": record_compressed_tensors}[sys.argv[1]](base, scratch, sys.argv[2])


main()

#!/bin/bash
# import.sh - checkpoints that GPTQ, AWQ and compressed-tensors tools have quantized, read as models: values equal to
# numpy's to the bit, the same logits, as input of a further compression; everything that contradicts itself is refused.
. tests/cli/lib.sh
make_small
quantized() { /usr/bin/python3 tests/oracle/quantized.py "$@"; }

quantized --good "$tmp/good"
for kind in "$tmp/good"/*; do
    run diff "$kind/ref" "$kind/q" --json
    if [ "$code" = 0 ] && grep -q '"equal": 3,' "$tmp/out"; then
        ok "${kind##*/}: numpy's values to the bit"
    else
        fail "${kind##*/}: numpy's values to the bit" "$(tail -n 2 "$tmp/err")"
    fi
done
run inspect "$tmp/good/gptq4_act/q"
check 'inspect says what a layer is' grep -qE 'up_proj.weight +GPTQ 4b g64 act +160 x 256' "$tmp/out"
run inspect "$tmp/good/ct_mixed/q"
check 'inspect: of compressed-tensors' bash -c "grep -q 'q_proj.weight *CT 4b g128 ' '$tmp/out' && grep -q 'up_proj.weight *CT 8b g0 ' '$tmp/out'"

quantized --broken "$tmp/broken" >"$tmp/broken.txt"
while IFS=$'\t' read -r kind want pattern; do
    case $kind in infinite_scale) continue ;; esac
    gives "$kind" "$want" "$pattern" inspect "$tmp/broken/$kind/q"
done <"$tmp/broken.txt"
gives 'an infinite scale' 3 'up_proj.weight. holds (-?inf|-?nan) at' compress --recipe 'rtn(bits=4)' "$tmp/broken/infinite_scale/q" -o "$tmp/no.wcz"
absent 'nothing half-written' "$tmp/no.wcz"
/usr/bin/python3 - "$tmp" <<'PY'
import json, shutil, sys
shutil.copytree(sys.argv[1] + "/good/gptq4/ref", sys.argv[1] + "/unknown")
json.dump({"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes"}}, open(sys.argv[1] + "/unknown/config.json", "w"))
PY
gives 'another method is listed' 0 '' inspect "$tmp/unknown"
gives 'another method is not run' 6 'quantized already' eval "$tmp/unknown"

quantized "$small" gptq4_act "$tmp/gptq"
quantized "$small" ct4_asym "$tmp/ct"
for kind in gptq ct; do
    run eval "$tmp/$kind/q" --against "$tmp/$kind/ref" --tokens 256 --seqlen 64 -p daslab --json
    check "$kind: the same logits" [ "$(json "$tmp/out" 'd["scores"][0]["kl"]')" = 0.0 ]
done
gives 'as input of a compression' 0 'are quantized already \(gptq\)' \
    compress --recipe 'rtn(bits=8)' --blocks 1 --embed-bits 16 "$tmp/gptq/q" -o "$tmp/x.wcz"
run compress --recipe 'rtn(bits=8)' --blocks 1 --embed-bits 16 "$tmp/gptq/ref" -o "$tmp/y.wcz"
gives 'the same values as from floats; kept layers as they are' 0 '' diff "$tmp/x.wcz" "$tmp/y.wcz"
gives 'it verifies, and knows where it comes from' 0 '' verify "$tmp/x.wcz" --against "$tmp/gptq/q"
gives 'verify: not the floats' 4 'another model' verify "$tmp/x.wcz" --against "$tmp/gptq/ref"
gives 'eval of the result' 0 '' eval "$tmp/x.wcz" --tokens 64 --seqlen 64 -p daslab
gives 'a pass over it' 0 '' compress --recipe 'rotate | rtn(bits=8)' "$tmp/ct/q" -o "$tmp/r.wcz"
gives 'as GGUF' 0 '' export --to gguf --dtype f32 "$tmp/gptq/q" -o "$tmp/x.gguf"
gives 'as GGUF: the same values' 0 '' diff "$tmp/gptq/ref" "$tmp/x.gguf"
gives 'lossless needs floats' 6 'is quantized already: lossless keeps floats' lossless "$tmp/gptq/q" -o "$tmp/no.wcz"
gives 'lossless of a GGUF file, too' 6 'is quantized already: lossless keeps floats' lossless tests/data/ggml/small.gguf -o "$tmp/no.wcz"

# Real folders, with one thing wrong each: base, what is done to config c and its quantization_config q (w: weights), the
# exit code, what is said.
real=tests/data/quantized
/usr/bin/python3 -c "import struct, sys; sys.stdout.buffer.write(struct.pack('<64I', *[i % 48 for i in range(64)]))" >"$tmp/ids"
for kind in gptq_act awq ct_asym; do
    gives "real: $kind runs" 0 '' eval --ids "$tmp/ids" --seqlen 16 -p daslab "$real/$kind"
done
gives 'real: compressed further' 0 'are quantized already .awq' \
    compress --recipe 'rtn(bits=8)' "$real/awq" -o "$tmp/real.wcz" --embed-bits 16
gives 'real: nothing to export' 6 'is quantized already .gptq.' export --to awq "$real/gptq" -o "$tmp/no"
gives 'real: nothing to check' 6 'is quantized already .compressed' check --target vllm "$real/ct"
while IFS='|' read -r base change want pattern; do
    rm -rf "$tmp/real"
    cp -r "$real/$base" "$tmp/real" && rm -f "$tmp/real/quantize_config.json"
    /usr/bin/python3 - "$tmp/real/config.json" "$change" <<'PY'
import json, sys
c = json.load(open(sys.argv[1]))
q = c["quantization_config"]
w = q.get("config_groups", {}).get("group_0", {}).get("weights")
exec(sys.argv[2])
json.dump(c, open(sys.argv[1], "w"))
PY
    gives "real: $base: $change" "$want" "$pattern" eval --ids "$tmp/ids" --seqlen 16 -p daslab "$tmp/real"
done <<'LIST'
gptq|del q['bits']|3|bits is missing
gptq|q['bits'] = 8|3|qweight. is I32 .12, 64.; for 64 x 96 weights in 8 bits
gptq|q['bits'] = '4'|3|expected an integer
gptq|del q['group_size']|3|3, 64.; 96 inputs in groups of 96, as quantization_config has it, need 1
gptq|q['dynamic'] = ['x']|3|dynamic is no object
gptq_dynamic|del q['dynamic']|3|for 64 x 96 weights in 4 bits
gptq|q['quant_method'] = 'bitsandbytes'|6|quantized already, by bitsandbytes; gptq, awq and compressed-tensors are read
gptq|q['quant_method'] = 'fp8'|6|quantized already, by fp8;
gptq|q['quant_method'] = 'aqlm' + chr(27)|6|by aqlm.x1b;
gptq|c['quantization_config'] = []|6|by a method that it does not name
gptq|del c['quantization_config']|3|q_proj.weight. .64, 64., which config.json calls for, is missing
gptq|c['quantization_config'] = None|3|holds quantized layers, but neither config.json nor quantize_config.json
gptq_act|q['desc_act'] = False|0|down_proj.weight. .of 7. has a g_idx that is out of order, though desc_act is false
awq|q['version'] = 'gemv'|6|version .gemv. of awq is not read
awq|q.pop('version', 0); q['format'] = 'llm-awq'|6|format .llm-awq. of awq is not read
ct|w['symmetric'] = False|3|down_proj.weight. is quantized, but has no tensor _zero_point
ct|w['actorder'] = 'group'|3|has no tensor _g_idx
ct_act|w['actorder'] = None|3|g_idx that is out of order, and actorder is not group
ct|q['format'] = 'marlin-24'|6|format .marlin-24
ct|w['strategy'] = 'tensor_group'|6|strategy .tensor_group
ct|c['compression_config'] = c.pop('quantization_config')|0|
LIST

# What `export' writes is read as what it was made from.
while read -r form recipe; do
    run compress --recipe "$recipe" --embed-bits 16 "$small" -o "$tmp/e.wcz" -f
    run export --to "$form" "$tmp/e.wcz" -o "$tmp/exported" -f
    gives "export --to $form and back" 0 '' diff "$tmp/e.wcz" "$tmp/exported"
done <<'LIST'
gptq rtn(bits=4,group=128,scale_bits=0)
gptq_v2 rtn(bits=3,group=64,scale_bits=0,sym=no)
awq rtn(bits=4,group=64,scale_bits=0,sym=no)
compressed-tensors rtn(bits=8,group=0,scale_bits=0)
LIST
finish

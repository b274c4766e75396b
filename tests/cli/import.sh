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

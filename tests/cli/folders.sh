#!/bin/bash
# folders.sh - exports to Hugging Face folders: every value held against the .wcz by a second reader, exact sizes, what is
# refused and why, nothing overwritten; and `check'.
. tests/cli/lib.sh
/usr/bin/python3 tests/cli/make_broken.py tiny "$tmp/tiny" || exit 1
tiny=$tmp/tiny
grid='group=128,scale_bits=0,search=minmax'

# wcz NAME RECIPE [OPTION...]: a .wcz.
wcz()
{
    local name=$1 recipe=$2
    shift 2
    run compress --recipe "$recipe" "${from:-$tiny}" -o "$tmp/$name.wcz" --embed-bits 16 -q "$@"
    [ "$code" = 0 ] || fail "$name: compress" "$(cat "$tmp/err")"
}
# exported NAME FORMAT LAYERS [OPTION...]: into NAME-FORMAT, to be held against the .wcz by `values'; a dry run knows the size.
pairs='' wanted=''
exported()
{
    local name=$1 format=$2 layers=$3 out=${to:-$1-$2} size
    shift 3
    run export --to "$format" "$tmp/$name.wcz" -o "$tmp/$out" -n -q "$@"
    size=$(cat "$tmp/out")
    gives "$out" 0 '' export --to "$format" "$tmp/$name.wcz" -o "$tmp/$out" "$@"
    check "$out: size" grep -q "  $(cat "$tmp/$out"/* | wc -c) bytes" <<<"$size"
    pairs="$pairs $tmp/$out $tmp/$name.wcz" wanted="$wanted $out:$layers"
}
# Every value of what was exported, by the second reader of folders.
values()
{
    local x
    # shellcheck disable=SC2086
    /usr/bin/python3 tests/oracle/quantized_folder.py $pairs >"$tmp/values" 2>&1
    for x in $wanted; do
        if grep -q "^${x%:*} ${x#*:} layers of integers" "$tmp/values"; then ok "${x%:*}: values"; else fail "${x%:*}: values" "$(grep "^${x%:*} " "$tmp/values" || cat "$tmp/values")"; fi
    done
}

wcz four "rtn(bits=4,$grid)"
for format in gptq gptq_v2 awq compressed-tensors; do exported four $format 14; done
exported four safetensors 0
to=bf16 exported four safetensors 0 --dtype bf16
to=gptq-bf16 exported four gptq 14 --dtype bf16
check 'bf16 is in the config' grep -q '"torch_dtype": "bfloat16"' "$tmp/gptq-bf16/config.json"
to=sharded exported four gptq 14 --shard-size 300KB
check 'several files' [ -e "$tmp/sharded/model-00002-of-00003.safetensors" ]
check 'their tensors fit the size' /usr/bin/python3 - "$tmp/sharded" <<'PY'
import glob, json, struct, sys
for path in glob.glob(sys.argv[1] + "/*.safetensors"):
    f = open(path, "rb")
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    ends = [t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"]
    assert max(ends) <= 300000 or len(ends) == 1, (path, max(ends))
PY
gives 'what is quantized already' 6 'is quantized already .gptq.' export --to awq "$tmp/four-gptq" -o "$tmp/no"
check 'companions' cmp -s "$tiny/tokenizer_config.json" "$tmp/four-gptq/tokenizer_config.json"
check 'the key that older tools read' /usr/bin/python3 -c "import json; a = json.load(open('$tmp/four-gptq/quantize_config.json')); \
    assert a == json.load(open('$tmp/four-gptq/config.json'))['quantization_config']"

wcz three "rtn(bits=3,$grid,sym=no)"
exported three gptq_v2 14
gives 'zeros in version 1' 6 'q_proj.* with zeros of their own; gptq for .* gptq_v2' export --to gptq "$tmp/three.wcz" -o "$tmp/no"
gives 'three bits in awq' 6 'awq for transformers takes 4' export --to awq "$tmp/three.wcz" -o "$tmp/no"
gives 'three bits for vllm' 6 'takes' export --to gptq_v2 --target vllm "$tmp/three.wcz" -o "$tmp/no"
run export --to gptq_v2 "$tmp/three.wcz" -n
check 'vllm is warned of' grep -q 'transformers will load this, vllm will not' "$tmp/err"

wcz asym "rtn(bits=4,group=64,scale_bits=0,sym=no)"
for format in gptq_v2 awq compressed-tensors; do exported asym $format 14; done
wcz rows 'rtn(bits=8,group=0,scale_bits=0)'
for format in gptq compressed-tensors; do exported rows $format 14; done
check 'whole rows are channels' grep -q '"strategy": "channel"' "$tmp/rows-compressed-tensors/config.json"
wcz two "rtn(bits=2,$grid,sym=no)"
exported two gptq_v2 14

wcz mixed "rtn(bits=4,$grid)" --rule "*.down_proj.weight=rtn(bits=8,group=0,scale_bits=0)" --rule '*.1.*.o_proj.weight=keep' \
    --rule "*.0.*.[qkv]_proj.weight=rtn(bits=8,$grid)"
exported mixed compressed-tensors 13
exported mixed gptq 13 --target vllm
check 'the fused layer too' grep -q 'layers.*0.*qkv_proj' "$tmp/mixed-gptq/config.json"
gives 'exceptions that transformers does not read' 6 'is 4 bits .*gptq for transformers has one for all' export --to gptq "$tmp/mixed.wcz" -o "$tmp/no"
wcz kept "rtn(bits=4,$grid)" --rule '*.1.*.o_proj.weight=keep'
exported kept gptq 13
check 'what is left out, for both kinds of readers' json "$tmp/kept-gptq/config.json" \
    '"-:^model\\.layers\\.1\\.self_attn\\.o_proj$" in d["quantization_config"]["dynamic"] and len(d["quantization_config"]["modules_in_block_to_quantize"][0]) == 13 or 1 / 0'
make_small
from=$small wcz wide 'rtn(bits=4,group=256,scale_bits=0,search=minmax)'
for format in gptq compressed-tensors; do exported wide $format 14; done
check 'rows of one group have the group of the others' grep -q '"group_size": 256' "$tmp/wide-gptq/config.json"
gives 'and are read so' 0 '' inspect "$tmp/wide-gptq"
gives 'awq has one scheme' 6 'has 8 bits .*awq' export --to awq "$tmp/mixed.wcz" -o "$tmp/no"

wcz holes "magnitude(2:4) | rtn(bits=4,$grid)"
for format in gptq awq; do exported holes $format 14; done

# Steps below and above what f16 holds.
for kind in faint loud; do
    /usr/bin/python3 tests/cli/make_broken.py $kind "$tmp/$kind"
    from=$tmp/$kind wcz $kind "rtn(bits=8,$grid)" --blocks 0
done
gives 'steps too fine for f16' 6 'scales, .* exact neither in f16 nor in bf16; --scales' export --to gptq "$tmp/faint.wcz" -o "$tmp/no"
gives 'rounded when asked for' 0 'scales are rounded' export --to gptq --scales f16 "$tmp/faint.wcz" -o "$tmp/rounded"
gives 'steps too large for f16' 0 'scales are rounded' export --to compressed-tensors "$tmp/loud.wcz" -o "$tmp/wide"
check 'become bf16' grep -q '"bfloat16"' "$tmp/wide/config.json"
gives 'awq has f16 only' 6 'do not fit f16' export --to awq --scales bf16 "$tmp/four.wcz" -o "$tmp/no"
gives 'floats too large for f16' 6 'overflows in F16: use --dtype bf16' export --to safetensors --dtype f16 "$tmp/loud.wcz" -o "$tmp/no"

for case in 'rtn(bits=4):integer scales under one f16 per row' "rtn(bits=2,$grid):zero between two codes" \
    "hadamard | rtn(bits=4,$grid):a transform and grid" "svd(rank=4) | rtn(bits=4,$grid):lowrank . grid" \
    'hqq(bits=4):zeros that are no integers' "rtn(bits=5,$grid):has 5 bits"; do
    run compress --recipe "${case%%:*}" "$tiny" -o "$tmp/bad.wcz" -q -f
    gives "refused: ${case%%:*}" 6 "down_proj|q_proj.*${case##*:}" export --to gptq "$tmp/bad.wcz" -o "$tmp/no"
done
gives 'no integers at all' 6 'no linear layer is integers: quantize it first' export --to gptq "$tiny" -o "$tmp/no"
cp "$tmp/four.wcz" "$tmp/flipped.wcz"
printf '\xff' | dd of="$tmp/flipped.wcz" bs=1 seek=400000 conv=notrunc status=none
gives 'a damaged file' 4 'damaged' export --to gptq "$tmp/flipped.wcz" -o "$tmp/no"

gives 'an existing folder' 2 'exists; give -f' export --to gptq "$tmp/four.wcz" -o "$tmp/rounded"
gives 'replaced with -f' 0 '' export --to awq "$tmp/four.wcz" -o "$tmp/rounded" -f
check 'nothing of the old one is left' [ "$(ls "$tmp/rounded" | wc -l)" = 3 ]
touch "$tmp/rounded/notes.odt"
gives 'but not with other files in it' 2 'notes.odt.* no file of a model' export --to gptq "$tmp/four.wcz" -o "$tmp/rounded" -f
rm "$tmp/rounded/notes.odt" && mkdir "$tmp/rounded/more.json"
gives 'nor with a folder in it' 2 'more.json.* no file of a model' export --to gptq "$tmp/four.wcz" -o "$tmp/rounded" -f
rmdir "$tmp/rounded/more.json" && ln -s "$tiny/config.json" "$tmp/rounded/link.json"
gives 'nor with a link' 2 'link.json.* no file of a model' export --to gptq "$tmp/four.wcz" -o "$tmp/rounded" -f
mkdir "$tmp/left.partial" && touch "$tmp/left.partial/model.safetensors.tmp"
gives 'after a killed one' 0 '' export --to gptq "$tmp/four.wcz" -o "$tmp/left"
gives 'a file in the place' 2 'is a file; -o takes the name of a folder' export --to gptq "$tmp/four.wcz" -o "$tmp/four.wcz" -f
gives 'never over the source' 2 'is the source itself' export --to safetensors "$tiny" -o "$tiny" -f
gives 'an option of another format' 2 'gguf-pre is for' export --to awq --gguf-pre llama-bpe "$tmp/four.wcz" -o "$tmp/no"
gives 'scales where there are none' 2 'scales: safetensors holds no scales' export --to safetensors --scales f16 "$tmp/four.wcz" -o "$tmp/no"
gives 'export to where' 2 'write --to gguf, gptq' export --to exl3 "$tmp/four.wcz"
absent 'nothing half-written' "$tmp/no" "$tmp/no.partial" "$tmp/left.partial" "$tmp/left.old"

gives 'check' 0 '' check --target vllm "$tmp/four.wcz"
gives 'check of shards' 6 '64 x 128|shards' check --target vllm --tp 8 "$tmp/four.wcz"
gives 'check of a recipe' 6 'integer scales.*scale_bits=0.*and 13 more' check --target vllm --recipe 'gptq(bits=4)' "$tiny"
gives 'check of a sound one' 0 '' check --target transformers --recipe "rotate(down=no) | gptq(bits=4,$grid)" "$tiny"
run check --target vllm --recipe 'gptq(bits=4)' "$tiny" --json
cp "$tmp/out" "$tmp/check.json"
check 'check that refuses: all findings in JSON' [ "$(json "$tmp/check.json" 'len(d["findings"]) > 10 and d["fatal"] > 10')" = True ]
gives 'check without a target' 2 'target is missing' check "$tmp/four.wcz"
gives 'check of what' 2 'write vllm, transformers or llama.cpp' check --target ollama "$tmp/four.wcz"
make_small
# Groups of any columns: g_idx, which awq does not have and vllm does not take.
asym='group=64,scale_bits=0,sym=no,search=minmax'
from=$small
run calibrate "$small" -o "$tmp/s.wcstats" --calib-tokens 256 --seqlen 64
order="*.1.*.o_proj.weight=rtn(bits=4,$asym)"
wcz order "reorder | rtn(bits=4,$asym)" --stats "$tmp/s.wcstats" --rule "$order" --rule "*.1.*.[qkv]_proj.weight=reorder(by=inputs) | rtn(bits=4,$asym)"
exported order gptq_v2 14
wcz orders "reorder | rtn(bits=4,$asym)" --stats "$tmp/s.wcstats" --rule "$order" \
    --rule '*.0.*.up_proj.weight=reorder | rtn(bits=4,group=0,scale_bits=0,sym=no)'
exported orders compressed-tensors 14
wcz order8 "reorder | gptq(bits=8,group=32,scale_bits=0,cd=0)" --stats "$tmp/s.wcstats"
exported order8 gptq 14
check 'gptq is told of an order' grep -q '"desc_act": true' "$tmp/order-gptq_v2/config.json"
check 'and of none' grep -q '"desc_act": false' "$tmp/four-gptq/config.json"
check 'compressed-tensors is, layer by layer' [ "$(grep -c '"actorder": "group"' "$tmp/orders-compressed-tensors/config.json") $(
    grep -c '"actorder": null' "$tmp/orders-compressed-tensors/config.json")" = '1 2' ]
gives 'awq has no g_idx' 6 'not neighbours; awq has no g_idx: leave out reorder' export --to awq "$tmp/order.wcz" -o "$tmp/no"
gives 'vllm ignores g_idx' 6 'not neighbours; vllm takes no g_idx' export --to gptq --target vllm "$tmp/order8.wcz" -o "$tmp/no"
gives 'a recipe that vllm would misread' 6 'not neighbours; vllm' check --target vllm --recipe "reorder | gptq(bits=4,$grid)" "$small"
gives 'one that it would not' 0 '' check --target vllm --recipe 'reorder | gptq(bits=4,group=0,scale_bits=0)' "$small"
gives 'versions of compressed-tensors' 0 '0.17 reads .actorder: group., 0.20 refuses' export --to compressed-tensors "$tmp/order.wcz" -o "$tmp/no" -n
for folder in order-gptq_v2 order8-gptq orders-compressed-tensors; do
    run diff "$tmp/${folder%%-*}.wcz" "$tmp/$folder" --json
    check "$folder: read back" [ "$(json "$tmp/out" 'max(t["max_abs"] for t in d["tensors"] if t["name"].endswith("proj.weight"))')" = 0.0 ]
done

run compress --recipe "rtn(bits=4,$grid)" "$small" -o "$tmp/real.wcz"
to=f32 exported real safetensors 0 --dtype f32
run eval "$tmp/f32" --against "$tmp/real.wcz" --tokens 256 --seqlen 128 -p daslab --json
check 'f32: logits equal those of the .wcz' [ "$(json "$tmp/out" 'd["scores"][0]["kl"]')" = 0.0 ]
gives 'check for llama.cpp' 0 '' check --target llama.cpp "$tmp/real.wcz" --json
check 'says what becomes floats' [ "$(json "$tmp/out" 'len(d["findings"])')" = 15 ]
gives 'quantize for vllm' 0 '' quantize --bits 4 --target vllm "$small" -o "$tmp/vllm.wcz" --calib-tokens 1024 --seqlen 128
gives 'is what vllm loads' 0 '' export --to gptq --target vllm "$tmp/vllm.wcz" -o "$tmp/vllm"
run eval "$tmp/vllm" --against "$tmp/vllm.wcz" --tokens 256 --seqlen 128 -p daslab --json
check 'read back: logits equal those of the .wcz' [ "$(json "$tmp/out" 'd["scores"][0]["kl"]')" = 0.0 ]
gives 'three bits are refused before the work' 6 'vllm takes 4, 8' quantize --bits 3 --target vllm "$tiny" -o "$tmp/no.wcz"
values
absent 'nothing was begun' "$tmp/no.wcz" "$tmp/no.wcz.partial" "$tmp/no.wcz.work"
finish

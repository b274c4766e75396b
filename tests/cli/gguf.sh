#!/bin/bash
# gguf.sh - GGUF end to end: quantize --format, exact size, export that copies blocks, import with equal logits and equal
# token ids, GGUF as the input of a further compression, refusals.
. tests/cli/lib.sh
make_small

# same NAME A B: the KL divergence of A from B is nothing at all.
same()
{
    run eval "$2" --against "$3" --tokens 512 --seqlen 128 -p daslab --json
    local kl
    kl=$(json "$tmp/out" 'max(x["kl"] for x in d["scores"])')
    if [ "$kl" = 0.0 ]; then ok "$1"; else fail "$1" "KL $kl" "$(tail -n 3 "$tmp/err")"; fi
}

gives 'dry run' 0 '' quantize --format Q3_K_M "$small" -o "$tmp/q.wcz" $quick --dry-run --json
planned=$(json "$tmp/out" 'd["plan"]["output_bytes"]')
gives 'quantize --format' 0 '' quantize --format Q3_K_M "$small" -o "$tmp/q.wcz" $quick
if [ "$planned" = "$(stat -c %s "$tmp/q.wcz")" ]; then ok 'size'; else fail 'size' "planned $planned"; fi
check 'the second reader agrees' /usr/bin/python3 scripts/wcz_reader.py "$tmp/q.wcz" --check
gives 'inspect shows types' 0 '' inspect "$tmp/q.wcz"
check 'mixed types' bash -c "grep -q 'ggml Q5_K' '$tmp/out' && grep -q 'ggml Q3_K' '$tmp/out' && grep -q 'ggml Q6_K' '$tmp/out'"

gives 'export' 0 '' export --to gguf "$tmp/q.wcz" -o "$tmp/q.gguf" --json
check 'every matrix copied' [ "$(json "$tmp/out" 'd["export"]["copied"]')" = 15 ]
same 'logits equal those of the .wcz' "$tmp/q.gguf" "$tmp/q.wcz"
gives 'inspect a GGUF' 0 '' inspect "$tmp/q.gguf"
check 'Hugging Face names' grep -q 'model.layers.1.self_attn.q_proj.weight  *Q3_K' "$tmp/out"

gives 'export of the original' 0 '' export --to gguf "$small" -o "$tmp/o.gguf"
same 'logits equal those of the original' "$tmp/o.gguf" "$small"
gives 'rtn' 0 '' compress --recipe 'rtn(bits=4)' "$small" -o "$tmp/grid.wcz"
gives 'what has no type becomes floats' 0 '15 tensors have no type in GGUF and are written as F32' \
    export --to gguf "$tmp/grid.wcz" -o "$tmp/grid.gguf" --dtype f32
same 'f32 is exact' "$tmp/grid.gguf" "$tmp/grid.wcz"

gives 'compress a GGUF' 0 'a GGUF file; what was lost' compress --recipe 'rtn(bits=8)' --blocks 1 --embed-bits 16 "$tmp/q.gguf" -o "$tmp/again.wcz"
run inspect "$tmp/again.wcz"
check 'kept blocks stay as they are' grep -q 'layers.0.self_attn.q_proj.* ggml Q3_K' "$tmp/out"
run compress --recipe keep --embed-bits 16 "$tmp/q.gguf" -o "$tmp/kept.wcz"
same 'kept blocks, rows in order' "$tmp/kept.wcz" "$tmp/q.wcz"

# Every architecture and scaling of positions that GGUF has a form for, there and back; the others are refused.
/usr/bin/python3 tests/oracle/make_models.py "$tmp"
/usr/bin/python3 -c 'import struct, sys; sys.stdout.buffer.write(b"".join(struct.pack("<I", i * 7919 % 48) for i in range(300)))' >"$tmp/x.ids"
tokenizer='{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,
"trim_offsets":true,"use_regex":true},"post_processor":null,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}'
for name in llama qwen3 qwen3_bias rope_linear rope_llama3 rope_yarn; do
    echo "$tokenizer" >"$tmp/$name/tokenizer.json"
    gives "$name: export" 0 '' export --to gguf "$tmp/$name" -o "$tmp/$name.gguf"
    run eval "$tmp/$name.gguf" --against "$tmp/$name" --ids "$tmp/x.ids" --seqlen 64 -p daslab --json
    check "$name: equal logits" [ "$(json "$tmp/out" 'd["scores"][0]["kl"]')" = 0.0 ]
done
for case in 'bitnet:type bitnet have no export' 'rope_partial:8 of 16 entries of a head' 'rope_ntk:scaling of rotary positions' \
    'rope_yarn_options:yarn with options' 'rope_yarn_attention:yarn with options'; do
    gives "${case%%:*} is refused" 6 "${case#*:}" export --to gguf "$tmp/${case%%:*}" -o "$tmp/no.gguf"
done

# What a file does not say, and what it says wrong: as many keys as queries; divisors that no scaling of Llama 3's makes.
echo "$tokenizer" >"$tmp/qwen2/tokenizer.json"
run export --to gguf "$tmp/qwen2" -o "$tmp/qwen2.gguf"
sed 's/attention.head_count_kv/attention.head_count_xx/' "$tmp/qwen2.gguf" >"$tmp/unsaid.gguf"
run eval "$tmp/unsaid.gguf" --against "$tmp/qwen2.gguf" --ids "$tmp/x.ids" --seqlen 64 -p daslab --json
check 'as many keys as queries, unsaid: equal logits' [ "$(json "$tmp/out" 'd["scores"][0]["kl"]')" = 0.0 ]
cp "$tmp/rope_llama3.gguf" "$tmp/divisors.gguf" # they are the last tensor, 8 numbers
printf '\0\0\100\100' | dd of="$tmp/divisors.gguf" bs=1 seek=$(($(stat -c %s "$tmp/divisors.gguf") - 32)) conv=notrunc status=none
gives 'divisors of frequencies that are no scaling' 6 "rope_freqs.weight is not Llama 3's" eval "$tmp/divisors.gguf" --ids "$tmp/x.ids"
/usr/bin/python3 tests/cli/make_broken.py loud "$tmp/loud" && echo "$tokenizer" >"$tmp/loud/tokenizer.json"
run compress --recipe 'rtn(bits=8,group=128,scale_bits=0,search=minmax)' "$tmp/loud" -o "$tmp/loud.wcz"
gives 'floats too large for f16' 6 'proj.weight holds .* beyond f16: use --dtype' export --to gguf --dtype f16 "$tmp/loud.wcz" -o "$tmp/no.gguf"

head -c 200000 "$tmp/q.gguf" >"$tmp/cut.gguf"
gives 'a truncated GGUF' 3 'cut.gguf: ends inside the data of tensor' inspect "$tmp/cut.gguf"
sed 's/general.architecture/general.architectuce/' "$tmp/q.gguf" >"$tmp/what.gguf"
gives 'a GGUF of no architecture' 3 'what.gguf: GGUF: general.architecture is missing' inspect "$tmp/what.gguf"
gives 'an unknown mix' 2 'there are Q4_0, .*TQ2_0' quantize --format Q9_K "$small" -o "$tmp/no.wcz"
gives 'format and method' 2 'leave out --method' quantize --format Q4_0 --method rtn "$small" -o "$tmp/no.wcz"
gives 'export to where' 2 'write --to gguf' export "$tmp/q.wcz"
gives 'export of what type' 2 'write f16, bf16 or f32' export --to gguf --dtype q8 "$tmp/q.wcz" -o "$tmp/no.gguf"
gives 'never over the source' 2 'is the source itself' export --to gguf "$tmp/o.gguf" -o "$tmp/o.gguf" -f
absent 'nothing half-written' "$tmp/no.gguf" "$tmp/no.gguf.partial" "$tmp/no.wcz"
finish

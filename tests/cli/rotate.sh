#!/bin/bash
# rotate.sh - transforms of inputs, and the pass over the whole model: the same function before anything is compressed, exact
# sizes, equal bytes for any thread count and after kill -9, what is refused.
. tests/cli/lib.sh
make_small
eval_text=tests/data/eval/technical.txt

# list NAME ARGUMENTS...: compressed; the plan's size is the file's, the file verifies and names the model it comes from.
list()
{
    local name=$1 file=$tmp/$1.wcz planned
    shift
    # shellcheck disable=SC2086
    gives "$name: compress" 0 '' compress "$@" "$small" -o "$file" $quick
    # shellcheck disable=SC2086
    run compress "$@" "$small" -o "$file" -f $quick --dry-run --json
    planned=$(json "$tmp/out" 'd["plan"]["output_bytes"]')
    if [ "$planned" = "$(stat -c %s "$file")" ]; then ok "$name: size"; else fail "$name: size" "planned $planned" "$(stat -c %s "$file")"; fi
    gives "$name: verify" 0 '' verify "$file" --against "$small"
}

list hadamard --recipe 'hadamard | gptq(bits=3)'
list rotate --recipe 'rotate | gptq(bits=3)'
list both --recipe 'rotate(heads=no) | hadamard(order=64) | rtn(bits=4)'
list reorder --recipe 'awq(points=2) | reorder | gptq(bits=3) | outliers(frac=0.5%)' --rule '*.1.*proj.weight=reorder(by=inputs) | rtn(group=0)'
list plain --recipe 'rotate' --embed-bits 16 --head-bits 16
list f16 --recipe 'rotate(kept=f16) | keep' --embed-bits 16 --head-bits 16

# Usually 1e-11; 1e-7 with f16. A fold that is forgotten gives 1.
gives 'rotated, the model is the same' 0 '' eval "$tmp/plain.wcz" --against "$small" --text $eval_text --seqlen 128 --max-kl 1e-8
gives 'also in f16' 0 '' eval "$tmp/f16.wcz" --against "$small" --text $eval_text --seqlen 128 --max-kl 1e-5

run inspect "$tmp/rotate.wcz" --json
cp "$tmp/out" "$tmp/rotate.json"
tensor='{t["name"]: t for t in d["tensors"]}'
has() { if [ "$(json "$tmp/rotate.json" "$2")" = True ]; then ok "$1"; else fail "$1" "$2"; fi; }
has 'the head is its own' "$tensor['lm_head.weight']['parts'][0]['kind'] == 'grid'"
has 'only down is transformed at run time' \
    "[n for n, t in ($tensor).items() if t['transforms']] == ['model.layers.%d.mlp.down_proj.weight' % i for i in (0, 1)]"
has 'its transform' "$tensor['model.layers.0.mlp.down_proj.weight']['transforms'][0]['text'] == 'hadamard 256'"
has 'the pass is recorded' "d['provenance']['passes'].startswith('rotate(seed=0,')"
check 'readable by the second reader' /usr/bin/python3 scripts/wcz_reader.py "$tmp/rotate.wcz" --check
run inspect "$tmp/reorder.wcz" --json
cp "$tmp/out" "$tmp/rotate.json"
has 'reordered: before the parts, after a diagonal that is not in a norm' \
    "[[x['text'] for x in ($tensor)['model.layers.0.' + n + '.weight']['transforms']] for n in ('self_attn.q_proj', 'mlp.down_proj')] == [['permute'], ['diagonal', 'permute']]"
has 'not where a row is one group' "[t for n, t in ($tensor).items() if '.1.' in n and t['transforms']] == []"

for threads in 1 3; do
    # shellcheck disable=SC2086
    run compress --recipe 'rotate | gptq(bits=3)' "$small" -o "$tmp/j$threads.wcz" $quick -j $threads
done
check 'any thread count, same bytes' cmp "$tmp/j1.wcz" "$tmp/j3.wcz"

# Killed at growing moments, then continued.
for ms in 2 3 5 6 8; do
    # shellcheck disable=SC2086
    "$wc" compress --recipe 'rotate | gptq(bits=3)' "$small" -o "$tmp/killed.wcz" $quick >/dev/null 2>&1 &
    sleep 0.$ms
    kill -KILL $! 2>/dev/null
    wait $! 2>/dev/null
    [ ! -e "$tmp/killed.wcz" ] || break
done
# shellcheck disable=SC2086
[ -e "$tmp/killed.wcz" ] || gives 'continues after kills' 0 '' compress --recipe 'rotate | gptq(bits=3)' "$small" -o "$tmp/killed.wcz" $quick
check 'the same bytes after kills' cmp "$tmp/killed.wcz" "$tmp/j1.wcz"

gives 'not in a rule' 2 '.rotate. changes the whole model' \
    compress --recipe 'rotate | rtn' --rule '*q_proj.weight=rotate | rtn' "$small" -o "$tmp/no.wcz" --dry-run
gives 'not after a method' 2 '.rotate. changes the whole model' compress --recipe 'rtn | rotate' "$small" -o "$tmp/no.wcz" --dry-run
gives 'a transform alone' 2 'stores no values' compress --recipe 'hadamard' "$small" -o "$tmp/no.wcz" --dry-run
gives 'not the own bytes of a changed tensor' 2 'a pass over the model has changed it' \
    compress --recipe 'rotate | rtn' --rule '*q_proj.weight=lossless' "$small" -o "$tmp/no.wcz" --dry-run
gives 'an order that does not divide' 2 'order does not divide the columns' \
    compress --recipe keep --rule '*q_proj.weight=hadamard(order=512) | rtn' "$small" -o "$tmp/no.wcz" --dry-run
# shellcheck disable=SC2086
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" $quick
gives 'statistics of another model' 2 'those of the model before rotate' \
    compress --recipe 'rotate | gptq' --stats "$tmp/s.wcstats" "$small" -o "$tmp/no.wcz"
gives 'statistics are transformed too' 0 '' \
    compress --recipe 'hadamard | gptq(bits=3)' --stats "$tmp/s.wcstats" "$small" -o "$tmp/stats.wcz"
if [ -d "${WC_SHARED:-../shared}/models/bitllama-1m" ]; then
    gives 'BitNet' 2 'ternary' compress --recipe 'rotate | rtn' "${WC_SHARED:-../shared}/models/bitllama-1m" -o "$tmp/no.wcz" --dry-run
else
    skip 'BitNet' 'no bitllama-1m'
fi
finish

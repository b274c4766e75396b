#!/bin/bash
# synthetic.sh - scripts/run_synthetic.sh in small: a sharded model of which two blocks are compressed and the rest is copied.
# The predicted size is the real one, memory stays below its prediction, and kept tensors keep their bytes.
. tests/cli/lib.sh
/usr/bin/python3 scripts/make_synthetic.py "$tmp/syn" --hidden 128 --inner 352 --layers 4 --heads 4 --kv-heads 2 --vocab 500 \
    --dtype BF16 --ids 4096 >"$tmp/made" || exit 1
options="--bits 4 --blocks 0-1 --calib-ids $tmp/syn/ids.u32 --calib-tokens 1024 --seqlen 128 --memory 1GiB --json"

# shellcheck disable=SC2086
gives 'synthetic: dry run' 0 '' quantize $options --dry-run "$tmp/syn"
cp "$tmp/out" "$tmp/plan.json"
# shellcheck disable=SC2086
gives 'synthetic: run' 0 '' quantize $options -o "$tmp/syn.wcz" "$tmp/syn"
cp "$tmp/out" "$tmp/run.json"
predicted=$(json "$tmp/plan.json" 'd["plan"]["output_bytes"]')
check 'synthetic: the size was predicted to the byte' test "$predicted" = "$(stat -c %s "$tmp/syn.wcz")"
if nm "$wc" 2>/dev/null | grep -q __asan_init; then
    skip 'synthetic: peak memory' 'sanitizers take memory of their own'
else
    check 'synthetic: peak memory is below its prediction' \
        test "$(json "$tmp/run.json" 'd["result"]["peak_rss_bytes"]')" -le "$(json "$tmp/plan.json" 'd["plan"]["memory_bytes"]')"
fi
gives 'synthetic: kept tensors are the original' 0 '' verify "$tmp/syn.wcz" --against "$tmp/syn"
check 'synthetic: 14 linears were compressed' \
    test "$(json "$tmp/run.json" 'sum(".layers." in t["name"] for t in d["tensors"])')" = 14
finish

#!/bin/bash
# run_synthetic.sh [FOLDER] - a checkpoint of the size of Llama-2-7B through a short calibration and 4-bit GPTQ of its first two
# blocks in less than 6 GiB, the rest copied; and the plan of a 70B. Needs 15 GB of disk in FOLDER (default: a fresh one below
# $TMPDIR) and some minutes. Not part of `make check', which has tests/cli/synthetic.sh.
set -eu
wc=${WC_BIN:-build/wcompress}
dir=${1:-$(mktemp -d)}
[ $# != 0 ] || trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir"
limit=$((6 << 30))
options="--bits 4 --blocks 0-1 --calib-ids $dir/7b/ids.u32 --calib-tokens 4096 --seqlen 2048 --memory 6GiB"
value() { /usr/bin/python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }

[ -e "$dir/7b/config.json" ] || scripts/make_synthetic.py "$dir/7b"
# shellcheck disable=SC2086
"$wc" quantize $options --dry-run --json "$dir/7b" >"$dir/plan.json"
# shellcheck disable=SC2086
"$wc" quantize $options --json -f -o "$dir/7b.wcz" "$dir/7b" >"$dir/run.json"
predicted=$(value "$dir/plan.json" 'd["plan"]["output_bytes"]')
promised=$(value "$dir/plan.json" 'd["plan"]["memory_bytes"]')
size=$(stat -c %s "$dir/7b.wcz")
peak=$(value "$dir/run.json" 'd["result"]["peak_rss_bytes"]')
seconds=$(value "$dir/run.json" 'round(d["result"]["seconds"])')

[ -e "$dir/70b/config.json" ] || scripts/make_synthetic.py "$dir/70b" --hidden 8192 --inner 28672 --layers 80 --heads 64 \
    --kv-heads 8 --shards 15 --random-blocks 0 --dtype BF16
start=$(date +%s.%N)
"$wc" inspect "$dir/70b" >"$dir/70b.inspect"
middle=$(date +%s.%N)
"$wc" quantize --bits 3 --calib-ids "$dir/70b/ids.u32" --calib-tokens 16384 --memory 24GiB --dry-run --json "$dir/70b" >"$dir/70b.json"
end=$(date +%s.%N)
times=$(/usr/bin/python3 -c 'import sys; a, b, c = map(float, sys.argv[1:]); print(f"{b - a:.1f} s, dry run {c - b:.1f} s")' \
    "$start" "$middle" "$end")
echo "70B: inspect $times, memory predicted $(value "$dir/70b.json" 'round(d["plan"]["memory_bytes"] / 2**30, 2)') GiB"

verdict=ok
[ "$predicted" = "$size" ] || verdict='FAILED: size'
[ "$peak" -lt "$limit" ] && [ "$peak" -le "$promised" ] || verdict="$verdict FAILED: memory"
echo "7B: $verdict: $seconds s, peak $((peak >> 20)) MiB of $((limit >> 20)) allowed and $((promised >> 20)) predicted, $size bytes" \
    "($predicted predicted)"
[ "$verdict" = ok ]

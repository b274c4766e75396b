#!/bin/sh
# demo.sh - compresses the model in the tree to 3 bits and shows, in one table, what that cost. Run by `make demo'.
# Python is not needed: the figures come from --json with sed.
set -eu
cd "$(dirname "$0")/.."
model=tests/data/docs4m
text=tests/data/eval/technical.txt
out=build/demo
mkdir -p "$out"

echo "compressing $model (Llama, 4 M weights) to 3 bits; calibration on the built-in text takes a minute or two"
build/wcompress quantize --bits 3 --json -f "$model" -o "$out/docs4m.wcz" >"$out/quantize.json"
echo "comparing it with the original on $text, which neither training nor calibration has seen"
build/wcompress eval "$out/docs4m.wcz" --against "$model" --text "$text" --protocol daslab --json >"$out/eval.json"

# fact FILE KEY: the last number of that name.
fact()
{
    sed -n "s/^ *\"$2\": \([^,]*\),\{0,1\}$/\1/p" "$out/$1.json" | tail -n 1
}

awk -v bytes="$(fact quantize bytes)" -v ratio="$(fact quantize ratio)" -v bpw="$(fact quantize bits_per_weight)" \
    -v linear="$(fact quantize bits_per_linear_weight)" -v seconds="$(fact quantize seconds)" \
    -v rss="$(fact quantize peak_rss_bytes)" -v ppl="$(fact eval ppl)" -v original="$(fact eval ppl_original)" \
    -v kl="$(fact eval kl)" -v kl_se="$(fact eval kl_se)" -v top="$(fact eval same_top)" \
    -v source="$(wc -c <"$model/model.safetensors")" 'BEGIN {
    print ""
    printf "%-24s %14s %14s\n", "", "original", "3 bits"
    printf "%-24s %14d %14d   %.2f times smaller\n", "size, bytes", source, bytes, ratio
    printf "%-24s %14.3f %14.3f   linear layers %.3f\n", "bits per weight", bpw * ratio, bpw, linear
    printf "%-24s %14.3f %14.3f   %+.2f %%\n", "perplexity", original, ppl, 100 * (ppl / original - 1)
    printf "%-24s %14s %14.5f   +- %.5f nats per token\n", "KL divergence", "0", kl, kl_se
    printf "%-24s %14s %13.2f %%\n", "same top token", "100 %", 100 * top
    printf "%-24s %14s %12.1f s   peak memory %.0f MiB\n", "time to compress", "", seconds, rss / 1048576
    print ""
}'
echo "the file: $out/docs4m.wcz; \`build/wcompress inspect $out/docs4m.wcz' explains it"

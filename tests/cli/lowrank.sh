#!/bin/bash
# lowrank.sh - lists of methods with low-rank parts: exact size, smaller error, equal bytes for any thread count, refusals.
. tests/cli/lib.sh
make_small
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" --calib-tokens 512 --seqlen 64
stats="--stats $tmp/s.wcstats"

# list NAME RECIPE: compressed with saved statistics; the plan's size is the file's, it verifies; leaves its error in $error.
list()
{
    local file=$tmp/$1.wcz said
    # shellcheck disable=SC2086
    run compress --recipe "$2" "$small" -o "$file" $stats --json
    cp "$tmp/out" "$tmp/$1.json"
    error=$(json "$tmp/$1.json" 'd["result"]["error_mean"]')
    # shellcheck disable=SC2086
    run compress --recipe "$2" "$small" -o "$file" $stats --dry-run --json
    said=$(json "$tmp/out" 'd["plan"]["output_bytes"]')
    if [ "$said" = "$(stat -c %s "$file")" ]; then ok "$1: size"; else fail "$1: size" "planned $said" "$(stat -c %s "$file")"; fi
    gives "$1: verify" 0 '' verify "$file" --against "$small"
}
# below NAME A B: A < B as numbers.
below() { check "$1" /usr/bin/python3 -c "import sys; sys.exit(not $2 < $3)"; }

list plain 'gptq(bits=3)'
plain=$error
list eora 'gptq(bits=3) | eora(rank=16)'
eora=$error
below 'eora lowers the error' "$eora" "$plain"
list qera 'rtn(bits=3) | qera(rank=16,factor_bits=4,metric=rms)'
list first 'svd(rank=32) | gptq(bits=3)'
below 'svd before gptq lowers the error' "$error" "$plain"
list three 'svdllm(rank=8,factor_bits=8) | gptq(bits=2) | lqer(rank=8)'
list alone 'asvd(ratio=0.5)'
list vectors 'gptvq(bits=2,dim=2,signs=yes) | eora(rank=8)'
list sums 'aqlm(bits=2,dim=4,code_bits=4,cd=1)'

for threads in 1 3; do
    # shellcheck disable=SC2086
    run compress --recipe 'gptq(bits=3) | eora(rank=16)' "$small" -o "$tmp/j$threads.wcz" $stats -j $threads
done
check 'any thread count, same bytes' cmp "$tmp/j1.wcz" "$tmp/j3.wcz"

gives 'impossible rank by rule' 2 '256.*rank=300.*the rank exceeds min\(rows, cols\)' \
    compress --recipe keep --rule '*q_proj.weight=svd(rank=300)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'impossible rank is kept' 0 'is kept as it is: the rank exceeds min\(rows, cols\)' \
    compress --recipe 'svd(rank=300)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'no room for rank 1' 2 'the ratio has no room for rank 1' \
    compress --recipe keep --rule '*q_proj.weight=svd(ratio=0.001)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'odd factor bits' 2 'factor_bits is 4 to 8, or 16' \
    compress --recipe keep --rule '*q_proj.weight=svd(rank=2,factor_bits=9)' "$small" -o "$tmp/no.wcz" --dry-run
finish

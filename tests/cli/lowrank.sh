#!/bin/bash
# lowrank.sh - lists of methods with low-rank parts: exact size, smaller error, equal bytes for any thread count, refusals.
. tests/cli/lib.sh
make_small
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" --calib-tokens 512 --seqlen 64
stats="--stats $tmp/s.wcstats"

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
list product 'svdllm(ratio=0.5)'
product=$error
list budget 'svdllm(budget=0.5)'
below 'ranks by budget lower the error' "$error" "$product"
left='all(t["bytes"] > 0 for t in L) and sum(t["rows"] * t["cols"] - t["bytes"] for t in L) >= 0'
check 'within half of f16' [ "$(json "$tmp/budget.json" "[$left for L in [[t for t in d['plan']['tensors'] if 'svdllm' in t['recipe']]]]")" = '[True]' ]
# shellcheck disable=SC2086
run compress --recipe 'svdllm(budget=0.5)' "$small" -o "$tmp/no.wcz" $stats --dry-run
check 'the statistics decided' grep -q "of the weights with the inputs' statistics" "$tmp/err"
run compress --recipe 'svdllm(budget=0.5)' "$small" -o "$tmp/no.wcz" --dry-run
check 'without them the weights' grep -q 'of the weights alone' "$tmp/err"
list pifa 'svdllm(ratio=0.5,storage=pifa)'
below 'pivot rows have room for a larger rank' "$error" "$product"
list saes 'saes(ratio=0.5,factor_bits=8)'
list fwsvd 'fwsvd(rank=20,floor=3)'
list curing 'curing(rank=12,factor_bits=8) | gptq(bits=3)'
list rocket 'gptq(bits=2) | rocket(rank=24)'
list mpo 'mpo(rank=40,factor_bits=4) | rtn(bits=4) | svd(rank=3,storage=pifa)'
for name in pifa curing rocket mpo; do
    check "$name: second reader" /usr/bin/python3 scripts/wcz_reader.py "$tmp/$name.wcz" --check
done
run inspect "$tmp/curing.wcz"
check 'inspect: columns and rows' grep -qE 'lowrank cur r12 \(grid 8b.* x grid 8b.* x float F32\) \+ grid 3b' "$tmp/out"
run inspect "$tmp/mpo.wcz"
check 'inspect: cores, pivot rows' grep -qE 'lowrank mpo r40 .* \+ lowrank pivot r3 \(float F16 x float F16\)' "$tmp/out"
run methods lord
check 'methods: a published name' grep -q '^svdllm  (calibrated)' "$tmp/out"
run methods mpifa
check 'methods: and its options' grep -q 'is also: .*mpifa (MPIFA; drift=0.25,residual=0,storage=pifa)' "$tmp/out"
run methods ggml
check 'methods: no word is cut off' grep -q '|TQ1_0|TQ2_0' "$tmp/out"
list vectors 'gptvq(bits=2,dim=2,signs=yes) | eora(rank=8)'
list sums 'aqlm(bits=2,dim=4,code_bits=4,cd=1)'

for threads in 1 3; do
    # shellcheck disable=SC2086
    run compress --recipe 'gptq(bits=3) | eora(rank=16)' "$small" -o "$tmp/j$threads.wcz" $stats -j $threads
done
check 'any thread count, same bytes' cmp "$tmp/j1.wcz" "$tmp/j3.wcz"

gives 'impossible rank by rule' 2 '256.*rank=300.*the rank exceeds min\(rows, cols\)' \
    compress --recipe keep --rule '*q_proj.weight=svd(rank=300)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'impossible rank is kept' 0 'k_proj.weight, 64 x 256, is kept as it is: the rank exceeds min\(rows, cols\)' \
    compress --recipe 'svd(rank=100)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'impossible rank everywhere' 2 'applies to none of 14 linear layers: .*, [0-9]+ x [0-9]+: the rank exceeds min\(rows, cols\)' \
    compress --recipe 'svd(rank=300)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'no room for rank 1' 2 'the ratio has no room for rank 1' \
    compress --recipe keep --rule '*q_proj.weight=svd(ratio=0.001)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'rank and budget' 2 'a rank and a budget contradict each other' \
    compress --recipe 'svd(rank=4,budget=0.5)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'floors above the budget' 2 'the least ranks of 14 matrices take [0-9]* bytes more than the budget' \
    compress --recipe 'svd(budget=0.2,floor=60)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'a budget for what is not known' 2 'a budget is for the first step' \
    compress --recipe 'rtn(bits=3) | svd(budget=0.1)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'odd factor bits' 2 'factor_bits is 4 to 8, or 16' \
    compress --recipe keep --rule '*q_proj.weight=svd(rank=2,factor_bits=9)' "$small" -o "$tmp/no.wcz" --dry-run
finish

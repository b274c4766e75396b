#!/bin/bash
# prune.sh - pruners in lists and the command `prune': exact size, verify, the second reader, density as inspect shows it, equal
# bytes for any thread count, refusals.
. tests/cli/lib.sh
make_small
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" --calib-tokens 512 --seqlen 64
stats="--stats $tmp/s.wcstats"

list magnitude 'magnitude(50%,update=none)'
magnitude=$error
list wanda 'wanda(50%,update=none)'
wanda=$error
list sparsegpt 'sparsegpt(50%)'
below 'wanda is below magnitude' "$wanda" "$magnitude"
below 'sparsegpt is below wanda' "$error" "$wanda"
list ria 'ria(2:4)'
list half 'sparsegpt(50%) | gptq(bits=4)'
list four 'sparsegpt(2:4) | gptq(bits=4,sym=no)'
list blocks 'gqsa(25%) | gptq(bits=4,group=16)'
blocks=$error
list repaired 'gqsa(25%) | gptq(bits=4,group=16) | eora(rank=8)'
below 'low rank repairs what was pruned' "$error" "$blocks"
list rounded 'magnitude(30%) | rtn(bits=4)'
list squeezed 'wanda(50%) | squeezellm(bits=4)'
list levels 'sparsegpt(2:4) | lut(bits=3)'
list floats 'magnitude(50%,compare=model,floor=0.01) | nf4'
check 'one threshold for all matrices, settled for each' /usr/bin/python3 -c 'import json, sys
steps = [t["recipe"] for t in json.load(open(sys.argv[1]))["plan"]["tensors"] if "magnitude" in t["recipe"]]
sys.exit(len(steps) != 14 or len(set(steps)) < 8 or any("compare=layer" not in s for s in steps))' "$tmp/floats.json"
gives 'a floor above what is left' 2 'each of 14 matrices keeps' \
    compress --recipe 'magnitude(50%,compare=model,floor=0.1)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'a threshold after another step' 2 'compare=model is for the first step' \
    compress --recipe 'hadamard | magnitude(50%,compare=model) | rtn' "$small" -o "$tmp/no.wcz" --dry-run
for want in 'half 50% mask' 'four of 2:4' 'blocks of 75% mask x16' 'sparsegpt sparse 50% mask F16' 'ria sparse 2:4 F16' \
    'squeezed 4b g256 row tables of 50% mask' 'levels row tables of 2:4' 'floats lut 4b g64 one table scaled of'; do
    gives "inspect $want" 0 '' inspect "$tmp/${want%% *}.wcz"
    check "inspect: $want" grep -q "${want#* }" "$tmp/out"
done

for threads in 1 3; do
    # shellcheck disable=SC2086
    run compress --recipe 'sparsegpt(50%) | gptq(bits=3)' "$small" -o "$tmp/j$threads.wcz" $stats -j $threads
done
check 'any thread count, same bytes' cmp "$tmp/j1.wcz" "$tmp/j3.wcz"

# shellcheck disable=SC2086
gives 'prune' 0 '' prune --pattern 50% "$small" -o "$tmp/p.wcz" $stats
check 'prune is sparsegpt' cmp "$tmp/p.wcz" "$tmp/sparsegpt.wcz"
# shellcheck disable=SC2086
gives 'prune and quantize' 0 '' prune -p 50% --bits 4 "$small" -o "$tmp/q.wcz" $stats
check 'is sparsegpt | gptq' cmp "$tmp/q.wcz" "$tmp/half.wcz"
# shellcheck disable=SC2086
gives 'another method' 0 '' prune -p 50% -m wanda --opt update=none "$small" -o "$tmp/w.wcz" $stats
check 'is wanda' cmp "$tmp/w.wcz" "$tmp/wanda.wcz"
gives 'data-free' 0 '' prune -p 2:4 -m magnitude "$small" -o "$tmp/m.wcz"

gives 'no pattern' 2 'prune: --pattern is missing' prune "$small" -o "$tmp/no.wcz"
gives 'no pruner' 2 '`gptq. is no method that prunes' prune -p 2:4 -m gptq "$small" -o "$tmp/no.wcz"
gives 'no such pattern' 2 'pattern=4:2 is no pattern n:m' prune -p 4:2 "$small" -o "$tmp/no.wcz"
gives 'too much' 2 'pattern=101% is out of range' prune -p 101% "$small" -o "$tmp/no.wcz"
gives 'bits' 2 '\-\-bits 9: allowed is 1 to 8' prune -p 50% -b 9 "$small" -o "$tmp/no.wcz"
gives 'a pattern that does not fit' 2 "its columns are not a multiple of the pattern's" \
    compress --recipe keep --rule '*q_proj.weight=wanda(2:5)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'two masks' 2 'wanda cannot follow sparsegpt: a tensor has one mask' \
    compress --recipe 'sparsegpt(50%) | wanda(50%)' "$small" -o "$tmp/no.wcz"
gives 'a mask that would be lost' 2 'gptvq cannot follow wanda' \
    compress --recipe 'wanda(50%) | gptvq' "$small" -o "$tmp/no.wcz"
absent 'nothing left behind' "$tmp/no.wcz" "$tmp/no.wcz.partial"
finish

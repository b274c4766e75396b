#!/bin/bash
# grids.sh - hqq, spqr, slim and awq from outside: exact size, verify, the second reader's values, equal bytes for any thread
# count, recipes as they are stored, refusals.
. tests/cli/lib.sh
make_small
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" --calib-tokens 512 --seqlen 64
stats="--stats $tmp/s.wcstats"

run_reader() { /usr/bin/python3 scripts/wcz_reader.py "$@"; }

list minmax 'rtn(bits=3,group=32,sym=no,zero_bits=16,scale_bits=0,search=minmax)'
minmax=$error
list hqq 'hqq(bits=3,group=32)'
below 'hqq is below min-max on the same grid' "$error" "$minmax"
list tiles 'gptq(bits=3,group=16,sym=no,scale_bits=3,zero_bits=3,tile=16)'
list spqr 'spqr(bits=3)'
check 'spqr is stored as its steps' grep -q 'outliers(frac=0.005,criterion=spqr,.*gptq(bits=3,group=16,' "$tmp/spqr.json"
list base 'rtn(bits=3,search=mse)'
list same 'awq(points=1) | rtn(bits=3,search=mse)'
for which in base same; do
    run_reader "$tmp/$which.wcz" --dump model.layers.0.mlp.down_proj.weight "$tmp/$which.npy"
done
check 'awq without exponents is the base method' cmp "$tmp/base.npy" "$tmp/same.npy"
list plain 'awq(points=1) | rtn(bits=3)'
base=$error
list awq 'awq(points=5) | rtn(bits=3)'
below 'awq lowers the error' "$error" "$base"
run inspect "$tmp/awq.wcz"
check 'its diagonals of q and up are in the norms' /usr/bin/python3 -c 'import sys
lines = [l for l in open(sys.argv[1]) if "proj.weight" in l]
sys.exit(len(lines) != 14 or any(("inputs diagonal" in l) != ("o_proj" in l or "down_proj" in l) for l in lines))' "$tmp/out"
run compress --recipe 'awq(points=5) | rtn(bits=3)' --rule '*0.self_attn.k_proj.weight=rtn(bits=3)' "$small" \
    -o "$tmp/no.wcz" $stats --dry-run --json
check 'but not where another linear has none' /usr/bin/python3 -c 'import json, sys
for t in json.load(open(sys.argv[1]))["plan"]["tensors"]:
    if "awq" in t["recipe"]:
        alone = any(s in t["name"] for s in ("0.self_attn", "o_proj", "down_proj"))
        assert ("fold=false" in t["recipe"]) == alone, t' "$tmp/out"
list awq_gptq 'awq(points=5) | gptq(bits=3)'
below 'and gptq lowers it further' "$error" "$base"
list slim 'rtn(bits=4,group=0,scale_bits=0,search=slim)'
slim=$error
list adapter 'rtn(bits=4,group=0,scale_bits=0,search=slim) | slim(rank=8)'
below 'adapters lower the error' "$error" "$slim"

for threads in 1 3; do
    # shellcheck disable=SC2086
    run compress --recipe 'awq(points=3) | spqr(bits=2)' "$small" -o "$tmp/j$threads.wcz" $stats -j $threads
done
check 'any thread count, same bytes' cmp "$tmp/j1.wcz" "$tmp/j3.wcz"

gives 'zeros without asymmetry' 2 'zero_bits needs sym=no' \
    compress --recipe keep --rule '*q_proj.weight=rtn(zero_bits=16)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'zeros on lines without tiles' 2 'zero_bits of 2 to 8 needs tile' \
    compress --recipe keep --rule '*q_proj.weight=rtn(sym=no,zero_bits=3)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'odd tiles' 2 'tile is 2, 4, 8 or 16 rows' \
    compress --recipe keep --rule '*q_proj.weight=rtn(tile=5)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'hqq without zeros' 2 'zeros are what hqq chooses' \
    compress --recipe keep --rule '*q_proj.weight=hqq(sym=yes,zero_bits=0)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'slim with scales of groups' 2 'search=slim needs sym=yes, scale_bits=0' \
    compress --recipe keep --rule '*q_proj.weight=rtn(search=slim)' "$small" -o "$tmp/no.wcz" --dry-run
gives 'awq alone' 2 'awq stores no values' compress --recipe awq "$small" -o "$tmp/no.wcz" --dry-run
finish

#!/bin/bash
# trained.sh - every method on layers of a trained model beside its published form, computed by numpy (tests/oracle/trained.py), and
# the orders of methods that were published.
. tests/cli/lib.sh
oracle() { /usr/bin/python3 tests/oracle/trained.py "$@"; }

gives 'calibrate' 0 '' calibrate "$model" -o "$tmp/s.wcstats" --calib-tokens 4096
stats="--stats $tmp/s.wcstats"

# ---- against the oracles ------------------------------------------------------------------------------------------------

oracle rules >"$tmp/rules"
files=()
for k in $(cut -d ' ' -f 1 "$tmp/rules" | sort -nu); do
    rules=()
    while read -r rule; do rules+=(--rule "$rule"); done < <(sed -n "s/^$k //p" "$tmp/rules")
    # shellcheck disable=SC2086
    gives "run $k" 0 '' compress --recipe keep "${rules[@]}" "$model" $stats -o "$tmp/$k.wcz" --json
    cp "$tmp/out" "$tmp/$k.json"
    # shellcheck disable=SC2086
    run compress --recipe keep "${rules[@]}" "$model" $stats -o "$tmp/no.wcz" --dry-run --json
    check "run $k: the size that was said" [ "$(json "$tmp/out" 'd["plan"]["output_bytes"]')" = "$(stat -c %s "$tmp/$k.wcz")" ]
    files+=("$tmp/$k.wcz" "$tmp/$k.json")
done
oracle check "$model/model.safetensors" "$tmp/s.wcstats" "${files[@]}" >"$tmp/cases" 2>&1 || fail 'oracle' "$(tail -n 5 "$tmp/cases")"
grep -E '^(ok|FAIL) ' "$tmp/cases"
! grep -q '^FAIL ' "$tmp/cases" || failures=1

# ---- published orders, on the layers of a block ---------------------------------------------------------------------------

# errors NAME RECIPE: of all layers into $tmp/NAME.err, their mean into $error, bits per weight into $bits.
errors()
{
    # shellcheck disable=SC2086
    run compress --recipe "$2" --blocks 1 "$model" $stats -o "$tmp/$1.wcz" --json
    json "$tmp/out" '[t["error"] for t in d["tensors"] if "proj" in t["name"] and t["recipe"] != "keep"]' >"$tmp/$1.err"
    error=$(json "$tmp/out" 'd["result"]["error_mean"]')
    bits=$(json "$tmp/out" 'd["result"]["bits_per_linear_weight"]')
}
errors magnitude 'magnitude(50%,update=none)'
magnitude=$error
errors wanda 'wanda(50%,update=none)'
wanda=$error
below 'wanda is below magnitude' "$wanda" "$magnitude"
errors sparsegpt 'sparsegpt(50%,update=obs,block=128)'
below 'sparsegpt is below wanda' "$error" "$wanda"
errors rtn 'rtn(bits=3)'
rtn=$error
errors eora 'rtn(bits=3) | eora(rank=8)'
check 'eora lowers the error of every layer' /usr/bin/python3 -c 'import sys
a, b = (eval(open(f).read()) for f in sys.argv[1:])
sys.exit(len(a) != 7 or not all(x < y for x, y in zip(a, b)))' "$tmp/eora.err" "$tmp/rtn.err"
errors groups 'gptq(bits=3,group=21,sym=no,scale_bits=0)'
below 'gptq is below rounding' "$error" "$rtn"
groups=$error groups_bits=$bits
errors spqr 'spqr(bits=3)'
below 'spqr is below gptq, ' "$error" "$groups"
below 'which takes more bits' "$bits" "$groups_bits"
finish

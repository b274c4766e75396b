#!/bin/bash
# cut.sh - a file of stacks cut to any size: what is promised is what is written, it verifies, the second reader agrees, errors
# grow as it shrinks, the rest is untouched; refusals.
. tests/cli/lib.sh
make_small
whole=$tmp/whole.wcz
# shellcheck disable=SC2086
gives 'compress' 0 '' compress --recipe 'bitstack(levels=3)' --rule '*.q_proj.weight=gptq(bits=4)' "$small" -o "$whole" $quick
cp "$whole" "$tmp/copy.wcz"
size=$(stat -c %s "$whole")
gives 'no size' 2 'size is missing' cut "$whole" -o "$tmp/x.wcz"
gives 'below the floor' 5 'with one level of every stack it has [0-9]+' cut --size 1KiB "$whole" -o "$tmp/x.wcz"
floor=$(grep -oE '[0-9]+$' "$tmp/err")
gives 'exists' 2 'exists' cut --size 1GiB "$whole" -o "$tmp/copy.wcz"
gives 'onto itself' 2 'is the source itself' cut --size 1GiB "$whole" -o "$whole" -f
gives 'not a .wcz' 3 'not a .wcz file' cut --size 1GiB tests/data/docs4m/config.json -o "$tmp/x.wcz"
gives 'nothing to cut' 6 'has no stacks' cut --size 1GiB tests/data/golden/kinds.wcz -o "$tmp/x.wcz"
gives 'no folder' 7 'No such file' cut --size 1GiB "$whole" -o "$tmp/none/x.wcz"
absent 'nothing is left of refusals' "$tmp/x.wcz" "$tmp/x.wcz.partial"

# at NAME SIZE: cut to that size; leaves its error in $error.
at()
{
    local name=$1 limit=$2 said
    run cut --size "$limit" "$whole" --dry-run --json
    said=$(json "$tmp/out" 'd["result"]["bytes"]')
    run cut --size "$limit" "$whole" -o "$tmp/cut.wcz" -f --json
    error=$(json "$tmp/out" 'd["result"]["error_mean"]')
    check "$name: fits" [ "$said" -le "$limit" ]
    check "$name: the size that was said" [ "$said" = "$(stat -c %s "$tmp/cut.wcz")" ]
    gives "$name: verify" 0 '' verify "$tmp/cut.wcz" --against "$small"
    check "$name: second reader" /usr/bin/python3 scripts/wcz_reader.py "$tmp/cut.wcz" --check
}
at 'floor' "$floor"
check 'floor is the floor' [ "$(stat -c %s "$tmp/cut.wcz")" = "$floor" ]
last=$error
for part in 1 2 3 4 5; do
    at "part $part" $((floor + (size - floor) * part / 6))
    check "part $part: a smaller error" /usr/bin/python3 -c "import sys; sys.exit(not $error < $last)"
    last=$error
done
at 'whole' "$size"
check 'whole: the same bytes' cmp "$tmp/cut.wcz" "$whole"
middle=$(((floor + size) / 2))
run cut --size $((middle + 20000)) "$whole" -o "$tmp/first.wcz"
run cut --size $middle "$tmp/first.wcz" -o "$tmp/second.wcz"
run cut --size $middle "$whole" -o "$tmp/once.wcz"
check 'cut twice or once' cmp "$tmp/second.wcz" "$tmp/once.wcz"
check 'the input is untouched' cmp "$whole" "$tmp/copy.wcz"
run inspect "$tmp/once.wcz"
check 'inspect tells levels' grep -q 'signs [12] levels r1' "$tmp/out"
gives 'default name' 0 '' cut --size $middle "$whole"
check 'default name: file' cmp "$tmp/whole.cut.wcz" "$tmp/once.wcz"
printf 'x' | dd of="$whole" bs=1 seek=$((size - 5000)) conv=notrunc 2>/dev/null
gives 'damaged' 4 'is damaged' cut --size $middle "$whole" -o "$tmp/x.wcz"
absent 'damaged: no output' "$tmp/x.wcz"
finish

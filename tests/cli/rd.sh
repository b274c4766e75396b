#!/bin/bash
# rd.sh - rd(): exact size at any rate, equal bytes for any thread count, error below gptq's, the second reader, refusals.
. tests/cli/lib.sh
make_small
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" --calib-tokens 512 --seqlen 64
stats="--stats $tmp/s.wcstats"

# compress NAME RECIPE: with saved statistics; the plan's size is the file's, it verifies; leaves its error in $error.
compress()
{
    local file=$tmp/$1.wcz said
    # shellcheck disable=SC2086
    run compress --recipe "$2" "$small" -o "$file" $stats --json
    error=$(json "$tmp/out" 'd["result"]["error_mean"]')
    # shellcheck disable=SC2086
    run compress --recipe "$2" "$small" -o "$file" $stats --dry-run --json
    said=$(json "$tmp/out" 'd["plan"]["output_bytes"]')
    if [ "$said" = "$(stat -c %s "$file")" ]; then ok "$1: size"; else fail "$1: size" "planned $said" "$(stat -c %s "$file")"; fi
    gives "$1: verify" 0 '' verify "$file" --against "$small"
}

compress gptq 'gptq(bits=3,group=64,scale_bits=0)'
gptq=$error
compress rd 'rd(bits=3.25,states=8)'
check 'rd: less than 0.6 of the error at equal bits' /usr/bin/python3 -c "import sys; sys.exit(not $error < 0.6 * $gptq)"
compress low 'rd(bits=1.37,states=8)'
compress sum 'rd(bits=2.5,states=4) | eora(rank=8)'
run inspect "$tmp/rd.wcz"
check 'inspect' grep -q 'coded 3.25b 8 states' "$tmp/out"
check 'the second reader' /usr/bin/python3 scripts/wcz_reader.py "$tmp/rd.wcz" --check

for threads in 1 3; do
    # shellcheck disable=SC2086
    run compress --recipe 'rd(bits=3,states=8,tile=64)' "$small" -o "$tmp/j$threads.wcz" $stats -j $threads
done
check 'any thread count, same bytes' cmp "$tmp/j1.wcz" "$tmp/j3.wcz"

gives 'rate out of range' 2 'bits=9 is out of range, allowed is 0.5 to 8' compress --recipe 'rd(bits=9)' "$small" -o "$tmp/no.wcz" --dry-run
finish

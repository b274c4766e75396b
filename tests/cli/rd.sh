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

# Tokens weighed by the attention that they get: other statistics of q, k, v, so other numbers there; recorded.
few='--calib-tokens 512 --seqlen 128'
for name in alike weighed again; do
    weigh='--attention 0.5'
    [ $name != alike ] || weigh=''
    # shellcheck disable=SC2086
    run compress --recipe 'rd(bits=2,states=4)' "$small" -o "$tmp/$name.wcz" $few $weigh -j $((${#name} % 2 + 1))
done
check 'attention: the same bytes for any thread count' cmp "$tmp/weighed.wcz" "$tmp/again.wcz"
run diff "$tmp/alike.wcz" "$tmp/weighed.wcz" --all
check 'attention: other values of q_proj' grep -qE '^different .*layers.0.self_attn.q_proj' "$tmp/out"
run inspect "$tmp/weighed.wcz"
check 'attention: recorded' grep -q '"attention": 0.5' "$tmp/out"
gives 'attention out of range' 2 '--attention 2: allowed is 0 to 1' compress --recipe 'rd(bits=2)' "$small" -o "$tmp/no.wcz" --attention 2
gives 'attention and statistics' 2 '--attention: the statistics of --stats' compress --recipe 'rd(bits=2)' "$small" -o "$tmp/no.wcz" --attention 1 $stats

gives 'rate out of range' 2 'bits=9 is out of range, allowed is 0.5 to 8' compress --recipe 'rd(bits=9)' "$small" -o "$tmp/no.wcz" --dry-run
finish

#!/bin/bash
# search.sh - bits spread over the layers: the average and the size that were asked for are met, unequal bits come out and beat
# equal ones, the same bytes for any number of threads, a killed search goes on with what it found; refusals.
. tests/cli/lib.sh
make_small
few='--calib-tokens 1024 --seqlen 128 --probe-tokens 512 --rounds 1 --opt states=4'

# shellcheck disable=SC2086
gives 'search' 0 "the layers' KL add up to" search --bits 2 "$small" -o "$tmp/a.wcz" $few --json
bits=$(sed -n 's/^ *"bits_per_linear_weight": \([0-9.]*\),*$/\1/p' "$tmp/out" | head -n 1)
if awk -v b="$bits" 'BEGIN { exit !(b > 1.99 && b <= 2.0) }'; then ok 'two bits on average'; else fail 'two bits on average' "$bits"; fi
absent 'search: nothing left behind' "$tmp/a.wcz.work" "$tmp/a.wcz.partial"
check 'search: verify' "$wc" verify "$tmp/a.wcz" --against "$small"
spread=$("$wc" inspect "$tmp/a.wcz" 2>/dev/null | grep -o 'rd(bits=[0-9.]*' | sort -u | wc -l)
if [ "$spread" -gt 5 ]; then ok 'layers get different bits'; else fail 'layers get different bits' "$spread different"; fi

# At the same size and on other text the model must be nearer to the original than with equal bits.
kl() { "$wc" eval "$1" --against "$small" --text tests/data/eval/technical.txt --tokens 2048 --json -q 2>/dev/null | sed -n 's/^ *"kl": \([-0-9.e+]*\),*$/\1/p' | head -n 1; }
# shellcheck disable=SC2086
run compress --recipe 'rd(bits=2,states=4)' --calib-tokens 1024 --seqlen 128 "$small" -o "$tmp/equal.wcz"
spread=$(kl "$tmp/a.wcz") equal=$(kl "$tmp/equal.wcz")
if awk -v a="$spread" -v b="$equal" 'BEGIN { exit !(a > 0 && a < 0.97 * b) }'; then
    ok 'nearer to the original than equal bits'
else
    fail 'nearer to the original than equal bits' "KL $spread, with equal bits $equal"
fi

# shellcheck disable=SC2086
gives 'one thread' 0 '' search --bits 2 "$small" -o "$tmp/b.wcz" $few -j 1
check 'same bytes: one thread' cmp "$tmp/a.wcz" "$tmp/b.wcz"

# With a target, and with what it cost.
gives 'search: a target that takes no such integers' 6 'vllm' search --bits 2 --target vllm "$small" -o "$tmp/no.wcz"
head -c 2000 tests/data/eval/technical.txt >"$tmp/text"
# shellcheck disable=SC2086
gives 'search: what it cost' 0 '' search --bits 2 "$small" -o "$tmp/e.wcz" --calib-tokens 1024 --seqlen 128 --rounds 0 --opt states=4 --eval "$tmp/text"
check 'search: the table of --eval' grep -q '^KL divergence' "$tmp/out"

# Stopped when the bits are found, the same command takes them over.
# shellcheck disable=SC2086
"$wc" search --bits 2 "$small" -o "$tmp/c.wcz" $few >/dev/null 2>"$tmp/half" &
pid=$!
for ((i = 0; i < 20000; i++)); do
    [ -e "$tmp/c.wcz.work/search.json" ] && break
    sleep 0.003
done
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
cp -r "$tmp/c.wcz.work" "$tmp/kept.work"
# shellcheck disable=SC2086
gives 'killed when the bits were found: continues' 0 'are taken over' search --bits 2 "$small" -o "$tmp/c.wcz" $few -f
check 'same bytes: after a kill' cmp "$tmp/a.wcz" "$tmp/c.wcz"

# Other calibration would have found other bits: those of before are not taken over.
cp -r "$tmp/kept.work" "$tmp/e.wcz.work"
# shellcheck disable=SC2086
run search --bits 2 "$small" -o "$tmp/e.wcz" $few --calib-tokens 1280 --fresh
if grep -q 'are taken over' "$tmp/err"; then fail 'other tokens: searched again' "$(tail -n 1 "$tmp/err")"; else ok 'other tokens: searched again'; fi

# An unfinished run of something else is not found out only after the search.
mkdir "$tmp/f.wcz.work"
head -c 300 /dev/zero >"$tmp/f.wcz.work/journal"
# shellcheck disable=SC2086
gives 'an unfinished run of another command' 8 'unfinished run with other .*--fresh' search --bits 2 "$small" -o "$tmp/f.wcz" $few
if grep -q 'round 1' "$tmp/err"; then fail 'refused before the search' "$(tail -n 3 "$tmp/err")"; else ok 'refused before the search'; fi

# shellcheck disable=SC2086
{
    gives 'by size' 0 '' search --size 1500KiB "$small" -o "$tmp/d.wcz" $few
    size=$(stat -c %s "$tmp/d.wcz" 2>/dev/null || echo 0)
    if [ "$size" -le $((1500 * 1024)) ] && [ "$size" -gt $((1490 * 1024)) ]; then ok '1500 KiB'; else fail '1500 KiB' "$size bytes"; fi
    gives 'a size that cannot be had' 5 '--size 2000 bytes: everything but the 14 linear layers takes' search --size 2000 "$small" -o "$tmp/x.wcz" $few
    gives 'too little memory to probe' 5 'give fewer --probe-tokens' search --bits 2 "$small" -o "$tmp/x.wcz" $few --memory 200MiB
    gives 'bits out of range' 2 'allowed is 0.5 to 8' search --bits 9 "$small" -o "$tmp/x.wcz" $few
    gives 'a rule' 2 'contradict each other' search --bits 2 --rule '*=keep' "$small" -o "$tmp/x.wcz" $few
    gives 'a bad option' 2 'has no option .nonsense' search --bits 2 "$small" -o "$tmp/x.wcz" $few --opt nonsense=1
}
absent 'refused: no output' "$tmp/x.wcz"
finish

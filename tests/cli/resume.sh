#!/bin/bash
# resume.sh - killed at any moment, the same command continues and the file is the same to the byte; a run that does not match
# is refused. Kills fall between two calls that change the file system (kill_at.c): WC_KILLS of them (default 5) while a run
# goes on, and one at each of the last WC_LAST (default 9) calls of a run, where the output gets its name.
. tests/cli/lib.sh
/usr/bin/python3 tests/cli/make_broken.py mini "$tmp/mini" || exit 1
mini=$tmp/mini quick='--calib-tokens 512 --seqlen 128'
kills=${WC_KILLS:-5} last=${WC_LAST:-9}
RANDOM=20261122
${CC:-cc} -shared -fPIC -O1 -o "$tmp/kill_at.so" tests/cli/kill_at.c -ldl || exit 1

# calls COMMAND...: runs it; how many calls it made.
calls()
{
    WC_KILL_COUNT=$tmp/count LD_PRELOAD=$tmp/kill_at.so "$@" >/dev/null 2>&1
    cat "$tmp/count"
}

# dies N COMMAND...: is killed before its N-th call; its exit code in $code: 137, or 0 when it made fewer.
dies()
{
    local at=$1
    shift
    WC_KILL_AT=$at LD_PRELOAD=$tmp/kill_at.so "$@" >/dev/null 2>"$tmp/killed" &
    wait $! 2>/dev/null # in the background, or the shell tells of every death
    code=$?
}

# so_far NAME: after a run that was to be killed: ended in one of the two ways, and an output that appeared is whole.
so_far()
{
    [ "$code" = 137 ] || [ "$code" = 0 ] || fail "$1" "exit code $code" "$(tail -n 3 "$tmp/killed")"
    [ ! -e "$output" ] || cmp -s "$output" "$reference" || fail "$1" 'an output that appeared differs'
    rm -f "$output"
}

# in_peace NAME COMMAND...
in_peace()
{
    local name=$1
    shift
    check "$name" "$@"
    check "$name: the same bytes" cmp "$output" "$reference"
    absent "$name: nothing left behind" "$output.partial" "$output.work"
    rm -f "$output"
}

# survives NAME OUTPUT REFERENCE COMMAND...; the output exists afterwards.
survives()
{
    local name=$1 total rest at bad=$failures
    output=$2 reference=$3
    shift 3
    total=$(calls "$@")
    mv "$output" "$reference"
    for ((i = 0; i < kills; i++)); do
        dies $((1 + RANDOM % (total / 4 + 1))) "$@"
        so_far "$name: kill $i on the way"
    done
    in_peace "$name: continues after $kills kills" "$@"

    # The end: the state before it is kept, and every call from there on is the last one once.
    dies $((total - last)) "$@"
    cp -r "$output.work" "$tmp/end.work" && cp "$output.partial" "$tmp/end.partial"
    rest=$(calls "$@")
    for ((at = rest - last > 0 ? rest - last : 1; at <= rest; at++)); do
        rm -rf "$output" "$output.work" && cp -r "$tmp/end.work" "$output.work" && cp "$tmp/end.partial" "$output.partial"
        dies $at "$@"
        so_far "$name: killed before call $at of $rest"
        "$@" >/dev/null 2>"$tmp/killed"
        code=$?
        [ -e "$output" ] || fail "$name: after call $at of $rest" "no output, exit code $code" "$(tail -n 3 "$tmp/killed")"
        so_far "$name: after call $at of $rest"
    done
    rm -rf "$tmp/end.work" "$tmp/end.partial"
    [ $failures != $bad ] || ok "$name: killed before each of the last $last calls"
    cp "$reference" "$output"
}

# shellcheck disable=SC2086
survives 'quantize' "$tmp/a.wcz" "$tmp/a.reference" "$wc" quantize --bits 3 "$mini" -o "$tmp/a.wcz" $quick
survives 'quantize, data-free' "$tmp/b.wcz" "$tmp/b.reference" "$wc" quantize -m rtn "$mini" -o "$tmp/b.wcz"
# shellcheck disable=SC2086
survives 'compress, folded norms and rows' "$tmp/f.wcz" "$tmp/f.reference" \
    "$wc" compress --recipe 'awq(points=3) | rtn(bits=3)' "$mini" -o "$tmp/f.wcz" $quick
# shellcheck disable=SC2086
survives 'compress, stacks' "$tmp/e.wcz" "$tmp/e.reference" \
    "$wc" compress --recipe 'bitstack(levels=3)' "$mini" -o "$tmp/e.wcz" $quick
# shellcheck disable=SC2086
survives 'calibrate' "$tmp/c.wcstats" "$tmp/c.reference" "$wc" calibrate "$mini" -o "$tmp/c.wcstats" $quick
survives 'quantize with statistics' "$tmp/d.wcz" "$tmp/d.reference" \
    "$wc" quantize --bits 3 "$mini" -o "$tmp/d.wcz" --stats "$tmp/c.wcstats"
survives 'compress with statistics, folds' "$tmp/g.wcz" "$tmp/g.reference" \
    "$wc" compress --recipe 'awq(points=3) | rtn(bits=3)' "$mini" -o "$tmp/g.wcz" --stats "$tmp/c.wcstats"

# ---- signals that ask ----------------------------------------------------------------------------------------------------

# shellcheck disable=SC2086
job() { "$wc" quantize --bits 3 "$mini" -o "$tmp/a.wcz" $quick "$@"; }
again() { rm -rf "$tmp/a.wcz" "$tmp/a.wcz.partial" "$tmp/a.wcz.work"; }

# The first call of the job at which it has said that it is in the second block.
again
middle=$(calls job)
for ((middle = middle / 2; ; middle++)); do
    again
    dies $middle job
    grep -q 'block 2/2  o_proj' "$tmp/killed" && break
done

for pair in INT:2:130 TERM:15:143; do
    IFS=: read -r signal number want <<<"$pair"
    again
    WC_KILL_SIGNAL=$number dies $middle job
    if [ "$code" = "$want" ] && grep -q 'repeat the same command to continue' "$tmp/killed"; then
        ok "SIG$signal: exit code $want and a sentence"
    else
        fail "SIG$signal: exit code $want and a sentence" "code $code" "$(tail -n 2 "$tmp/killed")"
    fi
    absent "SIG$signal: no output" "$tmp/a.wcz"
    check "SIG$signal: continues" job
    check "SIG$signal: the same bytes" cmp "$tmp/a.wcz" "$tmp/a.reference"
done

again
WC_KILL_SIGNAL=10 dies $middle job
if [ "$code" = 0 ] && grep -q ' elapsed .* left' "$tmp/killed"; then
    ok 'SIGUSR1: where it is, and it goes on'
else
    fail 'SIGUSR1: where it is, and it goes on' "code $code" "$(tail -n 3 "$tmp/killed")"
fi
check 'SIGUSR1: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

# ---- what is found does not match ----------------------------------------------------------------------------------------

again
dies $middle job
journal=$tmp/a.wcz.work/journal
cp -r "$tmp/a.wcz.work" "$tmp/kept.work"
cp "$tmp/a.wcz.partial" "$tmp/kept.partial"
restore() { rm -rf "$tmp/a.wcz" "$tmp/a.wcz.work" && cp -r "$tmp/kept.work" "$tmp/a.wcz.work" && cp "$tmp/kept.partial" "$tmp/a.wcz.partial"; }

printf 'torn in the middle of a record' >>"$journal"
check 'a torn record is dropped: continues' job
check 'a torn record is dropped: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

restore
truncate -s -40 "$journal"
check 'a shortened journal: continues' job
check 'a shortened journal: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

restore
head -c 300 /dev/zero >"$journal"
check 'a journal of zeros starts over' job
check 'a journal of zeros: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

# shellcheck disable=SC2086
{
    restore
    gives 'other options' 8 'journal: an unfinished run with other .*--fresh' quantize --bits 4 "$mini" -o "$tmp/a.wcz" $quick
    gives 'other tokens' 8 'journal: an unfinished run with other .*--fresh' quantize --bits 3 "$mini" -o "$tmp/a.wcz" \
        --calib-tokens 256 --seqlen 128
    /usr/bin/python3 tests/cli/make_broken.py mini_other "$tmp/other"
    gives 'other weights' 8 'journal: an unfinished run with other .*--fresh' quantize --bits 3 "$tmp/other" -o "$tmp/a.wcz" $quick
    check 'refused runs did not harm it: continues' job
    check 'refused runs did not harm it: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

    restore
    gives 'other options with --fresh' 0 '' quantize --bits 4 "$mini" -o "$tmp/a.wcz" $quick --fresh
    run quantize --bits 4 "$mini" -o "$tmp/four.wcz" $quick
    check 'other options with --fresh: as if alone' cmp "$tmp/a.wcz" "$tmp/four.wcz"
}

restore
printf 'x' | dd of="$tmp/a.wcz.work/edge1.1" bs=1 seek=4096 conv=notrunc 2>/dev/null
# shellcheck disable=SC2086
gives 'damaged activations of the original model' 4 'the activations of block 1 are damaged' quantize --bits 3 "$mini" -o "$tmp/a.wcz" $quick
restore
printf 'x' | dd of="$tmp/a.wcz.work/edge1.0" bs=1 seek=4096 conv=notrunc 2>/dev/null
# shellcheck disable=SC2086
gives 'damaged activations' 4 'a\.wcz\.work: the activations of block 1 are damaged; use --fresh' quantize --bits 3 "$mini" -o "$tmp/a.wcz" $quick
absent 'damaged activations: no output' "$tmp/a.wcz"
check 'damaged activations: --fresh works' job --fresh
check 'damaged activations: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

restore
printf 'x' | dd of="$tmp/a.wcz.partial" bs=1 seek=200000 conv=notrunc 2>/dev/null
# shellcheck disable=SC2086
gives 'damaged partial output' 4 '.' quantize --bits 3 "$mini" -o "$tmp/a.wcz" $quick
check 'damaged partial output: --fresh works' job --fresh
check 'damaged partial output: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

restore
rm "$tmp/a.wcz.partial"
check 'partial output removed: made again' job
check 'partial output removed: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

# ---- two at once -----------------------------------------------------------------------------------------------------------

# The first stops itself while the second tries.
again
WC_KILL_SIGNAL=19 WC_KILL_AT=$middle LD_PRELOAD=$tmp/kill_at.so "$wc" quantize --bits 3 "$mini" -o "$tmp/a.wcz" $quick >/dev/null 2>&1 &
first=$!
until grep -q '^State:.*stopped' /proc/$first/status; do sleep 0.01; done
# shellcheck disable=SC2086
gives 'two runs at once' 7 'another wcompress is working' quantize --bits 3 "$mini" -o "$tmp/a.wcz" $quick
kill -CONT $first
wait $first
check 'two runs at once: the first is not disturbed' cmp "$tmp/a.wcz" "$tmp/a.reference"
finish

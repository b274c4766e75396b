#!/bin/bash
# resume.sh - killed at any moment, the same command continues and the file is the same to the byte; a run that does not match
# is refused. WC_KILLS: how many times (default 12) a run is killed at a random moment; the sequence of moments is fixed.
. tests/cli/lib.sh
make_small
kills=${WC_KILLS:-12}
RANDOM=20261122

# timed COMMAND...: its wall-clock in milliseconds.
timed()
{
    local t0 t1
    t0=$(date +%s%N)
    "$@" >/dev/null 2>&1
    t1=$(date +%s%N)
    echo $(((t1 - t0) / 1000000))
}

# killed SIGNAL MILLISECONDS COMMAND...: ends the command after that time; its exit code in $code, its words in $tmp/killed.
killed()
{
    local signal=$1 ms=$2
    shift 2
    "$@" >/dev/null 2>"$tmp/killed" &
    local pid=$!
    sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
    kill "-$signal" $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
}

# survives NAME OUTPUT REFERENCE COMMAND...: kill -9 at random moments of what is left to do, then once in peace.
survives()
{
    local name=$1 output=$2 reference=$3 whole n=0 moment
    shift 3
    whole=$(timed "$@")
    cp "$output" "$reference"
    rm -f "$output"
    for ((i = 0; i < kills; i++)); do
        # Short moments most of the time, so that many kills fall into one run; now and then a long one.
        moment=$((RANDOM % (i % 3 == 0 ? whole : whole / 3 + 50)))
        killed KILL $moment "$@"
        [ "$code" != 137 ] || n=$((n + 1))
        if [ -e "$output" ]; then
            cmp -s "$output" "$reference" || fail "$name: an output that appeared" "differs after kill $i at $moment ms"
            rm -f "$output"
        fi
    done
    check "$name: continues after $n kills" "$@"
    check "$name: the same bytes" cmp "$output" "$reference"
    absent "$name: nothing left behind" "$output.partial" "$output.work"
}

# shellcheck disable=SC2086
survives 'quantize' "$tmp/a.wcz" "$tmp/a.reference" "$wc" quantize --bits 3 "$small" -o "$tmp/a.wcz" $quick
survives 'quantize, data-free' "$tmp/b.wcz" "$tmp/b.reference" "$wc" quantize -m rtn "$small" -o "$tmp/b.wcz"
# shellcheck disable=SC2086
survives 'compress, folded norms' "$tmp/f.wcz" "$tmp/f.reference" \
    "$wc" compress --recipe 'awq(points=3) | rtn(bits=3)' "$small" -o "$tmp/f.wcz" $quick
# shellcheck disable=SC2086
survives 'compress, stacks' "$tmp/e.wcz" "$tmp/e.reference" \
    "$wc" compress --recipe 'bitstack(levels=3)' "$small" -o "$tmp/e.wcz" $quick
# shellcheck disable=SC2086
survives 'calibrate' "$tmp/c.wcstats" "$tmp/c.reference" "$wc" calibrate "$small" -o "$tmp/c.wcstats" $quick
survives 'quantize with statistics' "$tmp/d.wcz" "$tmp/d.reference" \
    "$wc" quantize --bits 3 "$small" -o "$tmp/d.wcz" --stats "$tmp/c.wcstats"

# ---- signals that ask ----------------------------------------------------------------------------------------------------

# half LINE [SIGNAL]: a run of quantize that got the signal when it had said LINE. On a fast machine it may be through
# before the signal arrives: then once more.
# shellcheck disable=SC2086
job() { "$wc" quantize --bits 3 "$small" -o "$tmp/a.wcz" $quick "$@"; }
half()
{
    for ((try = 0; try < 20; try++)); do
        rm -rf "$tmp/a.wcz" "$tmp/a.wcz.partial" "$tmp/a.wcz.work"
        # shellcheck disable=SC2086
        "$wc" quantize --bits 3 "$small" -o "$tmp/a.wcz" $quick >/dev/null 2>"$tmp/half" &
        local pid=$!
        for ((i = 0; i < 3000; i++)); do
            grep -q "$1" "$tmp/half" && break
            sleep 0.003
        done
        kill "-${2:-KILL}" $pid 2>/dev/null
        wait $pid 2>/dev/null
        code=$?
        [ "$code" != 0 ] && return
    done
}
for pair in INT:130 TERM:143; do
    signal=${pair%:*} want=${pair#*:}
    half 'q_proj' "$signal"
    if [ "$code" = "$want" ] && grep -q 'repeat the same command to continue' "$tmp/half"; then
        ok "SIG$signal: exit code $want and a sentence"
    else
        fail "SIG$signal: exit code $want and a sentence" "code $code" "$(tail -n 2 "$tmp/half")"
    fi
    absent "SIG$signal: no output" "$tmp/a.wcz"
    check "SIG$signal: continues" job
    check "SIG$signal: the same bytes" cmp "$tmp/a.wcz" "$tmp/a.reference"
done

# ---- what is found does not match ----------------------------------------------------------------------------------------

half 'block 1/2  up_proj'
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
    gives 'other options' 8 'journal: an unfinished run with other .*--fresh' quantize --bits 4 "$small" -o "$tmp/a.wcz" $quick
    gives 'other tokens' 8 'journal: an unfinished run with other .*--fresh' quantize --bits 3 "$small" -o "$tmp/a.wcz" \
        --calib-tokens 1024 --seqlen 128
    /usr/bin/python3 tests/cli/make_broken.py other "$tmp/other"
    gives 'other weights' 8 'journal: an unfinished run with other .*--fresh' quantize --bits 3 "$tmp/other" -o "$tmp/a.wcz" $quick
    check 'refused runs did not harm it: continues' job
    check 'refused runs did not harm it: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

    restore
    gives 'other options with --fresh' 0 '' quantize --bits 4 "$small" -o "$tmp/a.wcz" $quick --fresh
    run quantize --bits 4 "$small" -o "$tmp/four.wcz" $quick
    check 'other options with --fresh: as if alone' cmp "$tmp/a.wcz" "$tmp/four.wcz"
}

restore
printf 'x' | dd of="$tmp/a.wcz.work/edge0.0" bs=1 seek=4096 conv=notrunc 2>/dev/null
# shellcheck disable=SC2086
gives 'damaged activations' 4 'a\.wcz\.work: the activations of block 0 are damaged; use --fresh' quantize --bits 3 "$small" -o "$tmp/a.wcz" $quick
absent 'damaged activations: no output' "$tmp/a.wcz"
check 'damaged activations: --fresh works' job --fresh
check 'damaged activations: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

restore
printf 'x' | dd of="$tmp/a.wcz.partial" bs=1 seek=300000 conv=notrunc 2>/dev/null
# shellcheck disable=SC2086
gives 'damaged partial output' 4 '.' quantize --bits 3 "$small" -o "$tmp/a.wcz" $quick
check 'damaged partial output: --fresh works' job --fresh
check 'damaged partial output: the same bytes' cmp "$tmp/a.wcz" "$tmp/a.reference"

restore
rm "$tmp/a.wcz.partial"
# shellcheck disable=SC2086
run quantize --bits 3 "$small" -o "$tmp/a.wcz" $quick
if [ "$code" = 4 ] || cmp -s "$tmp/a.wcz" "$tmp/a.reference"; then
    ok 'partial output removed: refused or made again'
else
    fail 'partial output removed: refused or made again' "code $code" "$(tail -n 1 "$tmp/err")"
fi

# ---- two at once -----------------------------------------------------------------------------------------------------------

# The first is stopped (SIGSTOP) while the second tries, so that it cannot be through before.
for ((try = 0; try < 20; try++)); do
    rm -rf "$tmp/a.wcz" "$tmp/a.wcz.work" "$tmp/a.wcz.partial"
    # shellcheck disable=SC2086
    "$wc" quantize --bits 3 "$small" -o "$tmp/a.wcz" $quick >/dev/null 2>"$tmp/first" &
    first=$!
    for ((i = 0; i < 3000; i++)); do
        [ -s "$journal" ] && break
        sleep 0.003
    done
    kill -STOP $first 2>/dev/null && [ ! -e "$tmp/a.wcz" ] && break
    wait $first
done
# shellcheck disable=SC2086
gives 'two runs at once' 7 'another wcompress is working' quantize --bits 3 "$small" -o "$tmp/a.wcz" $quick
kill -CONT $first
wait $first
check 'two runs at once: the first is not disturbed' cmp "$tmp/a.wcz" "$tmp/a.reference"
finish

#!/bin/bash
# quantize.sh - predicted sizes are exact, results do not depend on threads, CPU level or place, --json is one JSON object.
. tests/cli/lib.sh
make_small

# ---- the predicted size is the size -------------------------------------------------------------------------------------

# sized NAME ARGUMENTS...: --dry-run's bytes are those of the file, and nothing is written by it.
sized()
{
    local name=$1 predicted real
    shift
    rm -f "$tmp/x.wcz"
    run "$@" "$small" -o "$tmp/x.wcz" --dry-run --json
    predicted=$(json "$tmp/out" 'd["plan"]["output_bytes"]' 2>&1)
    if [ "$code" != 0 ] || [ -e "$tmp/x.wcz" ] || [ -e "$tmp/x.wcz.partial" ] || [ -e "$tmp/x.wcz.work" ]; then
        fail "size: $name" "dry run: code $code, or it wrote something" "$(cat "$tmp/err")"
        return
    fi
    run "$@" "$small" -o "$tmp/x.wcz"
    real=$(stat -c %s "$tmp/x.wcz" 2>/dev/null)
    if [ "$code" = 0 ] && [ "$predicted" = "$real" ]; then
        ok "size: $name, $real bytes"
    else
        fail "size: $name" "predicted $predicted, is $real, code $code" "$(tail -n 2 "$tmp/err")"
    fi
}

for bits in 1 2 3 4 5 6 7 8; do
    sized "rtn, $bits bits" quantize -m rtn --bits $bits
done
sized 'rtn, asymmetric' quantize -m rtn --bits 3 --opt sym=false --opt group=64
sized 'rtn, two-level scales' quantize -m rtn --bits 2 --opt scale_bits=6 --opt group=32
sized 'rtn, asymmetric, two-level scales' quantize -m rtn --bits 3 --opt scale_bits=4 --opt sym=false --opt group=16
sized 'rtn, a group that does not divide' quantize -m rtn --bits 5 --opt group=100
sized 'rtn, a scale per row' quantize -m rtn --bits 4 --opt group=0
sized 'embedding kept' quantize -m rtn --embed-bits 16
sized 'embedding in 3 bits' quantize -m rtn --embed-bits 3
sized 'one block of two' quantize -m rtn --blocks 1-1
sized 'rules' quantize -m rtn --rule '*.down_proj.weight=rtn(bits=6,group=32)' --rule '*.v_proj.weight=keep'
sized 'everything kept' compress -r keep --embed-bits 0
sized 'a sum of two' compress -r 'rtn(bits=2,group=64) | rtn(bits=3,group=64)'
# shellcheck disable=SC2086
sized 'gptq' quantize --bits 3 $quick
# shellcheck disable=SC2086
sized 'gptq, asymmetric, two-level scales' quantize --bits 2 --opt group=32 --opt sym=false --opt scale_bits=6 $quick
# shellcheck disable=SC2086
sized 'a sum with gptq' compress -r 'gptq(bits=2,group=64) | rtn(bits=2,group=64)' --blocks 0-0 $quick

# ---- the same bytes ------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2086
gives 'reference' 0 '' quantize --bits 3 "$small" -o "$tmp/reference.wcz" $quick -j 2
# same NAME ARGUMENTS...: another way to the reference.
same()
{
    local name=$1
    shift
    # shellcheck disable=SC2086
    run quantize --bits 3 "$small" -o "$tmp/same.wcz" -f $quick "$@"
    if [ "$code" = 0 ] && cmp -s "$tmp/same.wcz" "$tmp/reference.wcz"; then
        ok "same bytes: $name"
    else
        fail "same bytes: $name" "code $code" "$(cmp "$tmp/same.wcz" "$tmp/reference.wcz" 2>&1)" "$(tail -n 2 "$tmp/err")"
    fi
}
same 'again' -j 2
same 'one thread' -j 1
same 'three threads' -j 3
OMP_NUM_THREADS=5 same 'OMP_NUM_THREADS=5'
same 'another work folder' --work-dir "$tmp/elsewhere"
for level in c avx2 avx512; do
    WC_CPU=$level same "WC_CPU=$level"
done
(cd "$tmp" && mkdir -p far && "$wc" quantize --bits 3 ./small/ -o far/same.wcz -q --calib-tokens 2048 --seqlen 128 >/dev/null 2>&1)
check 'same bytes: another way to write the paths' cmp "$tmp/far/same.wcz" "$tmp/reference.wcz"
absent 'work folders are gone' "$tmp/reference.wcz.work" "$tmp/same.wcz.work" "$tmp/elsewhere" "$tmp/reference.wcz.partial"
check 'the second reader agrees' /usr/bin/python3 scripts/wcz_reader.py "$tmp/reference.wcz" --check

# ---- saved statistics ----------------------------------------------------------------------------------------------------

# shellcheck disable=SC2086
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" $quick -j 2
# shellcheck disable=SC2086
gives 'calibrate, one thread' 0 '' calibrate "$small" -o "$tmp/t.wcstats" $quick -j 1
check 'same statistics' cmp "$tmp/s.wcstats" "$tmp/t.wcstats"
gives 'calibrate: output exists' 2 'exists; give -f' calibrate "$small" -o "$tmp/s.wcstats"
gives 'with statistics' 0 'not run again' quantize --bits 3 "$small" -o "$tmp/stats1.wcz" --stats "$tmp/s.wcstats"
gives 'with statistics, one thread' 0 '' quantize --bits 3 "$small" -o "$tmp/stats2.wcz" --stats "$tmp/s.wcstats" -j 1
check 'same bytes: with statistics' cmp "$tmp/stats1.wcz" "$tmp/stats2.wcz"
/usr/bin/python3 tests/cli/make_broken.py other "$tmp/other"
gives 'statistics of another model' 8 's.wcstats: was made with another model' quantize "$tmp/other" -o "$tmp/o.wcz" --stats "$tmp/s.wcstats"
gives 'statistics of other tokens' 8 's.wcstats: was made with other tokens' quantize "$small" -o "$tmp/o.wcz" \
    --stats "$tmp/s.wcstats" --calib tests/data/eval/technical.txt --calib-tokens 1024 --seqlen 128
head -c 100000 "$tmp/s.wcstats" >"$tmp/short.wcstats"
gives 'truncated statistics' 3 'short.wcstats: has 100000 bytes' quantize "$small" -o "$tmp/o.wcz" --stats "$tmp/short.wcstats"
cp "$tmp/s.wcstats" "$tmp/flip.wcstats"
printf '\125' | dd of="$tmp/flip.wcstats" bs=1 seek=500000 conv=notrunc 2>/dev/null
gives 'damaged statistics' 3 'flip.wcstats: the statistics of block .* damaged' quantize "$small" -o "$tmp/o.wcz" --stats "$tmp/flip.wcstats"
gives 'no statistics at all' 3 'technical.txt: not a statistics file' quantize "$small" -o "$tmp/o.wcz" --stats tests/data/eval/technical.txt
absent 'refused statistics leave nothing' "$tmp/o.wcz"

# ---- --json --------------------------------------------------------------------------------------------------------------

# is_json NAME COMMAND ARGUMENTS...: nothing but one JSON object on stdout, with its schema and command.
is_json()
{
    local name=$1 said
    shift
    run "$@" --json
    said=$(json "$tmp/out" '(d["schema_version"], d["command"])' 2>&1)
    if [ "$code" = 0 ] && [ "$said" = "(1, '$1')" ]; then ok "json: $name"; else fail "json: $name" "code $code: $said"; fi
}
head -c 4000 tests/data/eval/technical.txt >"$tmp/text"
is_json 'quantize' quantize "$small" -o "$tmp/j.wcz" -m rtn
is_json 'quantize --dry-run' quantize "$small" --dry-run
is_json 'compress' compress -r 'rtn(bits=2)' "$small" -o "$tmp/k.wcz"
is_json 'calibrate' calibrate "$small" -o "$tmp/j.wcstats" --calib-tokens 256
is_json 'eval' eval "$small" --text "$tmp/text" --seqlen 64
is_json 'eval --against' eval "$tmp/j.wcz" --against "$small" --text "$tmp/text" --seqlen 64
is_json 'inspect' inspect "$tmp/j.wcz"
is_json 'inspect a model' inspect "$small"
is_json 'verify' verify "$tmp/j.wcz"
is_json 'methods' methods
is_json 'methods NAME' methods gptq
printf 'x' | dd of="$tmp/j.wcz" bs=1 seek=500000 conv=notrunc 2>/dev/null
run verify "$tmp/j.wcz" --json
if [ "$(json "$tmp/out" 'd["result"]["good"]' 2>&1)" = False ]; then ok 'json: verify, bad'; else fail 'json: verify, bad' "$(cat "$tmp/out")"; fi
run quantize --bits 9 "$small" --json
if [ "$code" = 2 ] && [ ! -s "$tmp/out" ]; then ok 'json: an error leaves stdout empty'; else fail 'json: an error leaves stdout empty' "$(cat "$tmp/out")"; fi

# ---- --memory ------------------------------------------------------------------------------------------------------------

gives 'memory: far too little' 5 'needs at least [0-9]+ bytes' quantize "$small" -o "$tmp/m.wcz" --memory 20MiB --calib-tokens 8192
least=$(sed -n 's/.*needs at least \([0-9]*\) bytes.*/\1/p' "$tmp/err")
absent 'memory: refused leaves nothing' "$tmp/m.wcz" "$tmp/m.wcz.partial" "$tmp/m.wcz.work"
gives 'memory: one byte too little' 5 "needs at least $least bytes" quantize "$small" -o "$tmp/m.wcz" --memory $((least - 1)) --calib-tokens 8192
run quantize "$small" -o "$tmp/m.wcz" --memory "$least" --calib-tokens 8192 --json
peak=$(json "$tmp/out" 'd["result"]["peak_rss_bytes"]' 2>/dev/null || echo 0)
if [ "$code" = 0 ] && [ "$peak" -gt 0 ] && [ "$peak" -le "$least" ]; then
    ok "memory: the number named does ($least bytes, peak $peak)"
else
    fail 'memory: the number named does' "code $code, limit $least, peak $peak" "$(tail -n 2 "$tmp/err")"
fi
# The default budget keeps activations in memory; just below it they go to disk, and nothing else may change.
run quantize "$small" -o "$tmp/n.wcz" --calib-tokens 8192 --json
roomy=$(json "$tmp/out" 'd["plan"]["memory_bytes"]') peak=$(json "$tmp/out" 'd["result"]["peak_rss_bytes"]')
if [ "$peak" -le "$roomy" ]; then ok "memory: peak $peak within the plan's $roomy"; else fail 'memory: peak within the plan' "peak $peak, plan $roomy"; fi
run quantize "$small" -o "$tmp/p.wcz" --calib-tokens 8192 --memory $((roomy - 1)) --json
if [ "$(json "$tmp/out" 'd["plan"]["scratch_disk_bytes"]')" -gt 33554432 ] && cmp -s "$tmp/n.wcz" "$tmp/p.wcz"; then
    ok 'memory: spilling changes no byte'
else
    fail 'memory: spilling changes no byte' "$(json "$tmp/out" '{k: d["plan"][k] for k in ("memory_bytes", "scratch_disk_bytes")}')" "$(cmp "$tmp/n.wcz" "$tmp/p.wcz" 2>&1)"
fi
finish

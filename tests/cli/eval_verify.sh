#!/bin/bash
# eval_verify.sh - what eval measures, and what verify finds.
. tests/cli/lib.sh
make_small
text=$tmp/text
head -c 8000 tests/data/eval/technical.txt >"$text"

# holds NAME FILE EXPRESSION: a Python expression over the JSON object d is true; s is its first score.
holds()
{
    local said
    said=$(/usr/bin/python3 -c 'import json, math, sys
d = json.load(open(sys.argv[1]))
s = d["scores"][0] if "scores" in d else None
print(bool(eval(sys.argv[2])), s)' "$2" "$3" 2>&1)
    case $said in True*) ok "$1" ;; *) fail "$1" "$3" "$said" ;; esac
}

# ---- eval ----------------------------------------------------------------------------------------------------------------

run eval "$model" --against "$model" --text "$text" --json
cp "$tmp/out" "$tmp/self.json"
[ "$code" = 0 ] && ok 'eval against itself' || fail 'eval against itself' "$(cat "$tmp/err")"
# Usually 0 exactly: both go through the same code. A wrong pairing of positions gives KL above 1.
holds 'against itself: no KL' "$tmp/self.json" 'all(abs(x["kl"]) < 1e-9 and abs(x["kl_max"]) < 1e-6 for x in d["scores"])'
holds 'against itself: full agreement' "$tmp/self.json" 'all(x["same_top"] == 1 and x["ln_ratio"] == 0 for x in d["scores"])'
holds 'both protocols' "$tmp/self.json" '[x["protocol"] for x in d["scores"]] == ["daslab", "llamacpp"]'
holds 'daslab scores every token but the first' "$tmp/self.json" 's["tokens"] == s["windows"] * (s["seqlen"] - 1)'
holds 'llamacpp scores second halves' "$tmp/self.json" \
    'd["scores"][1]["tokens"] == d["scores"][1]["windows"] * (d["scores"][1]["seqlen"] // 2 - 1)'
# The oracle is numpy in double: usually 1e-6 apart; a wrong rotary order or a shift by one token gives 0.1 and more.
/usr/bin/python3 tests/oracle/perplexity.py "$model" 4 256 "$tmp/ids" >"$tmp/oracle"
run eval "$model" --ids "$tmp/ids" --seqlen 256 --json
cp "$tmp/out" "$tmp/eval.json"
for p in 0 1; do
    holds "perplexity is numpy's, protocol $p" "$tmp/eval.json" \
        "abs(d['scores'][$p]['nll'] - json.load(open('$tmp/oracle'))[$p]) < 1e-4"
done
run quantize -m rtn --bits 3 "$model" -o "$tmp/rtn.wcz"
mkdir "$tmp/alone" && cp "$tmp/rtn.wcz" "$tmp/alone/x.wcz"
run eval "$tmp/alone/x.wcz" --text "$text" --protocol daslab --json
cp "$tmp/out" "$tmp/alone.json"
run eval "$tmp/rtn.wcz" --against "$model" --text "$text" --protocol daslab --json
cp "$tmp/out" "$tmp/rtn.json"
holds 'a .wcz alone has the perplexity that it has beside its original' "$tmp/alone.json" \
    "s['ppl'] == json.load(open('$tmp/rtn.json'))['scores'][0]['ppl']"
holds 'the original in a comparison has the perplexity that it has alone' "$tmp/rtn.json" \
    "s['ppl_original'] == json.load(open('$tmp/self.json'))['scores'][0]['ppl']"
holds 'rounding to 3 bits costs something' "$tmp/rtn.json" '0.01 < s["kl"] < 1 and 0.5 < s["same_top"] < 0.99'
holds 'standard errors are there' "$tmp/rtn.json" '0 < s["kl_se"] < s["kl"] and s["nll_se"] > 0'
run eval "$tmp/rtn.wcz" --against "$model" --text "$text" --protocol daslab --json -j 1
cp "$tmp/out" "$tmp/one.json"
holds 'one thread measures the same' "$tmp/one.json" "d['scores'] == json.load(open('$tmp/rtn.json'))['scores']"
run eval "$tmp/rtn.wcz" --against "$model" --text "$text" --protocol daslab --json --memory 1MiB
cp "$tmp/out" "$tmp/spill.json"
holds 'activations on disk measure the same' "$tmp/spill.json" "d['scores'] == json.load(open('$tmp/rtn.json'))['scores']"
gives '--max-kl below: exit code 4' 4 'KL divergence .* above --max-kl 0.001' \
    eval "$tmp/rtn.wcz" --against "$model" --text "$text" --tokens 1024 --max-kl 0.001
gives '--max-kl above: exit code 0' 0 '' eval "$tmp/rtn.wcz" --against "$model" --text "$text" --tokens 1024 --max-kl 5
# shellcheck disable=SC2086
run quantize --bits 3 "$model" -o "$tmp/gptq.wcz" --calib-tokens 8192
run eval "$tmp/gptq.wcz" --against "$model" --text "$text" --protocol daslab --json
cp "$tmp/out" "$tmp/gptq.json"
holds 'calibration is worth it: less than two thirds of the KL of rounding' "$tmp/gptq.json" \
    "s['kl'] < 0.67 * json.load(open('$tmp/rtn.json'))['scores'][0]['kl']"
gives 'models of different vocabularies' 3 'vocabulary' eval "$model" --against "$( /usr/bin/python3 tests/cli/make_broken.py large_vocabulary "$tmp/large" && echo "$tmp/large")" --text "$text"

# ---- verify --------------------------------------------------------------------------------------------------------------

gives 'verify' 0 '' verify "$tmp/rtn.wcz"
gives 'verify --against' 0 '' verify "$tmp/rtn.wcz" --against "$model"
gives 'verify --against another model' 4 'was made from another model than' verify "$tmp/rtn.wcz" --against "$small"
size=$(stat -c %s "$tmp/rtn.wcz")
RANDOM=7
missed='' wrong=''
for ((i = 0; i < 60; i++)); do
    # The first ones in the header and the index, the others anywhere.
    if [ $i -lt 20 ]; then at=$((i * 16 + RANDOM % 16)); else at=$(((RANDOM * 32768 + RANDOM) % size)); fi
    cp "$tmp/rtn.wcz" "$tmp/flip.wcz"
    old=$(od -A n -t u1 -j $at -N 1 "$tmp/flip.wcz")
    printf "\\x$(printf %02x $((old ^ (1 << (i % 8)))))" | dd of="$tmp/flip.wcz" bs=1 seek=$at conv=notrunc 2>/dev/null
    run verify "$tmp/flip.wcz"
    [ "$code" != 0 ] || missed="$missed $at"
    case $code in 0 | 3 | 4 | 6) ;; *) wrong="$wrong $at:$code" ;; esac
done
[ -z "$missed" ] && ok 'verify finds every flipped bit' || fail 'verify finds every flipped bit' "missed at$missed"
[ -z "$wrong" ] && ok 'flipped bits: exit code 3, 4 or 6' || fail 'flipped bits: exit code 3, 4 or 6' "$wrong"
for cut in 0 1 63 64 1000 $((size / 2)) $((size - 1)); do
    head -c "$cut" "$tmp/rtn.wcz" >"$tmp/cut.wcz"
    gives "verify: cut to $cut bytes" 3 'cut\.wcz' verify "$tmp/cut.wcz"
    gives "eval: cut to $cut bytes" 3 'cut\.wcz' eval "$tmp/cut.wcz" --text "$text"
done
{ cat "$tmp/rtn.wcz" && printf x; } >"$tmp/long.wcz"
gives 'verify: a byte too long' 3 'long\.wcz' verify "$tmp/long.wcz"
gives 'inspect' 0 '' inspect "$tmp/rtn.wcz"
check 'inspect names the recipe' grep -q '"rtn(bits=3,group=' "$tmp/out"
finish

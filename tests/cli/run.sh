#!/bin/bash
# run.sh - `wcompress run', the example that it is made of, built alone, and the Python binding.
. tests/cli/lib.sh
make_small
prompt='Once upon a time'

# says NAME TEXT ARGUMENTS...: the program's standard output is the text.
says()
{
    local name=$1 want=$2
    shift 2
    run "$@"
    if [ "$(cat "$tmp/out")" = "$want" ]; then ok "$name"; else fail "$name" "wcompress $*" "$(cat "$tmp/out" "$tmp/err")"; fi
}

gives 'compress' 0 '' quantize -m rtn --bits 8 "$model" -o "$tmp/docs.wcz"
# Recorded. tests/unit/test_generate.c holds such text to the toolkit's own forward pass.
says 'greedy text of docs4m' "$prompt"', the
`System.S' run "$tmp/docs.wcz" -p "$prompt" -n 8
stories=${WC_SHARED:-../shared}/models/stories260k
if [ -d "$stories" ]; then
    gives 'compress stories260k' 0 '' quantize -m rtn --bits 8 "$stories" -o "$tmp/stories.wcz"
    says 'greedy text of stories260k' "$prompt, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball." \
        run "$tmp/stories.wcz" -p "$prompt" -n 40
else
    skip 'greedy text of stories260k' "no $stories"
fi

run run "$tmp/docs.wcz" -p "$prompt" -n 8
check 'the text ends with a newline before the report, also in one stream' bash -c \
    "'$wc' run '$tmp/docs.wcz' -p '$prompt' -n 8 2>&1 | head -c $(wc -c <"$tmp/out") | cmp - '$tmp/out'"
gives 'json' 0 '' run "$tmp/docs.wcz" -p "$prompt" -n 8 --json
check 'json has the text and the speed' json "$tmp/out" \
    '(d["text"], d["prompt_tokens"], d["tokens"], d["tokens_per_second"] > 0, 0 < d["products_share"] <= 1) and d["tokens"] == 8 or 1/0'
gives 'json of a prepared run' 0 '' run "$tmp/docs.wcz" -p "$prompt" -n 8 --prepare --json
check 'json has what preparing took' json "$tmp/out" \
    '(d["prepare_seconds"] > 0, d["prepared_bytes"] > 10**6) == (True, True) and d["tokens"] == 8 or 1/0'
gives 'two ways to be faster' 2 'int8 or --prepare, not both' run "$tmp/docs.wcz" -p "$prompt" --int8 --prepare
run run "$tmp/docs.wcz" -p "$prompt" -n 12 --temp 1 --top-k 50 --top-p 0.95 --seed 5
cp "$tmp/out" "$tmp/first"
says 'a seed gives the same text, for any number of threads' "$(cat "$tmp/first")" \
    run "$tmp/docs.wcz" -p "$prompt" -n 12 --temp 1 --top-k 50 --top-p 0.95 --seed 5 -j 3
run run "$tmp/docs.wcz" -p "$prompt" -n 12 --temp 1 --top-k 50 --top-p 0.95 --seed 6
check 'another seed gives another text' bash -c "! cmp -s '$tmp/out' '$tmp/first'"

gives 'no prompt' 2 'TEXT is missing' run "$tmp/docs.wcz"
gives 'an empty prompt' 2 'prompt is empty' run "$tmp/docs.wcz" -p ''
gives 'too many tokens' 2 'the model was made for 256' run "$tmp/docs.wcz" -p "$prompt" -n 300
gives 'a wrong top-p' 2 'top-p' run "$tmp/docs.wcz" -p "$prompt" --top-p 1.5
gives 'no such file' 7 'No such file' run "$tmp/none.wcz" -p "$prompt"
gives 'not a .wcz' 3 'not a .wcz' run "$model/model.safetensors" -p "$prompt"
head -c 300000 "$tmp/docs.wcz" >"$tmp/cut.wcz"
gives 'a file cut short' 3 'truncated' run "$tmp/cut.wcz" -p "$prompt"
gives 'no tokenizer inside' 6 'has no tokenizer.json' run tests/data/golden/tiny.wcz -p "$prompt"

check 'the example builds on the library alone' make -s -C examples/generate OUT="$tmp/generate" CFLAGS=-O1 \
    WCD="-I$PWD/include $PWD/build/libwcdecode.a"
check 'the example runs' bash -c "'$tmp/generate' -n 8 '$tmp/docs.wcz' '$prompt' >'$tmp/alone'"
run_generate() { "$tmp/generate" "$@" >"$tmp/out" 2>"$tmp/err"; code=$?; }
run_generate --json -n 8 "$tmp/docs.wcz" "$prompt"
check 'the example: its figures as JSON' [ "$(json "$tmp/err" 'd["tokens"], d["prompt_tokens"] > 3, d["tokens_per_second"] > 0')" = '(8, True, True)' ]
run_generate -n eight "$tmp/docs.wcz" "$prompt"
check 'the example: a wrong number' [ "$code" = 2 ]
run_generate "$tmp/none.wcz" "$prompt"
check 'the example: nothing before the file is open' bash -c "[ $code = 1 ] && [ ! -s '$tmp/out' ] && grep -q 'none.wcz: No such file' '$tmp/err'"
if [ -w /dev/full ]; then
    if "$wc" run "$tmp/docs.wcz" -p "$prompt" -n 8 >/dev/full 2>"$tmp/err"; [ $? = 7 ]; then ok 'full standard output'; else fail 'full standard output' "$(cat "$tmp/err")"; fi
fi
says 'the example says the same' "$(cat "$tmp/alone")" run "$tmp/docs.wcz" -p "$prompt" -n 8

check 'bindings' env WCDECODE_LIBRARY="$PWD/build/libwcdecode.so" /usr/bin/python3 -B tests/cli/bindings.py "$tmp/scratch" \
    "$tmp/docs.wcz" tests/data/golden/*.wcz
finish

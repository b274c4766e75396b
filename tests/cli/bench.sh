#!/bin/bash
# bench.sh - every row of the bench, at sizes too small to tell anything but that it runs.
. tests/cli/lib.sh

gives 'bench --quick' 0 '' bench --quick --json --tokenizer "$model/tokenizer.json"
cp "$tmp/out" "$tmp/bench.json"
check 'bench: every row has a rate' test "$(json "$tmp/bench.json" 'all(r["rate"] > 0 for r in d["bench"]) and len(d["bench"])')" -ge 24
check 'bench: names are unique' test "$(json "$tmp/bench.json" 'len({r["name"] for r in d["bench"]}) == len(d["bench"])')" = True
gives 'bench --only' 0 '' bench --quick --json --only encode
check 'bench: --only keeps ceilings and what was asked for' \
    test "$(json "$tmp/out" '[r["name"] for r in d["bench"] if r["name"].islower()][-1]')" = encode
gives 'bench --only nothing' 2 'no row' bench --quick --only nonsense
gives 'bench --bound' 0 '' bench --bound --size 128 --states 8 --json --only 'bits=2'
check 'bench --bound: rd is nearest' test "$(json "$tmp/out" '[min(r["gap"] for r in d["bound"] if m in r["name"]) > min(r["gap"] for r in d["bound"]) > 0 for m in ("gptq", "lut", "states=1,")]')" = '[True, True, True]'
gives 'bench --bound --size' 2 'a power of 2' bench --bound --size 1000
finish

#!/bin/bash
# smoke.sh - every command once, on a small model; also run under sanitizers.
. tests/cli/lib.sh
make_small
head -c 6000 tests/data/eval/technical.txt >"$tmp/text"

gives 'version' 0 '' version
gives 'help' 0 '' --help
for command in quantize compress prune calibrate eval run inspect verify diff cut methods; do
    gives "$command --help" 0 '' "$command" --help
done
gives 'methods' 0 '' methods
# shellcheck disable=SC2086
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" --calib-tokens 512 --seqlen 64
gives 'quantize with saved statistics' 0 '' quantize "$small" -o "$tmp/a.wcz" --stats "$tmp/s.wcstats"
gives 'quantize' 0 '' quantize --bits 3 "$small" -o "$tmp/b.wcz" --calib-tokens 512 --seqlen 64
gives 'compress' 0 '' compress --recipe 'gptq(bits=2) | rtn(bits=2)' "$small" -o "$tmp/c.wcz" --calib-tokens 512 --seqlen 64
gives 'quantize data-free' 0 '' quantize -m rtn --bits 4 "$small" -o "$tmp/d.wcz"
gives 'eval' 0 '' eval "$tmp/b.wcz" --against "$small" --text "$tmp/text" --seqlen 64
gives 'run' 0 '' run "$tmp/b.wcz" -p 'The file' -n 4
gives 'inspect' 0 '' inspect "$tmp/b.wcz"
gives 'inspect a model' 0 '' inspect "$small"
gives 'verify' 0 '' verify "$tmp/b.wcz" --against "$small"
finish

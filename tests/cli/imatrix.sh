#!/bin/bash
# imatrix.sh - importance matrices: written in both forms, read by numpy; read back, and those of others, as statistics.
. tests/cli/lib.sh
make_small
quick='--calib-tokens 512 --seqlen 64'
oracle() { /usr/bin/python3 tests/oracle/imatrix.py "$@"; }

# shellcheck disable=SC2086
{
    gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" $quick
    gives 'calibrate --format imatrix' 0 '' calibrate --format imatrix "$small" -o "$tmp/m.gguf" $quick --json
    check 'its size is reported' [ "$(json "$tmp/out" 'd["result"]["bytes"]')" = "$(stat -c %s "$tmp/m.gguf")" ]
    absent 'nothing is left over' "$tmp/m.gguf.work" "$tmp/m.gguf.partial"
}
gives 'statistics as GGUF' 0 '' calibrate --format imatrix "$tmp/s.wcstats"
check 'the same bytes, under the default name' cmp "$tmp/s.imatrix.gguf" "$tmp/m.gguf"
gives 'statistics in the older form' 0 '' calibrate --format imatrix-dat "$tmp/s.wcstats" -o "$tmp/m.dat"
check 'numpy reads both as the diagonals' oracle "$tmp/s.wcstats" "$tmp/m.gguf" "$tmp/m.dat"
gives 'never over a file' 2 'exists; give -f' calibrate --format imatrix-dat "$tmp/s.wcstats" -o "$tmp/m.dat"
gives 'with -f' 0 '' calibrate --format imatrix-dat "$tmp/s.wcstats" -o "$tmp/m.dat" -f
gives 'to itself' 2 'is the source itself' calibrate --format imatrix "$tmp/s.wcstats" -o "$tmp/s.wcstats" -f
gives 'statistics to statistics' 2 'statistics already' calibrate "$tmp/s.wcstats" -o "$tmp/no"
gives 'an unknown form' 2 'write wcstats, imatrix' calibrate --format dat "$small"

gives 'as statistics: GGUF' 0 'of H only the diagonal is known' compress --recipe 'gptq(bits=3,cd=0)' "$small" --stats "$tmp/m.gguf" -o "$tmp/g.wcz" --json
check 'the file says what it was made with' bash -c "'$wc' inspect '$tmp/g.wcz' | grep -q 'importance matrix of built-in'"
gives 'a diagonal is enough for a transform, a whitening and a rounding' 0 'of H only the diagonal is known' \
    compress --recipe 'awq(points=2) | svdllm(rank=4) | rtn(bits=3)' "$small" --stats "$tmp/m.gguf" --blocks 1 -o "$tmp/x.wcz"

oracle --make 256,256,768 "$tmp/o.gguf" "$tmp/o.dat"
gives "another writer's GGUF" 0 '' compress --recipe 'gptq(bits=3,cd=0)' --blocks 1 "$small" --stats "$tmp/o.gguf" -o "$tmp/o.wcz" --json
error=$(json "$tmp/out" 'd["result"]["error_mean"]')
gives "another writer's older form, without a tail" 0 '' compress --recipe 'gptq(bits=3,cd=0)' --blocks 1 "$small" --stats "$tmp/o.dat" -o "$tmp/p.wcz" --json
check 'the same matrices, the same errors' [ "$error" = "$(json "$tmp/out" 'd["result"]["error_mean"]')" ]
oracle --make 256,256,64 "$tmp/w.gguf" "$tmp/w.dat"
gives 'of another model' 3 'ffn_down.weight has 64 inputs of 1 experts, the model' compress --recipe 'gptq(bits=3,cd=0)' --blocks 1 "$small" --stats "$tmp/w.gguf" -o "$tmp/no.wcz"
gives 'a model is none' 3 'no importance matrix' compress --recipe 'gptq(bits=3,cd=0)' "$small" --stats "$small/model.safetensors" -o "$tmp/no.wcz"
for size in 0 4 1000 5000; do
    head -c $size "$tmp/m.dat" >"$tmp/cut"
    gives "older form cut to $size" 3 'cut: ' compress --recipe 'gptq(bits=3,cd=0)' "$small" --stats "$tmp/cut" -o "$tmp/no.wcz"
    head -c $size "$tmp/m.gguf" >"$tmp/cut"
    gives "GGUF cut to $size" 3 'cut: ' compress --recipe 'gptq(bits=3,cd=0)' "$small" --stats "$tmp/cut" -o "$tmp/no.wcz"
done
absent 'nothing half-written' "$tmp/no.wcz"
finish

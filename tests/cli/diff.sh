#!/bin/bash
# diff.sh - two models held against each other, in every form that is read; numbers against numpy, exit codes, limits.
. tests/cli/lib.sh
make_small
head -c 4000 tests/data/eval/technical.txt >"$tmp/text"
/usr/bin/python3 tests/cli/make_broken.py other "$tmp/other"

# counts NAME WANT: "equal close different only_a only_b" of the last run with --json.
counts()
{
    local got
    got=$(json "$tmp/out" '" ".join(str(d["diff"][k]) for k in ("equal", "close", "different", "only_a", "only_b"))')
    if [ "$got" = "$2" ]; then ok "$1"; else fail "$1" "counted $got, expected $2"; fi
}

gives 'a model and itself' 0 '' diff "$small" "$small" --json
counts 'a model and itself: counts' '20 0 0 0 0'
check 'bytes are equal' [ "$(json "$tmp/out" 'all(t["same_bytes"] for t in d["tensors"])')" = True ]
gives 'one other value' 4 'differ in 1 of 20 tensors' diff "$small" "$tmp/other" --json
counts 'one other value: counts' '19 0 1 0 0'
/usr/bin/python3 - "$small" "$tmp/other" "$tmp/out" <<'PY' >"$tmp/said"
import json, struct, sys
import numpy as np
def load(path):
    raw = open(path + "/model.safetensors", "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    b, e = json.loads(raw[8:8 + n])["model.layers.1.mlp.up_proj.weight"]["data_offsets"]
    return np.frombuffer(raw[8 + n + b:8 + n + e], "<f2").astype(np.float64)
a, b = load(sys.argv[1]), load(sys.argv[2])
t = [t for t in json.load(open(sys.argv[3]))["tensors"] if t["verdict"] == "different"][0]
good = abs(t["relative_error"] / (np.linalg.norm(a - b) / np.linalg.norm(a)) - 1) < 1e-7
print(good and abs(t["max_abs"] / np.abs(a - b).max() - 1) < 1e-7 and t["at"] == [0, 0] and t["different_values"] == 1)
PY
check "one other value: numpy's error, maximum and place" grep -q True "$tmp/said"
gives 'a tolerance' 0 '' diff "$small" "$tmp/other" --tolerance 0.1 --json
counts 'a tolerance: counts' '19 1 0 0 0'

run compress --recipe keep --embed-bits 16 "$small" -o "$tmp/kept.wcz"
gives 'kept in a .wcz' 0 '' diff "$small" "$tmp/kept.wcz" --json
check 'kept in a .wcz: bytes are equal' [ "$(json "$tmp/out" 'all(t["same_bytes"] for t in d["tensors"])')" = True ]
run export --to gguf "$small" -o "$tmp/o.gguf"
gives 'a GGUF file' 0 '' diff "$tmp/kept.wcz" "$tmp/o.gguf" --json
counts 'a GGUF file: rows in order, norms as F32' '20 0 0 0 0'
run quantize -m rtn --bits 3 "$small" -o "$tmp/r.wcz"
gives 'rounded' 4 'differ in 15 of 20' diff "$small" "$tmp/r.wcz" --json -j 2
cp "$tmp/out" "$tmp/two.json"
run diff "$small" "$tmp/r.wcz" --json -j 1
check 'the same for any number of threads' cmp "$tmp/out" "$tmp/two.json"
# The file records |W - W^|^2 / |W|^2 of every linear: an error measured by other code.
run inspect "$tmp/r.wcz" --json
check 'the errors are those in the file' /usr/bin/python3 -c '
import json, math, sys
file = {t["name"]: t["error"] for t in json.load(open(sys.argv[1]))["tensors"] if t["error"] is not None}
here = {t["name"]: t.get("relative_error") for t in json.load(open(sys.argv[2]))["tensors"]}
sys.exit(not (len(file) == 15 and all(abs(here[n] / math.sqrt(e) - 1) < 1e-4 for n, e in file.items())))' "$tmp/out" "$tmp/two.json"

gives 'end to end' 4 'differ in 15' diff "$small" "$tmp/r.wcz" --eval "$tmp/text" --seqlen 128 --tokens 512 --json
run_kl=$(json "$tmp/out" 'd["scores"][0]["kl"]')
run eval "$tmp/r.wcz" --against "$small" --text "$tmp/text" --seqlen 128 --tokens 512 -p daslab --json
check "end to end: eval's KL divergence" [ "$run_kl" = "$(json "$tmp/out" 'd["scores"][0]["kl"]')" ]

gives 'models of other depth' 4 'differ in 18 of 38' diff "$model" "$small" --json
counts 'models of other depth: what is on one side' '20 0 0 18 0'
run diff "$small" "$model"
check 'text names what is on one side' grep -qE '^only in B +model.layers.3.mlp.up_proj.weight' "$tmp/out"
run diff "$small" "$small" -a
check 'text with --all' [ "$(grep -c '^equal .*same bytes' "$tmp/out")" = 20 ]
/usr/bin/python3 - "$tmp" <<'PY'
import json, struct, sys
import numpy as np
def put(name, **tensors):
    header, data = {}, b""
    for key, (dtype, x) in tensors.items():
        header[key] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [len(data), len(data) + x.nbytes]}
        data += x.tobytes()
    text = json.dumps(header).encode()
    open(f"{sys.argv[1]}/{name}.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
x = np.arange(12, dtype="<f4").reshape(3, 4)
bad = x.copy()
bad[1, 2] = np.nan
put("x", w=("F32", x), i=("I32", np.arange(4, dtype="<i4")), z=("F32", np.zeros((0, 4), "<f4")), o=("F32", np.zeros(3, "<f4")))
put("y", w=("F32", bad), i=("I32", np.arange(4, dtype="<i4")[::-1].copy()), z=("F32", np.zeros((0, 4), "<f4")),
    o=("F32", np.ones(3, "<f4")))
put("t", w=("F16", x.T.astype("<f2").copy()), i=("I64", np.arange(4)), z=("F32", np.zeros((0, 4), "<f4")),
    o=("F16", np.zeros(3, "<f2")))
PY
gives 'a NaN equals a NaN' 0 '' diff "$tmp/y.safetensors" "$tmp/y.safetensors"
gives 'NaN, integers, nothing, zeros' 4 'differ in 3 of 4' diff "$tmp/x.safetensors" "$tmp/y.safetensors" --tolerance 9 --json
check 'a NaN is counted, and in no error' [ "$(json "$tmp/out" '[(t["not_finite"], t["relative_error"]) for t in d["tensors"] if t["name"] in "wo"]')" = "[(0, 'Infinity'), (1, 0.0)]" ]
gives 'other shapes and types' 4 'differ in 2 of 4' diff "$tmp/x.safetensors" "$tmp/t.safetensors"
check 'other shapes and types: in words' bash -c "grep -q 'w .*F32 \[3, 4\] and F16 \[4, 3\]  other shapes' '$tmp/out' && grep -q 'i .*I32 \[4\] and I64 \[4\]  other element types' '$tmp/out'"
gives 'one operand' 2 'A B: only one of them' diff "$small"
gives 'no such model' 7 'nowhere: no such file' diff "$small" "$tmp/nowhere"
gives 'a negative tolerance' 2 'at least 0' diff "$small" "$small" --tolerance -1
gives 'options of --eval alone' 2 'belong to --eval' diff "$small" "$small" --tokens 5
finish

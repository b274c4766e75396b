#!/bin/bash
# lossless.sh - a checkpoint through `lossless' and `restore': equal to the byte, of any architecture and type; the second reader
# agrees; loss only when asked for; what cannot be restored is refused before anything is written.
. tests/cli/lib.sh

# same_files NAME A B: every file of folder B is in A, with the same bytes.
same_files()
{
    local name=$1 a=$2 b=$3 bad='' f
    for f in "$b"/*; do cmp -s "$f" "$a/${f##*/}" || bad="$bad ${f##*/}"; done
    if [ -z "$bad" ]; then ok "$name"; else fail "$name" "differ:$bad"; fi
}
# there_and_back NAME MODEL
there_and_back()
{
    run lossless "$2" -f -o "$tmp/m.wcz"
    rm -rf "$tmp/back"
    gives "$1: restored" 0 '' restore "$tmp/m.wcz" -o "$tmp/back"
    same_files "$1: equal to the byte" "$2" "$tmp/back"
}
there_and_back 'demo model' $model
check 'verify' "$wc" verify "$tmp/m.wcz" --against $model
size=$(stat -c %s "$tmp/m.wcz")
gives 'dry run' 0 '' lossless $model -n -f -o "$tmp/m.wcz"
if grep -q "total $size bytes" "$tmp/out"; then ok 'dry run: exact size'; else fail 'dry run: exact size' "$size" "$(tail -n 1 "$tmp/out")"; fi
if [ $((size * 100)) -lt $(($(stat -c %s $model/model.safetensors) * 87)) ]; then ok 'F16 in 87 %'; else fail 'F16 in 87 %' "$size"; fi
for t in 1 3; do
    "$wc" lossless $model -q -j $t -o "$tmp/t$t.wcz" >/dev/null 2>&1
    check "same bytes: $t threads" cmp "$tmp/m.wcz" "$tmp/t$t.wcz"
done
check 'the second reader agrees' /usr/bin/python3 scripts/wcz_reader.py "$tmp/m.wcz" --check
mkdir "$tmp/npy"
/usr/bin/python3 scripts/wcz_reader.py "$tmp/m.wcz" --dump-all "$tmp/npy"
check 'the second reader has the original values' /usr/bin/python3 tests/cli/same_values.py $model/model.safetensors "$tmp/m.wcz" "$tmp/npy"
gives 'runs as it is' 0 '' eval "$tmp/m.wcz" --against $model --text tests/data/eval/technical.txt --tokens 1024
if grep -qE 'KL divergence +0\.0+ ' "$tmp/out"; then ok 'KL 0'; else fail 'KL 0' "$(grep KL "$tmp/out")"; fi

# Odd types and bits, several shards.
/usr/bin/python3 tests/cli/make_broken.py odd "$tmp/odd"
there_and_back 'odd types, NaN payloads, empty tensors' "$tmp/odd"
there_and_back 'a folder with a slash behind it' "$tmp/odd/"
there_and_back 'a folder with slashes and dots' "$tmp/./odd//"
cp "$tmp/odd/model.safetensors" "$tmp/.hidden.safetensors" && cp "$tmp/.hidden.safetensors" "$tmp/plain.safetensors"
gives 'a name that restore would refuse' 6 'could not be restored under the name .\.hidden' lossless "$tmp/.hidden.safetensors" -o "$tmp/h.wcz"
(cd "$tmp" && gives 'a file in this folder' 0 '' lossless plain.safetensors -o h.wcz && gives 'restored' 0 '' restore h.wcz -o h.d)
check 'equal to the byte' cmp "$tmp/plain.safetensors" "$tmp/h.d/plain.safetensors"
/usr/bin/python3 tests/cli/make_broken.py sharded "$tmp/sharded"
there_and_back 'shards and their index' "$tmp/sharded"

# With loss, when asked for.
gives 'three bits of mantissa' 0 '' lossless $model --mantissa 3 -o "$tmp/cut.wcz"
if [ "$(stat -c %s "$tmp/cut.wcz")" -lt $((size * 55 / 100)) ]; then ok 'three bits: smaller'; else fail 'three bits: smaller' "$(stat -c %s "$tmp/cut.wcz")"; fi
gives 'three bits: not restored' 6 'was not made by .wcompress lossless' restore "$tmp/cut.wcz" -o "$tmp/cut"
absent 'three bits: nothing written' "$tmp/cut"

# Refusals.
gives 'restore: existing files' 2 'exists; give -f' restore "$tmp/m.wcz" -o "$tmp/back"
gives 'restore: no folder' 2 '-o DIR is missing' restore "$tmp/m.wcz"
gives 'restore: not a .wcz' 3 '.' restore $model/config.json -o "$tmp/x"
cp "$tmp/m.wcz" "$tmp/flip.wcz"
printf '\125' | dd of="$tmp/flip.wcz" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
gives 'restore: damaged' 4 'damaged; .wcompress verify' restore "$tmp/flip.wcz" -o "$tmp/x"
absent 'restore: nothing written' "$tmp/x"
gives 'lossless after something' 2 'no step goes before or after it' compress --recipe 'rtn(bits=4) | lossless' $model -o "$tmp/x.wcz"
gives 'something after lossless' 2 'every bit is stored by then' compress --recipe 'lossless | rtn(bits=4)' $model -o "$tmp/x.wcz"
gives 'mantissa out of range' 2 'allowed is 0 to 23' lossless $model --mantissa 24 -o "$tmp/x.wcz"
finish

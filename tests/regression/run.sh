#!/usr/bin/env bash
# Quality over models and recipes: writes tests/regression/results.csv. A loss of quality is a diff that a reviewer sees.
#
#   tests/regression/run.sh            every case of cases.txt whose model is at hand; rows of absent models stay as they are
#   tests/regression/run.sh docs4m     one model
#   tests/regression/run.sh --new      only cases that have no row yet (with or without a model behind it)
#   MATCH=gptq tests/regression/run.sh only recipes that contain that text
#
# Models other than the one in the tree are looked for in $WC_SHARED (default ../shared). Numbers are the same on every run on one
# kind of CPU; BLAS kernels of another kind change the last digits.
set -eu
cd "$(dirname "$0")/../.."
shared=${WC_SHARED:-../shared} wc=${WCOMPRESS:-build/wcompress} new=
[ "${1:-}" != --new ] || { new=yes && shift; }
only=${1:-}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
csv=tests/regression/results.csv
header='model,recipe,bytes,bits_all,bits_linear,layer_error,ppl_original,ppl,ln_ratio,kl,kl_se,same_top'

field() { # FILE NAME: the first number of that name in a JSON file written by us (one field a line)
    sed -n "s/^ *\"$2\": \([-0-9.e+]*\),*\$/\1/p" "$1" | head -n 1
}

cut_digits() { printf '%.*f' "$2" "$1"; }

one() { # MODEL RECIPE -> a row
    local dir=$shared/models/$1 text calib=() tokens=16384
    case $1 in
    docs4m) dir=tests/data/docs4m text=tests/data/eval/technical.txt ;;
    stories260k | bitllama-*) text=$shared/data/tinystories-valid-a.txt calib=(--calib "$shared/data/tinystories-train-sample.txt") ;;
    *) text=$shared/data/calib-prose.txt ;;
    esac
    [ -d "$dir" ] && [ -f "$text" ] || return 1
    "$wc" compress --recipe "$2" "${calib[@]}" --calib-tokens 16384 -q --json -f -o "$tmp/m.wcz" "$dir" > "$tmp/c.json"
    "$wc" eval "$tmp/m.wcz" --against "$dir" --text "$text" --tokens $tokens -p daslab -q --json > "$tmp/e.json"
    local c=$tmp/c.json e=$tmp/e.json bytes
    bytes=$(sed -n '/"result"/,$s/^ *"bytes": \([0-9]*\),*$/\1/p' "$c" | head -n 1)
    echo "$1,\"$2\",$bytes,$(cut_digits "$(field "$c" bits_per_weight)" 4),$(cut_digits "$(field "$c" bits_per_linear_weight)" 4),$(
        cut_digits "$(field "$c" error_mean)" 5),$(cut_digits "$(field "$e" ppl_original)" 3),$(cut_digits "$(field "$e" ppl)" 3),$(
        cut_digits "$(field "$e" ln_ratio)" 5),$(cut_digits "$(field "$e" kl)" 5),$(cut_digits "$(field "$e" kl_se)" 5),$(
        cut_digits "$(field "$e" same_top)" 4)"
}

wanted() { # MODEL RECIPE ROW: the arguments ask for this case
    [ -z "$only" ] || [ "$only" = "$1" ] || return 1
    [ -z "$new" ] || [ -z "$3" ] || return 1
    case $2 in *"${MATCH:-}"*) ;; *) return 1 ;; esac
}

echo "$header" > "$tmp/new.csv"
while IFS='|' read -r models recipe; do
    case $models in '' | '#'*) continue ;; esac
    recipe=$(echo "$recipe" | sed 's/^ *//; s/ *$//')
    for model in $models; do
        old=$(grep -F "$model,\"$recipe\"," "$csv" 2>/dev/null || true)
        if wanted "$model" "$recipe" "$old" && row=$(one "$model" "$recipe"); then
            echo "$row"
            echo "$row" >> "$tmp/new.csv"
        elif [ -n "$old" ]; then
            echo "$old" >> "$tmp/new.csv"
        fi
    done
done < tests/regression/cases.txt
mv "$tmp/new.csv" "$csv"

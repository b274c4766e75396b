#!/usr/bin/env python3
"""Prints the tables of docs/QUALITY.md from tests/regression/results.csv.

usage: quality_tables.py [results.csv]"""
import csv
import sys

MODELS = ("docs4m", "stories260k", "aidreams260k", "bitllama-1m")


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "tests/regression/results.csv"
    rows = {(r["model"], r["recipe"]): r for r in csv.DictReader(open(path, encoding="utf-8"))}
    recipes = list(dict.fromkeys(recipe for _, recipe in rows))

    print("KL divergence to the original (nats per token), rtn -> gptq at the same size:\n")
    print("| grid | " + " | ".join(MODELS) + " |\n|---|" + "---|" * len(MODELS))
    for recipe in recipes:
        partner = recipe.replace("rtn(", "gptq(", 1)
        if recipe.startswith("rtn(") and partner in recipes and "|" not in recipe:
            cells = [f"{rows[m, recipe]['kl']} -> {rows[m, partner]['kl']}" if (m, partner) in rows and (m, recipe) in rows else ""
                     for m in MODELS]
            print(f"| {recipe[4:-1]} | " + " | ".join(cells) + " |")

    print("\nEvery row of docs4m and stories260k:\n")
    print("| recipe | " + " | ".join(f"{m}: bits per linear weight, KL, same top" for m in MODELS[:2]) + " |\n|---|---|---|")
    for recipe in recipes:
        cells = [f"{float(r['bits_linear']):.3f}, {r['kl']}, {100 * float(r['same_top']):.1f} %" if (r := rows.get((m, recipe))) else ""
                 for m in MODELS[:2]]
        shown = recipe.replace("|", "\\|")
        print(f"| `{shown}` | " + " | ".join(cells) + " |")


main()

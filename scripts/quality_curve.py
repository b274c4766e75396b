#!/usr/bin/env python3
"""Draws tests/regression/results.csv as curves of KL divergence against bits per linear weight, one SVG per model.

usage: quality_curve.py MODEL > docs/quality-MODEL.svg

A point is a recipe; points of one method are joined by the method's lower envelope, so a curve is the best that its options give
at a size. Only the standard library is used."""
import csv
import math
import re
import sys

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 860, 560, 80, 40, 190, 60
COLOURS = ("#c1272d", "#0000a7", "#008176", "#e66b00", "#7e2f8e", "#5a5a5a", "#2e8b57", "#b8860b", "#d147a3", "#1b9ad6", "#6b4226",
           "#94a800")
KL_FLOOR = 1e-3


def method(recipe):
    """The name a curve goes by: the methods of the list, without options."""
    return " | ".join(step.strip().split("(")[0] for step in re.sub(r"\([^()]*\)", "", recipe).split("|"))


def envelope(points):
    """Those points that no other one beats in both size and KL, by size."""
    best, kept = math.inf, []
    for x, y in sorted(points):
        if y < best:
            kept.append((x, y))
            best = y
    return kept


def read(model):
    curves = {}
    for row in csv.DictReader(open("tests/regression/results.csv")):
        x, y = float(row["bits_linear"]), float(row["kl"])
        if row["model"] == model and 0 < x <= 6.5 and y > 0 and math.isfinite(y):
            curves.setdefault(method(row["recipe"]), []).append((x, max(y, KL_FLOOR)))
    return curves


def draw(model, curves):
    points = [p for c in curves.values() for p in c]
    x0, x1 = math.floor(min(p[0] for p in points)), math.ceil(max(p[0] for p in points))
    y0, y1 = math.floor(math.log10(min(p[1] for p in points))), math.ceil(math.log10(max(p[1] for p in points)))
    place = lambda x, y: (LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
                          TOP + (y1 - math.log10(y)) / (y1 - y0) * (HEIGHT - TOP - BOTTOM))
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="%d" y="22" font-size="15">%s: KL divergence against bits per linear weight (lower left is better)</text>' % (LEFT, model)]
    for x in range(x0, x1 + 1):
        px, top, bottom = place(x, 1)[0], TOP, HEIGHT - BOTTOM
        out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%d</text>' % (
            px, top, px, bottom, px, bottom + 18, x))
    for e in range(y0, y1 + 1):
        py = place(x0, 10.0 ** e)[1]
        out.append('<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">1e%d</text>' % (
            LEFT, py, WIDTH - RIGHT, py, LEFT - 6, py + 4, e))
    for i, (name, c) in enumerate(sorted(curves.items())):
        colour, dash = COLOURS[i % len(COLOURS)], "" if i < len(COLOURS) else ' stroke-dasharray="5 3"'
        line = " ".join("%.1f,%.1f" % place(*p) for p in envelope(c))
        out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="1.6"%s/>' % (line, colour, dash))
        out += ['<circle cx="%.1f" cy="%.1f" r="2.6" fill="%s"/>' % (place(*p) + (colour,)) for p in c]
        y = TOP + 14 * i
        out.append('<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="2"%s/><text x="%d" y="%d" font-size="11">%s</text>' % (
            WIDTH - RIGHT + 10, y, WIDTH - RIGHT + 28, y, colour, dash, WIDTH - RIGHT + 33, y + 4, name))
    out.append('<text x="%d" y="%d" text-anchor="middle">bits per linear weight, side information included</text></svg>' % (
        (WIDTH - RIGHT + LEFT) // 2, HEIGHT - 16))
    return "\n".join(out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = read(sys.argv[1])
    if not found:
        sys.exit("no rows of model `%s' in tests/regression/results.csv" % sys.argv[1])
    print(draw(sys.argv[1], found))

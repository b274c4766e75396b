"""The mean -ln p of a model on some ids, by the forward pass in forward.py and both protocols of `wcompress eval':
perplexity.py MODEL_DIR WINDOWS SEQLEN IDS_FILE

Writes the ids (little-endian u32) to IDS_FILE and prints a JSON list [whole windows, second halves]. The ids are words
of the recorded tokenizer fixtures, so that the model finds some of them likely."""
import json
import os
import sys

import numpy as np

from forward import forward, load


def fixture_ids(count):
    ids = []
    with open("tests/data/tokenizer/docs4m.ids", encoding="utf-8") as f:
        for line in f:
            ids += [int(word) for word in line.split()[2:]]
    return np.array((ids * (count // len(ids) + 1))[:count], "<u4")


def main():
    folder, windows, seqlen = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    ids = fixture_ids(windows * seqlen)
    ids.tofile(sys.argv[4])
    ids = ids.reshape(windows, seqlen)
    z = forward(config, load(os.path.join(folder, "model.safetensors")), ids)
    z -= z.max(-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_p[:, :-1], ids[:, 1:, None].astype(int), -1)[..., 0]
    print(json.dumps([nll.mean(), nll[:, seqlen // 2:].mean()]))


main()

"""Records what Hugging Face computes, as the truth for tests/unit/test_forward.c: record_forward_fixtures.py [SHARED]

Needs PyTorch and transformers (recorded with torch 2.5.1, transformers 4.56.2, float32 on the CPU); not part of any test.
Run from the repository root. Writes tests/data/forward:
    NAME.f32           logits [2, 10, vocab] at positions 3, 7, ... 39 for every checkpoint of tests/oracle/make_models.py
    stories.u16, .txt  with SHARED (a folder with models/ and data/): token ids of the first stories of the validation
                       text, each from BOS to the next, and stories260k's mean loss on them
"""
import os
import sys
import tempfile

import numpy as np
import torch
import transformers

sys.path.insert(0, "tests/oracle")
import make_models  # noqa: E402

OUT, N_SEQ, SEQLEN, STORIES = "tests/data/forward", 2, 40, 6


def open_model(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32,
                                                              attn_implementation="eager")
    return model.eval()


def record_logits(folder, name):
    make_models.write(folder, name)
    model = open_model(os.path.join(folder, name))
    tokens = torch.tensor(make_models.ids(N_SEQ, SEQLEN, model.config.vocab_size))
    logits = model(tokens).logits[:, 3::4].numpy().astype("<f4")
    logits.tofile(os.path.join(OUT, name + ".f32"))


def record_stories(shared):
    folder = os.path.join(shared, "models/stories260k")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(shared, "data/tinystories-valid-a.txt")) as f:
        text = f.read()
    model, every, loss, count = open_model(folder), [], 0.0, 0
    for story in text.split("<|endoftext|>")[:STORIES]:
        tokens = tokenizer(story.strip())["input_ids"][:512]
        assert tokens[0] == 1
        logits = torch.log_softmax(model(torch.tensor([tokens])).logits[0, :-1].double(), -1)
        loss -= logits[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].sum().item()
        count += len(tokens) - 1
        every += tokens
    np.array(every, "<u2").tofile(os.path.join(OUT, "stories.u16"))
    with open(os.path.join(OUT, "stories.txt"), "w") as f:
        f.write("%.7f\n" % (loss / count))


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        for model_name in make_models.MODELS:
            if model_name not in make_models.NOT_IN_HF:
                record_logits(scratch, model_name)
        if len(sys.argv) > 1:
            record_stories(sys.argv[1])

#!/usr/bin/env python3
"""Trains small tokenizers of every family we read and records the ids that the reference library gives.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3
    /tmp/venv/bin/python scripts/record_tokenizer_fixtures.py [MODEL_DIR ...]

writes tests/data/tokenizer/NAME.json (a tokenizer.json) and NAME.ids for every family, and NAME.ids only for every
MODEL_DIR (its name being the folder's). The recorded files are the truth, so `make check' never runs this. Training
breaks ties by chance: record all families together.

NAME.ids is lines of TEXT-NUMBER MODE ids...; MODE is `p' (no template), `t' (with template, some texts), `s' (special
tokens stay text; where that differs from p). The texts are tests/data/tokenizer/texts.json, a list of strings.
"""

import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = os.path.join(os.path.dirname(__file__), "..", "tests", "data", "tokenizer")

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
LOWER, UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
]

TRAINING = """The quick brown fox jumps over the lazy dog. It's what they've said: we'll see that you're right, \
I'm sure he'd agree.
He didn't, she wasn't, and THEY'RE NOT. In 1969, 12,345,678 people watched; 3.14159 and 2.71828 are numbers.
def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n
for (int i = 0; i < n; i++) {\n\tsum += a[i] * b[i];\n}\n// https://example.org/path?query=1&other=2
Übergröße, naïve café, Ångström, crème brûlée, façade, señor, Łódź, ČŠŽ. Привет, мир! Как дела? Γειά σου Κόσμε.
你好，世界。今天天气很好。日本語のテキスト、カタカナとひらがな。한국어 텍스트입니다. नमस्ते दुनिया। สวัสดีชาวโลก שלום עולם مرحبا بالعالم
Emoji: 😀 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ and so on. Tabs\tand  double  spaces   and    more.
"""

TEXTS = [
    "",
    " ",
    "  ",
    "a",
    "Hello, world!",
    " Hello",
    "Hello ",
    "\nHello\n",
    "\n\n\n",
    " \n \n ",
    "\t\tindent\t",
    "a  b   c    d",
    "trailing   ",
    "   leading",
    "line one\r\nline two\r\n\r\nline four\rold mac\r",
    "nbsp\u00a0here\u00a0\u00a0x",
    "ideographic\u3000space\u3000",
    "\u2003em\u2009thin\u202fnarrow\u2028ls\u2029ps\u0085nel\u1680ogham\u205fmm",
    "zero\u200bwidth\u200cnon\u200djoiner\ufeffbom",
    "\u180emongolian\u180evowel",
    "it's we're I've I'm you'll he'd don't IT'S WE'RE I'VE I'M YOU'LL HE'D DON'T",
    "it’s we’re",
    "'\u017f '\u017fa d'\u017f x'S x'\u212a",
    "'s't're've'm'll'd ' s",
    "1234567",
    "1 22 333 4444 55555",
    "12,345.67 -8e-10 0x1F 1_000",
    "٣٤٥٦ ½ x² Ⅷ ①② १२३ ৪৫ 三百",
    "v1.2.3-rc4+build5",
    "abc123def456",
    "😀😃👍🏽👩🏿‍🚀👨‍👩‍👧‍👦🇩🇪🇫🇷🇯🇵❤️☺️✌🏻#️⃣",
    "text😀text 👍 text",
    "e\u0301 a\u0308\u0323 o\u0302\u0301 n\u0303 \u0301alone",
    "é vs e\u0301, Å vs A\u030a vs \u212b",
    "ﬁ ﬂ ﬀ ﬆ ① ㎏ ｆｕｌｌ ｶﾀｶﾅ ﷺ ㍿",
    "नमस्ते दुनिया क्षत्रिय",
    "ﬂying o’clock ΣΊΣΥΦΟΣ ΟΔΟΣ İstanbul ISPARTA ẞ ß Ǆ ǅ",
    "\u1112\u1161\u11ab\u1100\u1173\u11af 한글 ㄱㄴㄷ",
    "日本語テキストとカタカナひらがな、漢字。",
    "你好世界，今天天气很好！ABC你好123",
    "mixed日本and한국и русский τέλος",
    "สวัสดีชาวโลก",
    "שלום עולם מה שלומך",
    "مرحبا بالعالم كيف حالك",
    "\u0000",
    "a\u0000b\u0000",
    "\u0001\u0002\u007f\u0080\u009f\u00ad",
    "\ufffd\ufffe\uffff\U0010fffe",
    "𝕳𝖊𝖑𝖑𝖔 𝟙𝟚𝟛 𐍈 𒀀 𓀀",
    "def f(x):\n    return x ** 2  # square\n\n\nclass A:\n\tpass\n",
    "if (a&&b||!c) { x->y = *z[0]; }",
    '<html><body class="x">&amp;</body></html>',
    "https://example.org/a/b?c=d&e=f#g user@example.org C:\\path\\file",
    "___ --- ... !!! ??? ;;; ~~~ ``` *** === <<< >>> $$$ +++ |||",
    "((((((())))))){}[]<>",
    "<s>",
    "</s>",
    "Hello<s>world</s>",
    " <s> x </s> ",
    "<s><s></s>",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|> c",
    "<|begin_of_text|>x<|eot_id|>",
    "<|eot_id",
    "<unk> <pad>",
    "<mask>",
    "x <mask> y",
    "x   <mask>   y",
    "<mask><mask>",
    " <mask>\n\t<mask> ",
    "word<one>word",
    "word <one> word",
    "<one>",
    "(<one>)",
    "é<one>",
    "<one>\u0301",
    "_<one>_ 1<one>",
    "aXbXXcXXXdXXXX",
    "XX XXX",
    "<R>  \n next <R>",
    "<R> <R>  <R>a",
    "l  <L>   r",
    "<L>  <L>  <L>",
    "Day DAY day birthDay",
    "DAY  x day",
    "x\u00a0<mask>\u3000y",
    "<both>  <both>a  <both>b",
    "▁",
    "▁▁▁",
    "a▁b ▁c▁ d",
    " ▁ ",
    "▁Hello▁world",
    "<0x41> <0x0A>",
    "Ġ Ċ ĠHello",
    "a\u2581\u2581b",
    "the The THE tHe thE",
    "camelCaseWordsAndHTTPServer XMLHttpRequest iPhone15Pro",
    "a" * 200,
    " " * 200,
    "▁" * 100,
    "ab" * 100,
    "0" * 50,
    "é" * 60,
    "\n" * 40,
    "日" * 50,
    "😀" * 20,
    "a " * 50,
    " \n" * 30,
    "!" * 70,
    "x" + " " * 30 + "y",
    "x" + "\n" * 5 + " " * 5 + "y",
    " \t \t\n\t x",
    "end with newline\n",
    "end with spaces and newline  \n",
    "a\n b\n  c\n   d",
    "\r",
    "\r\n",
    " \r\n ",
    "\n ",
    "a\n\n\nb\n \n c",
    "The quick brown fox jumps over the lazy dog.",
    "fibonacci(n - 1) + fibonacci(n - 2)",
    "quick quicker quickest",
    "thethethe ththth hehehe",
]


def texts():
    rng = random.Random(20240601)
    alphabet = (
        "abcdefgXYZ 'st  \n\r\t0123456789.,!?-_<>|/éüñßſ½²日本語かなカナ한글नमस्ते́😀👍🏽‍️▁ \u00a0\u3000\u2003Ж東ǅʰ"
    )
    fuzz = ["".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 40))) for _ in range(60)]
    return TEXTS + fuzz


def special(content, **kw):
    return AddedToken(content, special=True, normalized=False, **kw)


def train(tok, vocab_size, specials, alphabet=(), **kw):
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, initial_alphabet=list(alphabet), show_progress=False, **kw
    )
    tok.train_from_iterator(TRAINING.split("\n") + [TRAINING], trainer)
    return tok


BYTES = pre_tokenizers.ByteLevel.alphabet()


def byte_level(pre, size, specials, normalizer=None, **model):
    tok = Tokenizer(models.BPE(**model))
    tok.pre_tokenizer = pre
    if normalizer:
        tok.normalizer = normalizer
    tok.decoder = decoders.ByteLevel()
    return train(tok, size, specials, BYTES)


def split(rx, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(rx), behavior, invert)


def bytes_only():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def gpt2():
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), 500, ["<|endoftext|>"])


def llama3():
    tok = byte_level(pre_tokenizers.Sequence([split(LLAMA3), bytes_only()]), 600, [])
    # ignore_merges: whole words that merging would never make
    data = json.loads(tok.to_str())
    data["model"]["ignore_merges"] = True
    for word in ["\u0120quicker", "hehehe", "123", "\u0120Hello"]:
        data["model"]["vocab"].setdefault(word, len(data["model"]["vocab"]))
    tok = Tokenizer.from_str(json.dumps(data))
    tok.add_special_tokens([special("<|begin_of_text|>"), special("<|end_of_text|>"), special("<|eot_id|>")])
    bos = tok.token_to_id("<|begin_of_text|>")
    tok.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                "<|begin_of_text|> $A", "<|begin_of_text|> $A $B", [("<|begin_of_text|>", bos)]
            ),
        ]
    )
    return tok


def qwen2():
    return byte_level(
        pre_tokenizers.Sequence([split(QWEN2), bytes_only()]), 550, ["<|endoftext|>", "<|im_start|>"], normalizers.NFC()
    )


def o200k():
    return byte_level(pre_tokenizers.Sequence([split(O200K, "removed", True), bytes_only()]), 550, ["<|endoftext|>"])


def deepseek():
    return byte_level(pre_tokenizers.Sequence([split(r) for r in DEEPSEEK] + [bytes_only()]), 550, ["<|endoftext|>"])


def starcoder():
    pre = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return byte_level(pre, 500, ["<|endoftext|>", "<fim_prefix>"])


def roberta():
    tok = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), 500, ["<s>", "<pad>", "</s>", "<unk>"])
    tok.add_special_tokens([special("<mask>", lstrip=True)])
    tok.add_tokens(
        [
            AddedToken("<one>", single_word=True, normalized=False),
            AddedToken("<R>", rstrip=True),
            AddedToken("<L>", lstrip=True),
            AddedToken("<both>", lstrip=True, rstrip=True),
            AddedToken("XX", normalized=False),
            AddedToken("XXX", normalized=False),
            AddedToken("bX", normalized=True),
        ]
    )
    tok.post_processor = processors.RobertaProcessing(
        ("</s>", tok.token_to_id("</s>")), ("<s>", tok.token_to_id("<s>"))
    )
    return tok


def sentencepiece(pre=None, normalizer=None, size=700, drop_bytes=(), fuse=True):
    """Trained with Metaspace, then given the bytes and the pipeline of Llama-2."""
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    train(tok, size - 256, ["<unk>", "<s>", "</s>"])
    data = json.loads(tok.to_str())
    model = data["model"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256) if b not in drop_bytes]
    names += [t for t, _ in sorted(model["vocab"].items(), key=lambda x: x[1]) if t not in names]
    names += [t for t in ["▁▁", "▁▁▁▁", "aa", "aaaa"] if t not in names]
    model["vocab"] = {t: i for i, t in enumerate(names)}
    # merges over spaces and runs, first in line; as strings, the old encoding
    have = [" ".join(m) for m in model["merges"]]
    model["merges"] = [m for m in ["▁ ▁", "▁▁ ▁▁", "a a", "aa aa"] if m not in have] + have
    model.update(byte_fallback=True, fuse_unk=fuse)
    data["pre_tokenizer"] = None
    tok = Tokenizer.from_str(json.dumps(data))
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    tok.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B", [("<s>", 1), ("</s>", 2)])
    return tok


def llama2():
    return sentencepiece(normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))


def llama2_first():
    return sentencepiece(
        pre=pre_tokenizers.Metaspace(prepend_scheme="first", split=False), drop_bytes=range(0xE0, 0xF0)
    )


def metaspace_always():
    tok = sentencepiece(pre=pre_tokenizers.Metaspace(), drop_bytes=[0xF0], fuse=False)
    tok.add_tokens(
        [AddedToken("DAY", normalized=True), AddedToken("<mask>", lstrip=True, rstrip=True, normalized=True)]
    )
    return tok


def gemma():
    return sentencepiece(
        normalizer=normalizers.Replace(" ", "▁"), pre=pre_tokenizers.Split(" ", "merged_with_previous")
    )


def lowercase():
    """Normalizers that change lengths, normalized added tokens, Punctuation and the merging behaviors."""
    normal = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(True, True),
        ]
    )
    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation("merged_with_next"),
            pre_tokenizers.Digits(individual_digits=False),
            split("[aeiou]", "merged_with_previous"),
        ]
    )
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tok.normalizer, tok.pre_tokenizer = normal, pre
    train(tok, 400, ["<unk>"])
    tok.add_tokens(
        [
            AddedToken("Day", normalized=True),
            AddedToken("DAY", normalized=False),
            AddedToken("<Mask>", normalized=True, lstrip=True),
        ]
    )
    return tok


def words():
    """Whitespace, subword prefix and word suffix (CLIP, old BERT-like BPE), NFD, unknown characters not fused."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix="##"))
    tok.normalizer = normalizers.NFD()
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), split("[xyz]+", "contiguous"), split("q", "contiguous", True)]
    )
    train(tok, 500, ["<unk>"], continuing_subword_prefix="##", end_of_word_suffix="</w>")
    return tok


def oniguruma():
    """Syntax that PCRE2 reads differently."""
    pre = pre_tokenizers.Sequence(
        [
            split(r"\p{N}{2,3}+", "merged_with_next"),
            split(r"\h{3}"),
            split(r"\b\w+\b"),
            split(r"^[ \t]+|[.!?]$"),
            split(r"[a-z&&[^aeiou]]{,2}+"),
            split(r"\u00e9|(?m:x.y)|\v"),
            split("", "removed"),
            bytes_only(),
        ]
    )
    return byte_level(pre, 300, ["<|endoftext|>"])


def tiny():
    """By hand: NUL and the empty string in the vocabulary, a merge given twice, added tokens of every kind; also
    what the fuzzer starts from."""

    def added(i, content, **kw):
        return dict(
            dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False),
            **kw,
        )

    return Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [
                    added(0, "<unk>", special=True),
                    added(10, "<s>", special=True),
                    added(11, "XX", single_word=True),
                    added(12, "x", normalized=True, lstrip=True),
                    added(13, "Day", rstrip=True),
                ],
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"Regex": "q+"}, "content": "ab"}, {"type": "NFC"}],
                },
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [
                        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
                        {"type": "Split", "pattern": {"String": "!"}, "behavior": "MergedWithNext", "invert": False},
                    ],
                },
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {"<s>": {"id": "<s>", "ids": [10], "tokens": ["<s>"]}},
                },
                "decoder": None,
                "model": {
                    "type": "BPE",
                    "dropout": None,
                    "unk_token": "<unk>",
                    "continuing_subword_prefix": None,
                    "end_of_word_suffix": None,
                    "fuse_unk": False,
                    "byte_fallback": True,
                    "ignore_merges": False,
                    "vocab": {
                        "<unk>": 0,
                        "a": 1,
                        "b": 2,
                        "ab": 3,
                        "\0": 4,
                        "a\0": 5,
                        "▁": 6,
                        "": 7,
                        "<0xC3>": 8,
                        "<0xA9>": 9,
                    },
                    "merges": [["a", "b"], ["a", "\0"], ["a", "b"]],
                },
            }
        )
    )


def record(tok, name):
    tok.no_truncation()
    tok.no_padding()
    with open(os.path.join(OUT, name + ".ids"), "w") as f:
        for i, text in enumerate(texts()):
            ids = {}
            for mode in "pts":
                tok.encode_special_tokens = mode == "s"
                ids[mode] = tok.encode(text, add_special_tokens=mode == "t").ids
                if mode == "p" or mode == "t" and i % 8 == 0 or mode == "s" and ids["s"] != ids["p"]:
                    f.write(f"{i} {mode} {' '.join(map(str, ids[mode]))}".rstrip() + "\n")
    tok.encode_special_tokens = False


def main():
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "texts.json"), "w") as f:
        json.dump(texts(), f, indent=0)
        f.write("\n")
    families = [
        gpt2,
        llama3,
        qwen2,
        o200k,
        deepseek,
        starcoder,
        roberta,
        llama2,
        llama2_first,
        metaspace_always,
        gemma,
        lowercase,
        words,
        oniguruma,
        tiny,
    ]
    for family in families:
        path = os.path.join(OUT, family.__name__ + ".json")
        tok = family()
        data = json.loads(tok.to_str())
        if family is llama2:  # merges as strings, the encoding until 2024
            data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        with open(path, "w") as f:
            json.dump(data, f, ensure_ascii=False, separators=(",", ":"))
        record(Tokenizer.from_file(path), family.__name__)
    for folder in sys.argv[1:]:
        record(Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), os.path.basename(os.path.normpath(folder)))


if __name__ == "__main__":
    main()

"""Writes the seeds of fuzz_safetensors and fuzz_index into the folder of this script."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
ENTRY = '"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}'

SAFETENSORS = {
    "empty": ("{}", 0),
    "one": ("{" + ENTRY % ("w", "F32", "2,3", 0, 24) + "}", 24),
    "two": (' {"__metadata__":{"format":"pt","k":"v"},' + ENTRY % ("b", "BF16", "2", 3, 7) + "," +
            ENTRY % ("a", "U8", "3", 0, 3) + "}  ", 7),
    "zero": ("{" + ENTRY % ("z", "F16", "0,5", 0, 0) + "," + ENTRY % ("s", "I64", "", 0, 8) + "}", 8),
    "bits": ("{" + ENTRY % ("f4", "F4", "4", 0, 2) + "," + ENTRY % ("f6", "F6_E3M2", "4", 2, 5) + "}", 5),
    "escapes": ('{"\\u0061\\n\\ud83d\\ude00\\"\\\\\u00fc":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    "unknown": ('{"a":{"x":[1,-2.5e+3,{"y":null}],"dtype":"U8","shape":[1],"data_offsets":[0,1],"z":true}}', 1),
    "overlap": ("{" + ENTRY % ("a", "U8", "2", 0, 2) + "," + ENTRY % ("b", "U8", "2", 1, 3) + "}", 3),
    "hole": ("{" + ENTRY % ("a", "U8", "2", 0, 2) + "," + ENTRY % ("b", "U8", "2", 3, 5) + "}", 5),
    "twice": ("{" + ENTRY % ("a", "U8", "1", 0, 1) + "," + ENTRY % ("\\u0061", "U8", "1", 1, 2) + "}", 2),
    "overflow": ("{" + ENTRY % ("a", "I32", "140737488355328,140737488355328,0", 0, 0) + "}", 0),
    "deep": ('{"a":{"x":' + "[" * 64 + "]" * 64 + "}}", 0),
    "ninedims": ("{" + ENTRY % ("a", "U8", ",".join("1" * 9), 0, 1) + "}", 1),
    "truncated": ("{" + ENTRY % ("a", "U8", "9", 0, 9) + "}", 2),
    "nullmeta": ('{"__metadata__":null}', 0),
}
INDEX = {
    "plain": '{"metadata":{"total_size":6},"weight_map":{"b":"model-00002-of-00002.safetensors","a":"x/y.safetensors"}}',
    "etc": '{"weight_map":{"a":"/etc/passwd"}}',
    "up": '{"weight_map":{"a":"x/../../y.safetensors"}}',
    "pickle": '{"weight_map":{"a":"pytorch_model.bin"}}',
    "twice": '{"weight_map":{"a":"x.safetensors","\\u0061":"y.safetensors"}}',
    "long": '{"metadata":{"total_size":123456789012345678901234567890},"weight_map":{"a":"x.safetensors"}}',
    "deep": '{"weight_map":' + "[" * 200 + "]" * 200 + "}",
}

for name, (header, size) in SAFETENSORS.items():
    text = header.encode("utf-8")
    with open(os.path.join(HERE, "st_%s.safetensors" % name), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + bytes(range(size)))
for name, text in INDEX.items():
    with open(os.path.join(HERE, "index_%s.json" % name), "w") as f:
        f.write(text)

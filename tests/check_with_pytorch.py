#!/usr/bin/env python3
"""Compares reading and writing of checkpoints with the real PyTorch (and safetensors, if there).

usage: check_with_pytorch.py path/to/inspect_checkpoint

Saves state dicts of every type and layout in both formats of torch.save, has them converted to
safetensors and to .pth, and compares what torch.load(weights_only=True) and safetensors read, bit
by bit. Needs PyTorch 1.13 or newer.
"""
import argparse, collections, copy, json, os, struct, subprocess, sys, tempfile

import torch

try:
    import numpy
except ImportError:
    numpy = None
try:
    import safetensors.torch
except ImportError:
    safetensors = None

TOOL = sys.argv[1]
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
         "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}


def read_safetensors(path):
    if safetensors:
        return safetensors.torch.load_file(path)
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    out = {}
    for name, e in header.items():
        if name != "__metadata__":
            raw = bytearray(data[e["data_offsets"][0]:e["data_offsets"][1]])
            out[name] = (torch.frombuffer(raw, dtype=TYPES[e["dtype"]]) if raw else torch.empty(0, dtype=TYPES[e["dtype"]])).reshape(e["shape"])
    return out


def same(a, b):
    """Bit by bit: NaN equals NaN, 0 differs from -0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    raw = lambda t: t.contiguous().reshape(-1).view(torch.uint8) if t.numel() else t.reshape(-1)
    return torch.equal(raw(a), raw(b))


def tensors():
    g = torch.Generator().manual_seed(1)
    base = torch.randn(6, 8, 10, generator=g)
    d = collections.OrderedDict()
    for name, dtype in TYPES.items():
        d["type." + name] = (base * 50).to(dtype)
    for i, view in enumerate([base.transpose(0, 2), base[1:4, ::2, 3:], base.permute(1, 2, 0), base[0, 0, 5],
                              base[3], base.expand(2, 6, 8, 10), base[:, :1].expand(6, 5, 10), base[2:2], base.diagonal(),
                              base.as_strided((3, 3), (1, 1), 7), base.unfold(2, 4, 2)]):
        d[f"view.{i}"] = view
    d["scalar"] = torch.tensor(3.5)
    d["empty"] = torch.empty(0, 4, 0)
    d["special"] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    d["tied.a"] = d["tied.b"] = torch.randn(7, generator=g)
    d["parameter"] = torch.nn.Parameter(torch.randn(3, generator=g))
    d["non-ASCII \u00e4\u4e2d"] = torch.ones(1)
    d["bytes as floats"] = torch.arange(20, dtype=torch.uint8)[4:12].clone().view(torch.float32)
    d["big"] = torch.randn(300, 1000, generator=g)
    return d


def checkpoint():
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2, bias=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 60])
    c = {"model": model.state_dict(), "model_ema": copy.deepcopy(model.state_dict()), "optimizer": optimizer.state_dict(),
         "lr_scheduler": steps.state_dict(), "epoch": 3, "scaler": {"scale": 65536.0, "growth_tracker": 0},
         "args": argparse.Namespace(lr=1e-3, name="x", betas=(0.9, 0.999), nothing=None, on=True),
         "a set": {1, 2}, "complex": 1 + 2j, "huge": 1 << 80, "bytes": b"\x00\xff\x80", "size": torch.Size([1, 2]), "dtype": torch.float16,
         "device": torch.device("cpu"), "seed": 2**63 + 5, "rng": torch.get_rng_state(), "default": collections.defaultdict(list, {"k": [1]})}
    if numpy:
        c["numpy"] = {"scalar": numpy.float64(0.25), "f32": numpy.float32(0.5), "int": numpy.int64(-7), "bool": numpy.bool_(True),
                      "array": numpy.arange(6, dtype=numpy.int32).reshape(2, 3)}
    return c


def run(*arguments):
    p = subprocess.run([TOOL, *arguments], capture_output=True, text=True)
    assert p.returncode == 0, (arguments, p.stderr)
    return p.stdout


failures = 0


def check(what, ok):
    global failures
    failures += not ok
    if not ok:
        print("FAIL", what)


def load(path):
    return torch.load(path, weights_only=True)


def compare(tag, path, expected, folder):
    a, b = os.path.join(folder, tag + ".safetensors"), os.path.join(folder, tag + "_again.pth")
    run(path, "--convert", a)
    run(path, "--convert", b)
    for how, got in (("safetensors", read_safetensors(a)), ("pth", load(b)["model"])):
        check(f"{tag}, {how}: names", list(got) == list(expected) if how == "pth" else set(got) == set(expected))
        for name, t in expected.items():
            check(f"{tag}, {how}: {name}", name in got and same(got[name], t.detach()))


with tempfile.TemporaryDirectory() as folder:
    states, training = tensors(), checkpoint()
    for new in (True, False):
        for protocol in (2, 3, 4, 5):
            tag = f"{'zip' if new else 'legacy'}_protocol{protocol}"
            save = dict(_use_new_zipfile_serialization=new, pickle_protocol=protocol)
            path = os.path.join(folder, tag + ".pth")
            torch.save(states, path, **save)
            compare(tag, path, states, folder)
            torch.save(training, path, **save)
            compare(tag + "_training", path, training["model"], folder)
            seen = json.loads(run(path, "--json"))
            other = seen["other"]
            check(tag + ": epoch", other["epoch"] == 3)
            check(tag + ": args", other["args"] == dict(lr=1e-3, name="x", betas=[0.9, 0.999], nothing=None, on=True))
            check(tag + ": milestones", other["lr_scheduler"]["milestones"] == {"30": 1, "60": 1})
            check(tag + ": groups", other["optimizer"]["param_groups"][0]["params"] == list(range(5)))
            check(tag + ": complex", other["complex"] == {"real": 1.0, "imag": 2.0})
            check(tag + ": average", len(seen["average"]) == len(training["model_ema"]))
            if numpy:
                n = other["numpy"]
                check(tag + ": numpy", (n["scalar"], n["f32"], n["int"], n["bool"]) == (0.25, 0.5, -7, True))
            names = {t["name"]: t for t in seen["other_tensors"]}
            check(tag + ": rng", names["rng"]["shape"] == list(training["rng"].shape))
            check(tag + ": moments", names["optimizer.state.0.exp_avg"]["shape"] == [8, 4])
    path = os.path.join(folder, "complex.pth")
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path)
    p = subprocess.run([TOOL, path], capture_output=True, text=True)
    check("complex numbers are refused", p.returncode == 2 and "complex" in p.stderr and p.stderr.count("\n") == 1)
    torch.save(torch.nn.Linear(2, 2), path)
    p = subprocess.run([TOOL, path], capture_output=True, text=True)
    check("a whole module is refused", p.returncode == 2 and "torch.nn.modules.linear.Linear" in p.stderr)

print("PyTorch", torch.__version__, "| NumPy", numpy and numpy.__version__, "| safetensors", safetensors and safetensors.__version__,
      "|", f"{failures} failures" if failures else "all equal")
sys.exit(bool(failures))

#!/usr/bin/env python3
"""Do weights that this project wrote give PyTorch the same answers? Trains two small models on drawn
pictures (a Vision Mamba and a VisionTransformer), converts the checkpoints to .pth and .safetensors,
runs the models on what PyTorch reads of them, in plain tensor operations and float64, and compares
log probabilities with those of libkrait.

usage: logits_with_pytorch.py path/to/build      needs PyTorch; safetensors if it is there
"""
import os, subprocess, sys, tempfile

import torch
import torch.nn.functional as F

try:
    from safetensors.torch import load_file
except ImportError:
    load_file = None

BUILD = os.path.abspath(sys.argv[1])
os.environ["KRAIT_LIBRARY"] = os.path.join(BUILD, "lib", "libkrait.so")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "install"))
import krait  # noqa: E402, tests/install/krait.py

LIMIT = 1e-5


def norm(x, weight):  # RMS norm
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * weight


def side(w, x, suffix, reverse):
    """One direction of the mixer: (B, L, E) to (B, L, E)."""
    if reverse:
        x = x.flip(1)
    taps = w[f"conv1d{suffix}.weight"]
    K, E = taps.shape[-1], x.shape[-1]
    u = F.silu(F.conv1d(F.pad(x.transpose(1, 2), (K - 1, 0)), taps, w[f"conv1d{suffix}.bias"], groups=E)).transpose(1, 2)
    A = -torch.exp(w["A_b_log" if suffix else "A_log"])
    N, R = A.shape[1], w[f"dt_proj{suffix}.weight"].shape[1]
    dt, Bm, Cm = (u @ w[f"x_proj{suffix}.weight"].T).split([R, N, N], -1)
    delta = F.softplus(dt @ w[f"dt_proj{suffix}.weight"].T + w[f"dt_proj{suffix}.bias"])
    h = x.new_zeros(x.shape[0], E, N)
    ys = []
    for t in range(x.shape[1]):
        h = torch.exp(delta[:, t, :, None] * A) * h + (delta[:, t] * u[:, t])[..., None] * Bm[:, t, None]
        ys.append((h * Cm[:, t, None]).sum(-1) + w[f"D{suffix}"] * u[:, t])
    y = torch.stack(ys, 1)
    return y.flip(1) if reverse else y


def vim(w, images):
    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=w["patch_embed.proj.weight"].shape[-1])
    r = x.flatten(2).transpose(1, 2) + w["pos_embed"]
    cos, sin = w["rope.freqs_cos"], w["rope.freqs_sin"]
    h, layer = 0, 0
    while f"layers.{layer}.norm.weight" in w:
        m = {k[len(f"layers.{layer}.mixer."):]: v for k, v in w.items() if k.startswith(f"layers.{layer}.mixer.")}
        r = r + h
        r = r * cos + torch.stack((-r[..., 1::2], r[..., ::2]), -1).flatten(-2) * sin
        x, z = (norm(r, w[f"layers.{layer}.norm.weight"]) @ m["in_proj.weight"].T).chunk(2, -1)
        h = ((side(m, x, "", False) + side(m, x, "_b", True)) * F.silu(z)) @ m["out_proj.weight"].T
        layer += 1
    return norm(r + h, w["norm_f.weight"]).mean(1) @ w["head.weight"].T + w["head.bias"]


def vit(w, images):
    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=w["patch_embed.proj.weight"].shape[-1])
    x = torch.cat((w["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)), 1) + w["pos_embed"]
    B, L, D = x.shape

    def norm_of(name, x):
        return F.layer_norm(x, (D,), w[name + ".weight"], w[name + ".bias"], 1e-6)

    def linear(name, x):
        return F.linear(x, w[name + ".weight"], w[name + ".bias"])

    layer = 0
    while f"blocks.{layer}.norm1.weight" in w:
        b = f"blocks.{layer}."
        q, k, v = linear(b + "attn.qkv", norm_of(b + "norm1", x)).reshape(B, L, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
        p = torch.softmax(q @ k.transpose(-2, -1) * (D // HEADS) ** -0.5, -1)
        x = x + linear(b + "attn.proj", (p @ v).transpose(1, 2).reshape(B, L, D))
        x = x + linear(b + "mlp.fc2", F.gelu(linear(b + "mlp.fc1", norm_of(b + "norm2", x))))
        layer += 1
    return linear("head", norm_of("norm", x)[:, 0])


HEADS = 2
MODELS = {
    "Vision Mamba": (vim, "--model vim_tiny_patch4_32 --depth 3 --embed-dim 32"),
    "VisionTransformer": (vit, f"--model vit_tiny_patch4_32 --depth 3 --embed-dim 64 --num-heads {HEADS}"),
}
worst_of_all = 0
with tempfile.TemporaryDirectory() as folder:
    for name, (forward, options) in MODELS.items():
        path = os.path.join(folder, forward.__name__)
        quiet = {"stdout": subprocess.DEVNULL, "check": True}
        subprocess.run([f"{BUILD}/bin/train_cifar", "--device", "cpu", "--data-set", "SYNTHETIC", "--batch-size", "50", "--train-fraction", "0.1", "--epochs", "1",
                        "--warmup-epochs", "0", "--lr", "5e-3", "--normalize", "half", "--output_dir", path, *options.split()], **quiet)
        checkpoint = os.path.join(path, "checkpoint.safetensors")
        model = krait.Model(checkpoint, "cpu")
        pixels = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        expected = torch.log(torch.tensor(model.classify_pixels(pixels.numpy().tobytes(), 32, 32), dtype=torch.float64))
        images = (pixels.permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.5
        for extension in (".pth", ".safetensors"):
            if extension == ".safetensors" and not load_file:
                continue
            subprocess.run([f"{BUILD}/bin/inspect_checkpoint", checkpoint, "--convert", path + extension], **quiet)
            weights = load_file(path + extension) if extension == ".safetensors" else torch.load(path + extension, weights_only=True)["model"]
            logits = forward({k: v.double() for k, v in weights.items()}, images)
            worst = (torch.log_softmax(logits, -1) - expected).abs().max().item()
            spread = (logits.max() - logits.min()).item()
            print(f"{name}, {extension}: largest difference {worst:.1e}, logits span {spread:.2f}")
            worst_of_all = max(worst_of_all, worst / spread)
print("PyTorch", torch.__version__, "|", "agrees" if worst_of_all <= LIMIT else "DIFFERS")
sys.exit(worst_of_all > LIMIT)

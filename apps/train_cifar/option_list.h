// The list of train_cifar's options, which the command line, the help and the checkpoint share.
#pragma once

#include <string>
#include <vector>

#include "apps/train_cifar/options.h"

namespace krait {

using Choices = std::vector<std::string>;

// Every option, told to a visitor: f.group(title), then f.number(name, value, low, high, help),
// f.choice(name, value, allowed, help), f.text(name, value, help), f.flag(names, value, help).
template <class F>
void each_option(TrainOptions& o, F&& f) {
  const double tiny = 1e-300, huge = 1e300;

  f.group("Model");
  f.text("model", o.model, "its name; the list is at the end");
  f.number("input-size", o.input_size, 8, 1024, "pictures are scaled to this side (the model's)");
  f.number("patch-size", o.patch_size, 1, 1024, "side of a patch (the model's)");
  f.number("stride", o.stride, 1, 1024, "from patch to patch (the patch size, if that is given)");
  f.number("depth", o.depth, 1, 1000, "layers (the model's)");
  f.number("embed-dim", o.embed_dim, 1, 16384, "width (the model's)");
  f.number("d-state", o.d_state, 1, 64, "states of a channel (the model's)");
  f.number("d-conv", o.d_conv, 2, 8, "taps of the convolution (the model's)");
  f.number("expand", o.expand, 1, 16, "inner width / width (the model's)");
  f.number("dt-rank", o.dt_rank, 0, 16384, "rank of dt; 0: width / 16 rounded up (the model's)");
  f.choice("stem", o.stem, {"patch", "conv"},
           "one matrix per patch, or convolutions (the model's)");
  f.number("stem-width", o.stem_width, 1, 4096, "channels of stem conv at full size (the model's)");
  f.number("stem-depth", o.stem_depth, 0, 100, "residual blocks of stem conv (the model's)");
  f.choice("mixer-conv", o.mixer_conv, {"causal", "2d"},
           "a layer's convolution: along the tokens, or 3 x 3 over their grid (the model's)");
  f.choice("scan-order", o.scan_order, {"row", "alternate"},
           "alternate: every second layer scans column by column (the model's)");
  f.choice("mixer-init", o.mixer_init, {"repaired", "published"},
           "start of the reverse side's dt bias: like the forward side's, or zero");
  f.number("drop", o.drop, 0, 0.999, "dropout after the position embedding");
  f.number("drop-path", o.drop_path, 0, 0.999, "stochastic depth, at the last layer");
  f.flag("model-ema", "--model-ema,!--no-model-ema", o.model_ema,
         "keep an average of the weights (off)");
  f.number("model-ema-decay", o.model_ema_decay, 0, 0.9999999, "of that average, per step");

  f.group("Data");
  f.choice(
      "data-set", o.data_set, {"CIFAR10", "CIFAR100", "IMAGE_FOLDER", "IMNET", "SYNTHETIC"},
      "IMAGE_FOLDER, IMNET: train/CLASS/*.png|jpg|jpeg|bmp and val/CLASS/...; SYNTHETIC: drawn "
      "pictures, no download");
  f.text("data-path", o.data_path,
         "of CIFAR: folder with the binary files, or the official .tar.gz");
  f.number("num_workers", o.num_workers, 0, 1024,
           "threads that read an image folder; 0: all cores");
  f.number("cache-gb", o.cache_gb, 0, 1e6, "decoded pictures of an image folder kept in memory");
  f.flag("pin-mem", "--pin-mem,!--no-pin-mem", o.pin_mem,
         "copy an image folder's batches to the GPU from pinned memory (on)");
  f.number("crop-padding", o.crop_padding, 0, 32, "random crop out of a picture padded so much");
  f.flag("flip", "--flip,!--no-flip", o.flip, "random horizontal flip (on)");
  f.number("smoothing", o.smoothing, 0, 0.999, "label smoothing");
  f.number("mixup", o.mixup, 0, 1000, "alpha of mixup; 0: off");
  f.number("cutmix", o.cutmix, 0, 1000, "alpha of CutMix; 0: off");
  f.number("mixup-prob", o.mixup_prob, 0, 1, "share of batches that are mixed");
  f.number("mixup-switch-prob", o.mixup_switch_prob, 0, 1, "share of CutMix where both are on");

  f.group("Optimiser and schedule");
  f.number("epochs", o.epochs, 1, 1000000, "passes over the training set");
  f.number("batch-size", o.batch_size, 1, 1000000, "pictures in a step");
  f.number("lr", o.lr, 0, 1000, "learning rate at batch 512; scaled by batch / 512");
  f.flag("unscale-lr", "--unscale-lr", o.unscale_lr, "take --lr as it is");
  f.choice("sched", o.sched, {"cosine", "constant"}, "learning rate after the warm-up");
  f.choice("schedule-unit", o.schedule_unit, {"step", "epoch"},
           "when it changes; epoch: as the published recipe runs it");
  f.number("warmup-epochs", o.warmup_epochs, 0, 1000000, "linear warm-up");
  f.number("warmup-lr", o.warmup_lr, 0, 1000, "learning rate at its start");
  f.number("min-lr", o.min_lr, 0, 1000, "learning rate at the end");
  f.number("weight-decay", o.weight_decay, 0, 1000, "of AdamW");
  f.number("opt-eps", o.opt_eps, tiny, 1, "of AdamW");
  f.numbers("opt-betas", o.opt_betas, 2, 0, 0.9999999, "of AdamW");
  f.number("clip-grad", o.clip_grad, 0, huge, "largest norm of the gradient; 0: no limit");

  f.group("Run");
  f.text("output_dir", o.output_dir, "folder of log and checkpoints; without it nothing is saved");
  f.text("resume", o.resume, "checkpoint to go on from, or with --eval to evaluate");
  f.flag("eval", "--eval", o.eval, "evaluate --resume, and leave");
  f.number("seed", o.seed, 0, 9e15, "of all random numbers");
  f.choice("device", o.device, {"auto", "cpu", "cuda"}, "auto: a GPU if there is one");
  f.choice("precision", o.precision, {"auto", "bf16", "tf32", "fp32"},
           "auto: bf16 on a GPU, fp32 on a CPU");
  f.list("kernel", o.kernel, "use this variant of a kernel; may be repeated");
  f.choice("remake", o.remake, {"auto", "on", "off"},
           "run layers again in the backward pass, to keep less; auto: if memory needs it");
  f.flag("eager", "--eager", o.eager, "launch kernels one by one, not as one CUDA graph");
  f.number("max-minutes", o.max_minutes, 0, 1e9, "save and stop after so long; 0: no limit");
  f.number("print-every", o.print_every, 1, 1e9, "steps between lines, where there is no terminal");
}

}  // namespace krait

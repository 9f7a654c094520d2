// The list of train_cifar's options, which the command line, the help, the recipes and the
// checkpoint share.
#pragma once

#include <string>
#include <vector>

#include "apps/train_cifar/options.h"

namespace krait {

using Choices = std::vector<std::string>;

// Every option, told to a visitor: f.group(title), then f.number(name, value, low, high, help),
// f.numbers(name, value, count, low, high, help), f.choice(name, value, allowed, help),
// f.text(name, value, help), f.flag(name, names, value, help).
template <class F>
void model_options(TrainOptions& o, F& f) {
  f.group("Model");
  f.text("model", o.model, "its name; the list is at the end");
  f.number("input-size", o.input_size, 8, 1024, "pictures are scaled to this side (the model's)");
  f.number("patch-size", o.patch_size, 1, 1024, "side of a patch (the model's)");
  f.number("stride", o.stride, 1, 1024, "from patch to patch (the patch size, if that is given)");
  f.number("depth", o.depth, 1, 1000, "layers (the model's)");
  f.number("embed-dim", o.embed_dim, 1, 16384, "width (the model's)");
  f.number("num-heads", o.num_heads, 1, 1024, "heads of a VisionTransformer (the model's)");
  f.choice("global-pool", o.global_pool, {"token", "avg"},
           "what a VisionTransformer's head reads: the class token, or the patches' average (the "
           "model's)");
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
  f.choice("bimamba-type", o.bimamba_type, {"none", "v1", "v2"},
           "none: one direction; v1, v2: both, see models/vim/README.md (the model's)");
  f.choice("mixer-init", o.mixer_init, {"repaired", "published", "seed"},
           "published: the reverse side's dt bias starts at zero; seed: as the published CIFAR "
           "project, which forgets how dt should start; repaired: neither");
  f.number("drop", o.drop, 0, 0.999, "dropout after the position embedding");
  f.number("drop-path", o.drop_path, 0, 0.999, "stochastic depth, at the last layer");
  f.flag("model-ema", "--model-ema,!--no-model-ema", o.model_ema,
         "keep an average of the weights, and evaluate it too (off)");
  f.number("model-ema-decay", o.model_ema_decay, 0, 0.9999999, "of that average, per step");
  f.flag("model-ema-warmup", "--model-ema-warmup,!--no-model-ema-warmup", o.model_ema_warmup,
         "at most (1 + step) / (10 + step), for short runs (off)");
  f.choice("result", o.result, {"model", "ema"},
           "whose test accuracy chooses best_checkpoint and is the run's result");
}

template <class F>
void finetune_options(TrainOptions& o, F& f) {
  f.group("Fine-tuning");
  f.text("finetune", o.finetune,
         "checkpoint to start from, ours or of PyTorch; its model is taken unless --model is "
         "given. A head for other classes is new, position embeddings are resized");
  f.choice("weights", o.weights, {"model", "ema"},
           "which of the weights in --finetune's file, or with --eval in --resume's");
  f.choice("pos-embed-resize", o.pos_embed_resize, {"grid", "published"},
           "published: as the published code does it, which takes the first position for the "
           "class token's wherever that stands");
  f.flag("resample-patches", "--resample-patches", o.resample_patches,
         "convert the weights of patches of another size");
  f.list("freeze", o.freeze, "PATTERN",
         "parameters that are not trained, as 'layers.*'; may be repeated, or have commas");
  f.flag("linear-probe", "--linear-probe", o.linear_probe, "train nothing but the head");
  f.number("layer-decay", o.layer_decay, 0.1, 1,
           "each layer learns so much more slowly than the one above it");
}

template <class F>
void data_options(TrainOptions& o, F& f) {
  f.group("Data");
  f.choice(
      "data-set", o.data_set, {"CIFAR10", "CIFAR100", "IMAGE_FOLDER", "IMNET", "SYNTHETIC"},
      "IMAGE_FOLDER, IMNET: train/CLASS/*.png|jpg|jpeg|bmp and val/CLASS/...; SYNTHETIC: drawn "
      "pictures, no download");
  f.text("data-path", o.data_path,
         "of CIFAR: folder with the binary files, or the official .tar.gz");
  f.text("classes", o.classes, "only these, as airplane,cat,ship: labels 0, 1, 2 (all)");
  f.number("train-fraction", o.train_fraction, 1e-6, 1,
           "share of each class's training pictures, always the same ones");
  f.number("num_workers", o.num_workers, 0, 1024,
           "threads that read an image folder; 0: all cores");
  f.number("cache-gb", o.cache_gb, 0, 1e6, "decoded pictures of an image folder kept in memory");
  f.flag("pin-mem", "--pin-mem,!--no-pin-mem", o.pin_mem,
         "copy an image folder's batches to the GPU from pinned memory (on)");
  f.choice("normalize", o.normalize, {"dataset", "half", "imagenet"},
           "mean and deviation that pixels are normalised with; half: 0.5 and 0.5");
  f.numbers("mean", o.mean, 3, -10, 10, "of pixels in 0 .. 1, red green blue, instead");
  f.numbers("std", o.stddev, 3, 1e-6, 10, "the same");
  f.choice("crop", o.crop, {"auto", "none", "padded", "resized", "simple", "published"},
           "of a training picture. padded: a window of the padded picture; resized: "
           "RandomResizedCrop; simple: scaled, then a window with 4 reflected pixels; published: "
           "scaled up, then 32 x 32 of it, as the published CIFAR project does; auto: padded, or "
           "resized out of an image folder");
  f.number("crop-padding", o.crop_padding, 0, 32, "padded: so many pixels on each side");
  f.choice("pad-mode", o.pad_mode, {"mean", "zero", "reflect"}, "padded: with what");
  f.numbers("scale", o.scale, 2, 0.001, 1, "resized: share of the area");
  f.numbers("ratio", o.ratio, 2, 0.01, 100, "resized: width / height");
  f.choice("train-interpolation", o.train_interpolation, {"auto", "bilinear", "bicubic", "random"},
           "of scaling; random: one of the two (tests: bicubic); auto: bilinear, or bicubic out of "
           "an image folder");
  f.flag("flip", "--flip,!--no-flip", o.flip, "random horizontal flip (on)");
  f.flag("repeated-aug", "--repeated-aug,!--no-repeated-aug", o.repeated_aug,
         "each picture three times in a row, a third of them in an epoch (off)");
  f.number("eval-crop-ratio", o.eval_crop_ratio, 0.1, 1,
           "test pictures: scaled to input size / ratio, then the middle (1, or 0.875 out of an "
           "image folder)");
}

template <class F>
void augment_options(TrainOptions& o, F& f) {
  f.group("Augmentation");
  f.text("aa", o.aa,
         "none; RandAugment, as rand-m9-mstd0.5-inc1; AutoAugment: cifar10, v0, original");
  f.flag("ThreeAugment", "--ThreeAugment", o.three_augment,
         "grayscale, solarize or blur; --crop, --src and --color-jitter go with it");
  f.flag("src", "--src", o.src, "with --ThreeAugment: the same as --crop simple");
  f.number("color-jitter", o.color_jitter, 0, 1, "brightness, contrast, saturation; 0: off");
  f.number("reprob", o.reprob, 0, 1, "random erasing: share of pictures");
  f.choice("remode", o.remode, {"pixel", "rand", "const"},
           "erased with noise, one colour, or zero");
  f.number("recount", o.recount, 1, 100, "boxes erased, at most");
  f.number("smoothing", o.smoothing, 0, 0.999, "label smoothing");
  f.number("mixup", o.mixup, 0, 1000, "alpha of mixup; 0: off");
  f.number("cutmix", o.cutmix, 0, 1000, "alpha of CutMix; 0: off");
  f.numbers("cutmix-minmax", o.cutmix_minmax, 2, 0, 1,
            "sides of CutMix's boxes, in sides of the picture, instead of alpha");
  f.number("mixup-prob", o.mixup_prob, 0, 1, "share of batches that are mixed");
  f.number("mixup-switch-prob", o.mixup_switch_prob, 0, 1, "share of CutMix where both are on");
  f.choice("mixup-mode", o.mixup_mode, {"batch", "pair", "elem"}, "what shares a draw of mixing");
  f.number("mixup-off-epoch", o.mixup_off_epoch, 0, 1000000,
           "without mixing after so many epochs; 0: never");
  f.number("aa-off-epoch", o.aa_off_epoch, 0, 1000000,
           "without --aa, --ThreeAugment and --color-jitter after so many epochs; 0: never");
}

template <class F>
void loss_options(TrainOptions& o, F& f) {
  f.group("Loss");
  f.flag("bce-loss", "--bce-loss", o.bce_loss,
         "binary cross-entropy; targets above 0 become 1, so it needs --smoothing 0");
  f.flag("cosub", "--cosub", o.cosub,
         "the batch twice: two draws of drop path that learn from each other, with "
         "binary cross-entropy");
  f.text("teacher-path", o.teacher_path, "checkpoint of a model to learn from");
  f.choice("distillation-type", o.distillation_type, {"none", "soft", "hard"},
           "from the teacher's softened answer, or from its first choice");
  f.number("distillation-alpha", o.distillation_alpha, 0, 1, "share of that in the loss");
  f.number("distillation-tau", o.distillation_tau, 0.01, 1000, "temperature of soft distillation");
  f.flag("train-mode", "--train-mode,!--no-train-mode", o.train_mode,
         "--no-train-mode: no dropout or drop path while training (on)");
}

template <class F>
void optimiser_options(TrainOptions& o, F& f) {
  const double tiny = 1e-300, huge = 1e300;
  f.group("Optimiser and schedule");
  f.number("epochs", o.epochs, 1, 1000000, "passes over the training set");
  f.number("batch-size", o.batch_size, 1, 1000000, "pictures in a step of each process");
  f.number("accumulate", o.accumulate, 1, 1000000,
           "a step's batch in so many parts, each with draws of its own, to need less memory");
  f.choice("opt", o.opt, {"adamw", "adam", "sgd", "nesterov", "momentum"},
           "sgd is nesterov, as timm has it; momentum: without looking ahead");
  f.number("lr", o.lr, 0, 1000, "learning rate at batch 512; scaled by batch x processes / 512");
  f.flag("unscale-lr", "--unscale-lr", o.unscale_lr, "take --lr as it is");
  f.choice("sched", o.sched, {"cosine", "linear", "tanh", "step", "constant"},
           "learning rate after the warm-up");
  f.choice("schedule-unit", o.schedule_unit, {"step", "epoch"},
           "when it changes; epoch: as the published recipe runs it");
  f.number("warmup-epochs", o.warmup_epochs, 0, 1000000, "linear warm-up");
  f.number("warmup-lr", o.warmup_lr, 0, 1000, "learning rate at its start");
  f.number("min-lr", o.min_lr, 0, 1000, "learning rate at the end");
  f.number("decay-epochs", o.decay_epochs, 1e-6, 1000000, "--sched step: from step to step");
  f.number("decay-rate", o.decay_rate, 0, 1, "--sched step: what a step multiplies by");
  f.number("weight-decay", o.weight_decay, 0, 1000, "adamw: decoupled; others: in the gradient");
  f.number("momentum", o.momentum, 0, 0.9999999, "of sgd");
  f.number("opt-eps", o.opt_eps, tiny, 1, "of adamw and adam");
  f.numbers("opt-betas", o.opt_betas, 2, 0, 0.9999999, "of adamw and adam");
  f.number("clip-grad", o.clip_grad, 0, huge, "largest norm of the gradient; 0: no limit");
  f.flag("if_continue_inf", "--if_continue_inf,!--no_continue_inf", o.if_continue_inf,
         "skip a step whose loss or gradient is not finite, instead of stopping (off)");
}

template <class F>
void run_options(TrainOptions& o, F& f) {
  f.group("Run");
  f.text("recipe", o.recipe, "options from a recipe (listed at the end) or a .toml file");
  f.text("output_dir", o.output_dir, "folder of log and checkpoints; without it nothing is saved");
  f.text("resume", o.resume, "checkpoint to go on from, or with --eval to evaluate");
  f.flag("eval", "--eval", o.eval, "evaluate --resume, and leave");
  f.number("eval-every", o.eval_every, 1, 1000000, "epochs between evaluations; also the last");
  f.number("target-acc1", o.target_acc1, 0, 100,
           "stop when the model or its average reaches it, and say how long it took");
  f.number("seed", o.seed, 0, 9e15, "of all random numbers");
  f.choice("device", o.device, {"auto", "cpu", "cuda"}, "auto: a GPU if there is one");
  f.choice("precision", o.precision, {"auto", "bf16", "tf32", "fp32"},
           "auto: bf16 on a GPU, fp32 on a CPU");
  f.list("kernel", o.kernel, "NAME=VARIANT", "use this variant of a kernel; may be repeated");
  f.choice("remake", o.remake, {"auto", "on", "off"},
           "run layers again in the backward pass, to keep less; auto: if memory needs it");
  f.number("world_size", o.world_size, 1, 1 << 20,
           "processes that train together; mpirun, srun or torchrun says it, and a number given "
           "here must agree");
  f.number("bucket-mb", o.bucket_mb, 0.001, 4096,
           "MB of gradients that several processes add up at once, while the backward pass runs");
  f.flag("eager", "--eager", o.eager,
         "launch kernels one by one, on one stream, not as a CUDA graph");
  f.number("max-minutes", o.max_minutes, 0, 1e9, "save and stop after so long; 0: no limit");
  f.number("print-every", o.print_every, 1, 1e9, "steps between lines, where there is no terminal");
}

template <class F>
void each_option(TrainOptions& o, F&& f) {
  model_options(o, f);
  finetune_options(o, f);
  data_options(o, f);
  augment_options(o, f);
  loss_options(o, f);
  optimiser_options(o, f);
  run_options(o, f);
}

}  // namespace krait

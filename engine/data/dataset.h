// Labelled pictures in memory, and their place on the device.
#pragma once

#include <string>
#include <vector>

#include "engine/context.h"
#include "engine/data/batch_source.h"
#include "kernels/augment/choices.h"

namespace krait {

struct Dataset {
  std::string name;  // "CIFAR10", "CIFAR100", "SYNTHETIC"
  int classes = 10, channels = 3, height = 32, width = 32;
  std::vector<std::string> class_names;
  std::vector<uint8_t> images;  // (count, channels, height, width)
  std::vector<int32_t> labels;
  std::vector<std::string> files = {};     // instead of images: where they are (image folders)
  std::array<double, 3> mean{}, stddev{};  // of the training set's channels, pixels in [0, 1]
  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

// `path`: a folder with the binary files (or with cifar-10-batches-bin/ in it), or the official
// cifar-10-binary.tar.gz. InputError says which files were looked for and how to get them, or which
// file is cut off or has a label that is too large.
Dataset load_cifar10(const std::string& path, bool train);
Dataset load_cifar100(const std::string& path, bool train);  // fine labels
// The same without pictures and labels: classes, mean, stddev.
Dataset describe_cifar10();
Dataset describe_cifar100();
// Ten classes of drawn pictures (discs, squares, stripes, ...) with random place, size, colours and
// noise: lets everything run with no download. Deterministic.
Dataset synthetic(bool train, int64_t count);

// How pictures of a batch are mixed: timm's Mixup. Picture i's partner is picture B-1-i.
struct MixOptions {
  double mixup = 0, cutmix = 0;   // alpha of Beta(alpha, alpha), which lambda is drawn from; 0: off
  double prob = 1;                // how often a batch, pair or picture is mixed
  double switch_prob = 0.5;       // how often that is CutMix, where both are on
  MixMode mode = MixMode::batch;  // one lambda and box for a batch, a pair, or each picture
  // CutMix boxes with sides in [low, high) x the picture's side; {0, 0}: sqrt(1 - lambda) x side.
  std::array<double, 2> cutmix_minmax{};
  bool cuts() const { return cutmix > 0 || cutmix_minmax[1] > 0; }
  bool any() const { return mixup > 0 || cuts(); }
};

// timm's RandomErasing, on the normalised picture: boxes of 2 to 33 % of the area, shape
// log-uniform in 0.3 .. 3.3.
struct EraseOptions {
  double prob = 0;
  EraseMode mode = EraseMode::pixel;  // pixel: N(0, 1) for each; rand: one colour; constant: 0
  int count = 1;                      // 1 .. count boxes, which share the area
};

// How a batch is made from the data set, on the device, from (seed, step). The order: crop and
// scale, flip, operations (auto_augment, three_augment, color_jitter), normalise, erase, mix.
struct AugmentOptions {
  int size = 32;  // of the pictures made: size x size
  Crop crop = Crop::padded;
  int crop_padding = 4;                     // padded: so many pixels around the picture; 0: no crop
  Pad pad = Pad::mean;                      // padded: their colour. mean: round(255 mean)
  double scale_low = 0.08, scale_high = 1;  // resized: share of the picture's area
  double ratio_low = 3 / 4.0, ratio_high = 4 / 3.0;  // resized: width / height
  double crop_ratio = 0.875;                         // central
  // Of scaling, as Pillow does it. random: one of the two for each picture.
  Interpolation interpolation = Interpolation::bilinear;
  bool flip = true;  // mirror half of the pictures
  // "": none; timm's "rand-m9-mstd0.5-inc1" and so on; AutoAugment's "cifar10", "v0", "v0r",
  // "original", "originalr" (with "-mstd0.5" if wanted).
  std::string auto_augment = {};
  bool three_augment = false;  // grayscale, solarize or blur, one of them for each picture
  double color_jitter = 0;     // brightness, contrast, saturation: factors in 1 - v .. 1 + v
  std::array<double, 3> mean{}, stddev{};
  EraseOptions erase = {};
  double smoothing = 0;    // label smoothing: s/C everywhere, 1 - s + s/C at the label
  bool mix = false;        // mixup or CutMix: in mode batch as StepState says, see draw_mix
  MixOptions mixing = {};  // for the modes pair and elem, which are drawn on the device
};

// InputError with one line that names the option, if something is out of range or not there.
void check_augment(const AugmentOptions& options);
// Values by the names of the command line. InputError names the known ones.
Crop crop_named(const std::string& name);  // none padded resized simple published central
Pad pad_named(const std::string& name);    // mean zero reflect
Interpolation interpolation_named(const std::string& name);  // bilinear bicubic random
EraseMode erase_mode_named(const std::string& name);         // pixel rand const
MixMode mix_mode_named(const std::string& name);             // batch pair elem

// A data set in device memory, with the order its pictures are taken in.
class DeviceDataset : public BatchSource {
 public:
  DeviceDataset(Context& ctx, const Dataset& data);
  // Room for `slots` pictures of side x side; picture j of an epoch is in slot slot_of[j], where
  // someone else puts it: pictures() and labels().
  DeviceDataset(Context& ctx, int classes, int64_t slots, int side,
                const std::vector<int32_t>& slot_of);
  int64_t count() const override { return count_; }
  int classes() const override { return classes_; }
  const Tensor& pictures() const { return images_; }  // (count or slots, channels, H, W) u8
  const Tensor& labels() const { return labels_; }    // (count or slots) i32
  void shuffle(Context& ctx, uint64_t seed, uint64_t epoch, int repeats = 1) override;
  void in_order(Context& ctx) override;
  Batch batch(Context& ctx, int64_t B, const AugmentOptions& augment, bool train,
              DType dtype) const override;

 private:
  Tensor images_, labels_, order_;
  int64_t count_;
  int classes_, height_, width_;
};

// Chooses the batch's mixing for step `state.step`, in mode "batch": with probability `prob`,
// CutMix with probability `switch_prob` (when both are on), lambda ~ Beta(alpha, alpha). Nothing in
// the other modes. Runs on the host, so that CPU and GPU mix alike. `size`: side of the pictures.
void draw_mix(StepState& state, const MixOptions& options, int size);

}  // namespace krait

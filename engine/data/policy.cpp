// Reads "rand-m9-mstd0.5-inc1" and the names of AutoAugment's policies: timm's rules
// (timm/data/auto_augment.py) and tables.
#include "engine/data/policy.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace krait {
namespace {

using Step = OperationRules::Step;
using Row = std::array<Step, 2>;

// ImageNet, of TPU EfficientNet; `v0r` posterizes more as the level rises.
constexpr Row policy_v0[] = {
    {{{Rule::equalize, .8, 1}, {Rule::shear_y, .8, 4}}},
    {{{Rule::color, .4, 9}, {Rule::equalize, .6, 3}}},
    {{{Rule::color, .4, 1}, {Rule::rotate, .6, 8}}},
    {{{Rule::solarize, .8, 3}, {Rule::equalize, .4, 7}}},
    {{{Rule::solarize, .4, 2}, {Rule::solarize, .6, 2}}},
    {{{Rule::color, .2, 0}, {Rule::equalize, .8, 8}}},
    {{{Rule::equalize, .4, 8}, {Rule::solarize_add, .8, 3}}},
    {{{Rule::shear_x, .2, 9}, {Rule::rotate, .6, 8}}},
    {{{Rule::color, .6, 1}, {Rule::equalize, 1, 2}}},
    {{{Rule::invert, .4, 9}, {Rule::rotate, .6, 0}}},
    {{{Rule::equalize, 1, 9}, {Rule::shear_y, .6, 3}}},
    {{{Rule::color, .4, 7}, {Rule::equalize, .6, 0}}},
    {{{Rule::posterize, .4, 6}, {Rule::auto_contrast, .4, 7}}},
    {{{Rule::solarize, .6, 8}, {Rule::color, .6, 9}}},
    {{{Rule::solarize, .2, 4}, {Rule::rotate, .8, 9}}},
    {{{Rule::rotate, 1, 7}, {Rule::translate_y, .8, 9}}},
    {{{Rule::shear_x, 0, 0}, {Rule::solarize, .8, 4}}},
    {{{Rule::shear_y, .8, 0}, {Rule::color, .6, 4}}},
    {{{Rule::color, 1, 0}, {Rule::rotate, .6, 2}}},
    {{{Rule::equalize, .8, 4}, {Rule::equalize, 0, 8}}},
    {{{Rule::equalize, 1, 4}, {Rule::auto_contrast, .6, 2}}},
    {{{Rule::shear_y, .4, 7}, {Rule::solarize_add, .6, 7}}},
    {{{Rule::posterize, .8, 2}, {Rule::solarize, .6, 10}}},
    {{{Rule::solarize, .6, 8}, {Rule::equalize, .6, 1}}},
    {{{Rule::color, .8, 6}, {Rule::rotate, .4, 5}}},
};
// ImageNet, of the paper (Cubuk et al. 2019).
constexpr Row policy_original[] = {
    {{{Rule::posterize_original, .4, 8}, {Rule::rotate, .6, 9}}},
    {{{Rule::solarize, .6, 5}, {Rule::auto_contrast, .6, 5}}},
    {{{Rule::equalize, .8, 8}, {Rule::equalize, .6, 3}}},
    {{{Rule::posterize_original, .6, 7}, {Rule::posterize_original, .6, 6}}},
    {{{Rule::equalize, .4, 7}, {Rule::solarize, .2, 4}}},
    {{{Rule::equalize, .4, 4}, {Rule::rotate, .8, 8}}},
    {{{Rule::solarize, .6, 3}, {Rule::equalize, .6, 7}}},
    {{{Rule::posterize_original, .8, 5}, {Rule::equalize, 1, 2}}},
    {{{Rule::rotate, .2, 3}, {Rule::solarize, .6, 8}}},
    {{{Rule::equalize, .6, 8}, {Rule::posterize_original, .4, 6}}},
    {{{Rule::rotate, .8, 8}, {Rule::color, .4, 0}}},
    {{{Rule::rotate, .4, 9}, {Rule::equalize, .6, 2}}},
    {{{Rule::equalize, 0, 7}, {Rule::equalize, .8, 8}}},
    {{{Rule::invert, .6, 4}, {Rule::equalize, 1, 8}}},
    {{{Rule::color, .6, 4}, {Rule::contrast, 1, 8}}},
    {{{Rule::rotate, .8, 8}, {Rule::color, 1, 2}}},
    {{{Rule::color, .8, 8}, {Rule::solarize, .8, 7}}},
    {{{Rule::sharpness, .4, 7}, {Rule::invert, .6, 8}}},
    {{{Rule::shear_x, .6, 5}, {Rule::equalize, 1, 9}}},
    {{{Rule::color, .4, 0}, {Rule::equalize, .6, 3}}},
    {{{Rule::equalize, .4, 7}, {Rule::solarize, .2, 4}}},
    {{{Rule::solarize, .6, 5}, {Rule::auto_contrast, .6, 5}}},
    {{{Rule::invert, .6, 4}, {Rule::equalize, 1, 8}}},
    {{{Rule::color, .6, 4}, {Rule::contrast, 1, 8}}},
    {{{Rule::equalize, .8, 8}, {Rule::equalize, .6, 3}}},
};
// CIFAR-10, of the same paper. Levels 0 .. 9, as published; with torchvision's ranges.
constexpr Row policy_cifar10[] = {
    {{{Rule::invert, .1, 7}, {Rule::contrast_increasing, .2, 6}}},
    {{{Rule::rotate, .7, 2}, {Rule::translate_x, .3, 9}}},
    {{{Rule::sharpness_increasing, .8, 1}, {Rule::sharpness_increasing, .9, 3}}},
    {{{Rule::shear_y, .5, 8}, {Rule::translate_y, .7, 9}}},
    {{{Rule::auto_contrast, .5, 8}, {Rule::equalize, .9, 2}}},
    {{{Rule::shear_y, .2, 7}, {Rule::posterize_cubuk, .3, 7}}},
    {{{Rule::color_increasing, .4, 3}, {Rule::brightness_increasing, .6, 7}}},
    {{{Rule::sharpness_increasing, .3, 9}, {Rule::brightness_increasing, .7, 9}}},
    {{{Rule::equalize, .6, 5}, {Rule::equalize, .5, 1}}},
    {{{Rule::contrast_increasing, .6, 7}, {Rule::sharpness_increasing, .6, 5}}},
    {{{Rule::color_increasing, .7, 7}, {Rule::translate_x, .5, 8}}},
    {{{Rule::equalize, .3, 7}, {Rule::auto_contrast, .4, 8}}},
    {{{Rule::translate_y, .4, 3}, {Rule::sharpness_increasing, .2, 6}}},
    {{{Rule::brightness_increasing, .9, 6}, {Rule::color_increasing, .2, 8}}},
    {{{Rule::solarize_cubuk, .5, 2}, {Rule::invert, 0, 3}}},
    {{{Rule::equalize, .2, 0}, {Rule::auto_contrast, .6, 0}}},
    {{{Rule::equalize, .2, 8}, {Rule::equalize, .6, 4}}},
    {{{Rule::color_increasing, .9, 9}, {Rule::equalize, .6, 6}}},
    {{{Rule::auto_contrast, .8, 4}, {Rule::solarize_cubuk, .2, 8}}},
    {{{Rule::brightness_increasing, .1, 3}, {Rule::color_increasing, .7, 0}}},
    {{{Rule::solarize_cubuk, .4, 5}, {Rule::auto_contrast, .9, 3}}},
    {{{Rule::translate_y, .9, 9}, {Rule::translate_y, .7, 9}}},
    {{{Rule::auto_contrast, .9, 2}, {Rule::solarize_cubuk, .8, 3}}},
    {{{Rule::equalize, .8, 8}, {Rule::invert, .1, 3}}},
    {{{Rule::translate_y, .7, 9}, {Rule::auto_contrast, .9, 1}}},
};

constexpr Rule plain[] = {Rule::auto_contrast, Rule::equalize,    Rule::invert,       Rule::rotate,
                          Rule::posterize,     Rule::solarize,    Rule::solarize_add, Rule::color,
                          Rule::contrast,      Rule::brightness,  Rule::sharpness,    Rule::shear_x,
                          Rule::shear_y,       Rule::translate_x, Rule::translate_y};
constexpr Rule increasing[] = {Rule::auto_contrast,
                               Rule::equalize,
                               Rule::invert,
                               Rule::rotate,
                               Rule::posterize_increasing,
                               Rule::solarize_increasing,
                               Rule::solarize_add,
                               Rule::color_increasing,
                               Rule::contrast_increasing,
                               Rule::brightness_increasing,
                               Rule::sharpness_increasing,
                               Rule::shear_x,
                               Rule::shear_y,
                               Rule::translate_x,
                               Rule::translate_y};

// "mstd0.5" -> "mstd", 0.5
struct Section {
  std::string key;
  double value;
};
std::vector<Section> sections(const std::string& name, size_t from) {
  std::vector<Section> all;
  while (from < name.size()) {
    const size_t end = std::min(name.find('-', from + 1), name.size());
    const std::string text = name.substr(from + 1, end - from - 1);
    const size_t digit = std::min(text.find_first_of("0123456789"), text.size());
    Section s{text.substr(0, digit), 0};
    if (text == "mstdinf") {
      s = {"mstd", std::numeric_limits<double>::infinity()};
    } else {
      const char* last = text.data() + text.size();
      const auto [stop, error] = std::from_chars(text.data() + digit, last, s.value);
      KRAIT_INPUT(text[0] != 't', "auto augmentation \"", name, "\": the sets of operations of \"",
                  text, "\" are not there, only timm's usual ones (inc0 and inc1)");
      KRAIT_INPUT(error == std::errc() && stop == last, "auto augmentation \"", name, "\": \"",
                  text, "\" is not a letter and a number");
    }
    all.push_back(s);
    from = end;
  }
  return all;
}

int whole(const std::string& name, const Section& s, int least, int most) {
  KRAIT_INPUT(s.value >= least && s.value <= most && s.value == std::floor(s.value),
              "auto augmentation \"", name, "\": ", s.key, " is a whole number from ", least,
              " to ", most);
  return static_cast<int>(s.value);
}

void read_rand(OperationRules& r, const std::string& name) {
  r.layers = 2;
  r.level = 10;
  r.probability = 0.5;
  bool inc = false;
  for (const Section& s : sections(name, 4)) {
    if (s.key == "m")
      r.level = whole(name, s, 0, 100);
    else if (s.key == "n")
      r.layers = whole(name, s, 1, 4);
    else if (s.key == "p")
      r.probability = s.value;
    else if (s.key == "mstd")
      r.deviation = s.value > 100 ? std::numeric_limits<double>::infinity() : s.value;
    else if (s.key == "mmax")
      r.limit = whole(name, s, 1, 100);
    else if (s.key == "inc")
      inc = whole(name, s, 0, 1) != 0;
    else
      throw InputError(cat("auto augmentation \"", name,
                           "\": timm knows m, n, p, mstd, mmax and "
                           "inc there, not \"",
                           s.key, "\"", s.key == "w" ? " any more" : ""));
  }
  KRAIT_INPUT(r.probability <= 1, "auto augmentation \"", name, "\": p is at most 1");
  r.choices = 15;
  std::copy_n(inc ? increasing : plain, r.choices, r.choice);
}

void read_policy(OperationRules& r, const std::string& name) {
  const size_t end = std::min(name.find('-'), name.size());
  const std::string policy = name.substr(0, end);
  const bool cifar = policy == "cifar10";
  const bool more = policy == "v0r" || policy == "originalr";
  const Row* rows = cifar                                           ? policy_cifar10
                    : policy == "v0" || policy == "v0r"             ? policy_v0
                    : policy == "original" || policy == "originalr" ? policy_original
                                                                    : nullptr;
  KRAIT_INPUT(policy.rfind("augmix", 0) != 0,
              "AugMix is not there: it mixes several chains of operations, in f32, and this "
              "program keeps one picture of bytes (use rand-... or cifar10)");
  KRAIT_INPUT(rows, "unknown auto augmentation \"", name,
              "\" (there are rand-..., cifar10, v0, v0r, original, originalr)");
  for (const Section& s : sections(name, end)) {
    KRAIT_INPUT(s.key == "mstd", "auto augmentation \"", name, "\": only mstd can follow");
    r.deviation = s.value;
  }
  r.policies = 25;
  for (int k = 0; k < r.policies; ++k)
    for (int n = 0; n < 2; ++n) {
      Step& s = r.policy[k][n] = rows[k][n];
      if (cifar) s.level *= 10.0f / 9;
      if (more && (s.rule == Rule::posterize || s.rule == Rule::posterize_original))
        s.rule = Rule::posterize_increasing;
    }
  if (cifar) r.translate = 150.0 / 331;
}

}  // namespace

OperationRules operation_rules(const AugmentOptions& o) {
  OperationRules r{};
  r.limit = 10;
  r.translate = 0.45;
  r.three_augment = o.three_augment;
  r.color_jitter = o.color_jitter;
  if (o.auto_augment.rfind("rand", 0) == 0)
    read_rand(r, o.auto_augment);
  else if (!o.auto_augment.empty())
    read_policy(r, o.auto_augment);
  return r;
}

}  // namespace krait

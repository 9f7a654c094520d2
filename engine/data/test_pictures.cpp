// TestPictures as JSON, in a checkpoint's metadata.
#include "engine/data/test_pictures.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace krait {

using nlohmann::ordered_json;

std::string to_json(const TestPictures& p) {
  return ordered_json{
      {"class_names", p.class_names},
      {"input_size", p.how.size},
      {"crop_ratio", p.how.crop == Crop::central ? p.how.crop_ratio : 1.0},
      {"interpolation", p.how.interpolation == Interpolation::bicubic ? "bicubic" : "bilinear"},
      {"mean", p.how.mean},
      {"std", p.how.stddev}}
      .dump(-1, ' ', false, ordered_json::error_handler_t::replace);  // names may be any bytes
}

TestPictures test_pictures_from_json(const std::string& text, const std::string& file) {
  TestPictures p;
  AugmentOptions& a = p.how;
  a.crop_padding = 0;
  a.flip = false;
  try {
    const auto j = nlohmann::json::parse(text);
    p.class_names = j.at("class_names").get<std::vector<std::string>>();
    a.size = j.at("input_size");
    a.crop_ratio = j.at("crop_ratio");
    a.interpolation = interpolation_named(j.at("interpolation"));
    a.mean = j.at("mean").get<std::array<double, 3>>();
    a.stddev = j.at("std").get<std::array<double, 3>>();
    if (a.crop_ratio < 1) a.crop = Crop::central;
    check_augment(a);
    KRAIT_INPUT(a.interpolation != Interpolation::random, "a random interpolation");
    for (int c = 0; c < 3; ++c)
      KRAIT_INPUT(std::isfinite(a.mean[c]) && std::isfinite(a.stddev[c]) && a.stddev[c] > 0,
                  "a mean of ", a.mean[c], " and a standard deviation of ", a.stddev[c]);
  } catch (const nlohmann::json::exception&) {
    throw InputError(cat(file, ": is damaged: how pictures are prepared cannot be read"));
  } catch (const InputError& e) {
    throw InputError(cat(file, ": is damaged: how pictures are prepared: ", e.what()));
  }
  return p;
}

}  // namespace krait

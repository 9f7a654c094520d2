// The names of all kernels and variants, taken from their cases.
#include "engine/kernel_choice.h"

#include <algorithm>
#include <map>

#include "engine/nearest.h"
#include "kernels/common/case.h"

namespace krait {
namespace {

using Names = std::vector<std::string>;

std::map<std::string, Names> find_kernels() {  // kernel -> variants
  std::map<std::string, Names> known;
  for (const auto& c : all_cases()) {
    Names& variants = known[c->kernel()];
    if (variants.empty())
      for (int v = 0; v < c->variant_count(); ++v) variants.push_back(c->variant_name(v));
  }
  return known;
}

std::pair<std::string, std::string> parse(const std::string& text,
                                          const std::map<std::string, Names>& known) {
  const size_t at = text.find('=');
  KRAIT_INPUT(at != std::string::npos, "--kernel is '", text, "'; it must be NAME=VARIANT");
  const std::string name = text.substr(0, at), variant = text.substr(at + 1);
  const auto found = known.find(name);
  if (found == known.end()) {
    Names names;
    for (const auto& [kernel, variants] : known) names.push_back(kernel);
    throw InputError(cat("--kernel: there is no kernel '", name,
                         "'. The nearest names: ", nearest(name, names)));
  }
  const Names& variants = found->second;
  KRAIT_INPUT(std::find(variants.begin(), variants.end(), variant) != variants.end(),
              "--kernel: ", name, " has no variant '", variant,
              "'. It has: ", nearest(variant, variants, variants.size()));
  return {name, variant};
}

}  // namespace

std::vector<std::pair<std::string, std::string>> parse_kernel_choices(
    const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, std::string>> choices;
  if (texts.empty()) return choices;
  const auto known = find_kernels();
  for (const std::string& text : texts) choices.push_back(parse(text, known));
  return choices;
}

}  // namespace krait

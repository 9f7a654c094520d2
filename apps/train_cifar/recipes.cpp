// Reads recipes, with CLI11's TOML reader.
#include "apps/train_cifar/recipes.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <sstream>

#include "engine/nearest.h"
#include "kernels/common/error.h"

namespace krait {

// Made by CMake out of recipes/*.toml: name and text.
extern const std::vector<std::pair<std::string, std::string>> embedded_recipes;

namespace {

std::string first_line(const std::string& text) {
  const std::string line = text.substr(0, text.find('\n'));
  return line.starts_with("# ") ? line.substr(2) : line;
}

std::string text_of(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, text] : embedded_recipes) {
    if (name == known) return text;
    names.push_back(known);
  }
  std::ifstream file(name);
  std::stringstream text;
  text << file.rdbuf();
  KRAIT_INPUT(file && !text.fail(), "--recipe: there is no recipe and no file '", name,
              "'. The nearest names: ", nearest(name, names));
  return text.str();
}

}  // namespace

Recipe read_recipe(const std::string& name) {
  Recipe recipe;
  std::istringstream text(text_of(name));
  const bool path = name.find_first_of("./") != std::string::npos;
  recipe.file = path ? name : "recipe " + name;
  int number = 0;
  // The reader knows no line numbers, so it is given one line at a time: a value is on one line.
  for (std::string line; std::getline(text, line);) {
    ++number;
    std::istringstream one(line);
    const auto items = CLI::ConfigTOML().from_config(one);
    const size_t start = line.find_first_not_of(" \t\r");
    const bool empty = start == std::string::npos || line[start] == '#';
    const bool pair = items.size() == 1 && items[0].parents.empty() && line.find('=') != line.npos;
    KRAIT_INPUT(empty || pair, recipe.file, ", line ", number, ": '", line,
                "' is not 'key = value'");
    if (!empty) recipe.lines.push_back({number, items[0].name, items[0].inputs});
  }
  return recipe;
}

std::string recipes_help() {
  std::string s = "\nRecipes (--recipe NAME or a file; other options override it):\n";
  for (const auto& [name, text] : embedded_recipes) s += "  " + first_line(text) + "\n";
  return s;
}

}  // namespace krait

// Recipes: files of options, `--recipe NAME`. Those of recipes/ are part of the program.
#pragma once

#include <string>
#include <vector>

namespace krait {

// A line "key = value" of a recipe. A flag's value is "true" or "false".
struct RecipeLine {
  int line = 0;  // from 1
  std::string key;
  std::vector<std::string> values;
};
struct Recipe {
  std::string file;  // as in messages: "recipe fast", or the path
  std::vector<RecipeLine> lines;
};

// `name`: one of the program's recipes, or the path of a file. InputError if there is neither, or a
// line is not "key = value" of TOML.
Recipe read_recipe(const std::string& name);
// Name and first line of each of the program's recipes, for the help.
std::string recipes_help();

}  // namespace krait

// Every reference to code in the project's texts (.md): links and their anchors, paths, names in
// files (`path: name`, or a link whose text is code), names in backticks, options of the programs.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

bool ends_with(const std::string& s, const std::string& end) {
  return s.size() >= end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0;
}
std::string contents(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}
std::string output_of(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe);
  std::string text;
  char part[4096];
  while (size_t n = fread(part, 1, sizeof part, pipe)) text.append(part, n);
  pclose(pipe);
  return text;
}
Strings all_matches(const std::string& text, const char* pattern, int group = 0) {
  const std::regex regex(pattern);
  Strings found;
  for (std::sregex_iterator i(text.begin(), text.end(), regex), end; i != end; ++i)
    found.push_back((*i)[group]);
  return found;
}
std::set<std::string> words_of(const std::string& text) {
  std::set<std::string> words;
  std::string word;
  for (const char c : text + " ")
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') {
      word += c;
    } else if (!word.empty()) {
      words.insert(word);
      word.clear();
    }
  return words;
}

// The files of the tree, and the words in their code (not in comments: what only they name is
// gone).
class Tree {
 public:
  Tree() {
    for (const std::string folder : {"apps", "models", "engine", "kernels", "tests", "tools"}) {
      paths_.insert(folder + "/");
      for (const auto& file : fs::recursive_directory_iterator(root / folder))
        paths_.insert(file.path().lexically_relative(root).string() +
                      (file.is_directory() ? "/" : ""));
    }
    for (const char* file : {"README.md", "CMakeLists.txt", "LICENSE", ".ci/run"})
      paths_.insert(file);
    for (const std::string& path : paths_)
      if (is_code(path)) all_words_.merge(std::set<std::string>(words(path)));
    for (const std::string& path : paths_)
      if (ends_with(path, "/"))
        all_words_.insert(fs::path(path).parent_path().filename().string());
      else
        all_words_.insert(fs::path(path).stem().string());
  }
  // What a path in a text of `folder` stands for: from there, from the root, or the only file that
  // ends so. `<k>` stands for any name. Empty if nothing or too much fits.
  std::string find(const std::string& folder, const std::string& path) const {
    if (path.find('<') != std::string::npos) {
      const std::regex form(std::regex_replace(path, std::regex("<[^>]*>"), "[^/]+"));
      for (const std::string& p : paths_)
        if (std::regex_match(p, form)) return p;
      return {};
    }
    for (const std::string& from : {folder, std::string()}) {
      const std::string p = (fs::path(from) / path).lexically_normal().string();
      if (paths_.count(p)) return p;
      if (paths_.count(p + "/")) return p + "/";
    }
    Strings fit;
    for (const std::string& p : paths_)
      if (ends_with(p, "/" + path)) fit.push_back(p);
    return fit.size() == 1 ? fit[0] : "";
  }
  // `name` is a word of the file's code. `Type::name` stands there so, or is a function of the
  // type.
  bool has_name(const std::string& path, const std::string& name) {
    const size_t colons = name.rfind("::");
    if (colons == std::string::npos) return words(path).count(name);
    const std::string code = without_comments(path), type = name.substr(0, colons);
    if (std::regex_search(code, std::regex("\\b" + name + "\\b"))) return true;
    return std::regex_search(code, std::regex("\\b(class|struct) " + type + "\\b[^;]*\\{")) &&
           std::regex_search(code, std::regex("\\b" + name.substr(colons + 2) + "\\("));
  }
  // Some code has the word, or for `_fwd` one that ends so.
  bool has_word(const std::string& word) const {
    if (all_words_.count(word)) return true;
    return word[0] == '_' && std::any_of(all_words_.begin(), all_words_.end(),
                                         [&](const auto& w) { return ends_with(w, word); });
  }
  Strings texts() const {
    Strings t;
    for (const std::string& p : paths_)
      if (ends_with(p, ".md")) t.push_back(p);
    return t;
  }

  const fs::path root = KRAIT_SOURCE_DIR;

 private:
  static bool is_code(const std::string& path) {
    for (const char* end : {".cpp", ".h", ".cu", ".cuh", ".sh", ".txt", "/run"})
      if (ends_with(path, end)) return path != "tests/references_test.cpp";
    return false;
  }
  const std::set<std::string>& words(const std::string& path) {
    auto [at, is_new] = words_.try_emplace(path);
    if (is_new) at->second = words_of(without_comments(path));
    return at->second;
  }
  std::string without_comments(const std::string& path) const {
    const char* comment = ends_with(path, ".sh") || ends_with(path, ".txt") ? "# .*" : "//.*";
    return std::regex_replace(contents(root / path), std::regex(comment), "");
  }
  std::set<std::string> paths_, all_words_;
  std::map<std::string, std::set<std::string>> words_;
};

// A text in two parts: prose with its `code` and links, and the lines of code blocks.
struct Text {
  std::string prose;
  Strings code;    // spans and lines
  Strings blocks;  // lines alone
};
Text read(const std::string& markdown) {
  Text t;
  std::istringstream in(markdown);
  bool fenced = false, blank = true, indented = false;
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("```", 0) == 0) {
      fenced = !fenced;
      continue;
    }
    const bool deep = line.rfind("    ", 0) == 0;
    indented = deep && (blank || indented);
    if (fenced || indented)
      t.blocks.push_back(line);
    else
      t.prose += line + "\n";
    blank = line.find_first_not_of(' ') == std::string::npos;
    if (blank) indented = true;  // a block goes on behind an empty line
  }
  t.code = all_matches(t.prose, "`([^`]+)`", 1);
  for (std::string& s : t.code) s = std::regex_replace(s, std::regex("\\s+"), " ");
  t.code.insert(t.code.end(), t.blocks.begin(), t.blocks.end());
  return t;
}

// The anchors that GitHub makes of headings.
std::set<std::string> anchors_of(const std::string& markdown) {
  std::set<std::string> anchors;
  for (const std::string& heading : all_matches(read(markdown).prose, "(^|\n)#+ ([^\n]*)", 2)) {
    std::string anchor;
    for (const char c : heading)
      if (c == ' ')
        anchor += '-';
      else if (std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_')
        anchor += static_cast<char>(std::tolower(c));
    anchors.insert(anchor);
  }
  return anchors;
}

// What the reader is told to write, and names that are not code.
const std::set<std::string> foreign = {
    "plain.cu",  "plain.cpp", "scan_fwd_plain_scratch", "scan_fwd_plain_supports", "scalar_scan",
    "bimambav2",  // a part of the published names
    "kernel6",    // how a variant is not named
};

std::string no_such_name(const std::string& path, const std::string& name) {
  return path + " has no " + name;
}

// What is wrong with the references of a text that stands in `folder`, one line each.
Strings mistakes(Tree& tree, const std::string& folder, const std::string& markdown) {
  Strings wrong;
  const Text text = read(markdown);
  const std::regex link("\\[(`?)([^\\]]*?)`?\\]\\(([^)\\s]+)\\)");
  for (std::sregex_iterator i(text.prose.begin(), text.prose.end(), link), end; i != end; ++i) {
    const std::string to = (*i)[3], path = to.substr(0, to.find('#'));
    if (to.rfind("http", 0) == 0) continue;
    const std::string file = (fs::path(folder) / path).lexically_normal().string();
    if (!path.empty() && !fs::exists(tree.root / file)) {
      wrong.push_back("a link to " + to);
    } else if (to.find('#') != std::string::npos) {
      const std::string target = path.empty() ? markdown : contents(tree.root / file);
      if (!anchors_of(target).count(to.substr(to.find('#') + 1)))
        wrong.push_back("no anchor " + to);
    } else if ((*i)[1].length() && !ends_with(file, ".md") &&
               std::regex_match((*i)[2].str(), std::regex("[A-Za-z_][\\w:]*")) &&
               !tree.has_name(file, (*i)[2])) {
      wrong.push_back(no_such_name(file, (*i)[2]));
    }
  }
  for (const std::string& s : all_matches(text.prose, "`[\\w:]+`,? in\\s+`[\\w./]+\\.\\w+`"))
    wrong.push_back(s + ": write `path: name`");

  // GitHub's Markdown takes the backslash away before a sign, formula or not.
  for (const std::string& formula : all_matches(text.prose, "\\$[^$`\n]*\\$"))
    if (std::regex_search(formula, std::regex("\\\\[^A-Za-z]")))
      wrong.push_back("a backslash that will be lost: " + formula);

  // path, or path: name, name
  const std::regex reference(
      "([\\w./<>-]*[\\w>]\\.(?:cpp|h|cu|cuh|sh|md)\\b)(?:: ([A-Za-z_][\\w:]*(?:, "
      "[A-Za-z_][\\w:]*)*))?");
  for (const std::string& code : text.code) {
    for (std::sregex_iterator i(code.begin(), code.end(), reference), end; i != end; ++i) {
      const std::string path = (*i)[1], name = fs::path(path).filename().string();
      if (foreign.count(name) || path[0] == '/') continue;
      const std::string file = tree.find(folder, path);
      if (file.empty())
        wrong.push_back("no file (or several) " + path + ": " + code);
      else
        for (const std::string& n : all_matches((*i)[2], "[\\w:]+"))
          if (!tree.has_name(file, n)) wrong.push_back(no_such_name(path, n));
    }
    for (const std::string& path :
         all_matches(code, "(^|[ `(])((apps|models|engine|kernels|tests|tools)/[\\w./<>-]*)", 2))
      if (!foreign.count(fs::path(path).filename().string()) && tree.find(folder, path).empty())
        wrong.push_back("no such path: " + path);
  }
  return wrong;
}

// Names in backticks that no code has: `name`, `Type::name`, `name(...)`.
Strings unknown_names(const Tree& tree, const std::string& markdown) {
  Strings unknown;
  for (const std::string& code : all_matches(read(markdown).prose, "`([^`]+)`", 1)) {
    std::smatch name;
    if (std::regex_match(code, name, std::regex("([A-Za-z_][\\w:]*)(\\(.*\\))?")))
      for (const std::string& part : all_matches(name[1], "\\w+"))
        if (!tree.has_word(part) && !foreign.count(part)) unknown.push_back(code);
  }
  return unknown;
}

// Options of the project's programs that their --help does not know.
class Programs {
 public:
  explicit Programs(const Tree& tree) {
    const std::string cmake = contents(tree.root / "CMakeLists.txt");
    for (const std::string& name : all_matches(cmake, "krait_program\\((\\w+)", 1))
      names_.insert(name);
  }
  // `command`: as a shell would read it, or words that begin with an option.
  Strings unknown_options(const std::string& command) {
    Strings unknown;
    std::string program, all = command.substr(0, command.find(" #"));
    std::istringstream words(all);
    bool bare = true;
    for (std::string word; words >> word; bare = false) {
      const std::string name = word.rfind("build/bin/", 0) == 0 ? word.substr(10) : word;
      if (word != name && !names_.count(name)) unknown.push_back(word);
      if (names_.count(name))
        program = name;
      else if (program == "kernel_lab" && subcommands_.count(word))
        program += " " + word;
      if (!std::regex_match(word, std::regex("-[a-zA-Z]|--[a-z][\\w-]*(=.*)?"))) continue;
      const std::string option = word.substr(0, word.find('='));
      if (!program.empty() && !knows(program, option)) unknown.push_back(program + " " + option);
      if (program.empty() && bare && option.size() > 2 && !any_knows(option))
        unknown.push_back(option);
    }
    return unknown;
  }

 private:
  bool knows(const std::string& program, const std::string& option) {
    const auto found = help_.try_emplace(program);
    std::string& help = found.first->second;
    if (found.second) help = output_of(KRAIT_BIN_DIR "/" + program + " --help");
    REQUIRE_MESSAGE(help.find("--help") != std::string::npos, program, ": ", help);
    return std::regex_search(help, std::regex("(^|[^\\w-])" + option + "($|[^\\w-])"));
  }
  bool any_knows(const std::string& option) {
    for (const char* p :
         {"train_cifar", "classify", "parity", "inspect_checkpoint", "kernel_lab verify",
          "kernel_lab bench", "kernel_lab sweep", "kernel_lab step", "walkthrough"})
      if (knows(p, option)) return true;
    return false;
  }
  std::set<std::string> names_;
  const std::set<std::string> subcommands_ = {"list", "verify", "bench", "sweep", "step"};
  std::map<std::string, std::string> help_;
};

}  // namespace

TEST_CASE("references: links, paths and names in texts point at what is there") {
  Tree tree;
  CHECK(tree.texts().size() > 15);
  for (const std::string& path : tree.texts()) {
    INFO(path);
    const std::string markdown = contents(tree.root / path);
    for (const std::string& m : mistakes(tree, fs::path(path).parent_path().string(), markdown))
      CHECK_MESSAGE(false, m);
    for (const std::string& name : unknown_names(tree, markdown))
      CHECK_MESSAGE(false, "no code has the name ", name);
  }
}

TEST_CASE("references: options in texts are those of the programs") {
  Tree tree;
  Programs programs(tree);
  for (const std::string& path : tree.texts()) {
    INFO(path);
    for (const std::string& code : read(contents(tree.root / path)).code)
      for (const std::string& option : programs.unknown_options(code))
        CHECK_MESSAGE(false, option, " in: ", code);
  }
}

TEST_CASE("references: what is stale is found") {
  Tree tree;
  auto wrong = [&](const std::string& markdown) {
    return mistakes(tree, "engine", markdown).size() + unknown_names(tree, markdown).size();
  };
  for (const std::string right :
       {"`engine/tape.h`", "`tape.h: Tape::backward, Step`", "[x](README.md#the-tape)",
        "# A b\n[x](#a-b)", "[`optimizer_step`](optimizer.cpp)",
        "    trainer.cpp: Trainer::update   text", "`kernels/<k>/rows.h`",
        "`Tape`, `ops/`, `optimizer_step(ctx)`, `_fwd`, `h + 1`"})
    CHECK_MESSAGE(wrong(right) == 0, right);
  for (const std::string stale :
       {"`engine/tape.cpp`", "`tape.h: Tape::forward`", "`step_channel.cpp: StepChannel::waiting_`",
        "`tape.h: Tape, forwards`", "[x](README.md#the-tapes)", "[x](readme.md)",
        "[`adam_step`](optimizer.cpp)", "    trainer.cpp: Trainer::renew   text",
        "`kernels/<k>/tables.h`", "`Tapes`", "`adam_step(ctx)`", "`reference.cpp`",
        "    engine/ops/none/", "```\nengine/tape.cpp\n```", "`decays` in `engine/params.cpp`",
        "$a\\, b$"})
    CHECK_MESSAGE(wrong(stale) > 0, stale);

  Programs programs(tree);
  for (const char* right :
       {"build/bin/train_cifar --data-path .data --lr 4e-2   # a --comment",
        "kernel_lab list --all", "--precision", "nvcc --none", "kernel_lab bench -k conv1d"})
    CHECK_MESSAGE(programs.unknown_options(right).empty(), right);
  for (const char* stale : {"build/bin/train_cifar --data-paths .data", "kernel_lab list --shape",
                            "--precisions bf16", "build/bin/train", "kernel_lab bench -q conv1d"})
    CHECK_MESSAGE(programs.unknown_options(stale).size() == 1, stale);
}

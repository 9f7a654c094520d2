// Reads the options of train_cifar from the command line, and writes them into checkpoints.
#include "apps/train_cifar/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <utility>

#include "apps/train_cifar/option_list.h"
#include "apps/train_cifar/recipes.h"
#include "apps/train_cifar/refused.h"
#include "engine/kernel_choice.h"
#include "engine/nearest.h"
#include "kernels/common/kernel.h"
#include "models/model.h"

namespace krait {
namespace {

std::string shown(double v) {
  char text[32];
  const bool whole = v == static_cast<double>(static_cast<int64_t>(v));
  const auto end = whole ? std::to_chars(text, text + sizeof text, static_cast<int64_t>(v))
                         : std::to_chars(text, text + sizeof text, v);
  return {text, end.ptr};
}

// Says in one sentence what is wrong with a number; empty if nothing is.
std::string number_fault(const std::string& name, const std::string& text, double low, double high,
                         bool whole) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  const bool number = error == std::errc() && end == text.data() + text.size();
  if (!number) return cat("--", name, " is '", text, "', which is not a number");
  if (whole && text.find_first_not_of("-0123456789") != std::string::npos)
    return cat("--", name, " is ", text, ", which is not a whole number");
  const std::string range = high >= 1e300           ? low > 0 ? "more than 0" : "0 or more"
                            : low > 0 && low < 1e-9 ? cat("more than 0 and at most ", shown(high))
                                                    : cat(shown(low), " to ", shown(high));
  if (!(low <= v && v <= high)) return cat("--", name, " is ", text, "; it must be ", range);
  return "";
}

// Adds the options to the command line parser.
class CommandLine {
 public:
  explicit CommandLine(CLI::App& app) : app_(app) {}
  void group(const char* title) { group_ = title; }
  template <class T>
  void number(const char* name, T& value, double low, double high, const char* help) {
    constexpr bool whole = !std::is_same_v<T, double> && !std::is_same_v<T, std::optional<double>>;
    const std::string names =
        std::string(name) == "decay-rate" ? "--decay-rate,--dr" : cat("--", name);
    add(name, app_.add_option(names, value, help), whole ? "INT" : "NUMBER")
        ->check([=](const std::string& s) { return number_fault(name, s, low, high, whole); });
    if constexpr (std::is_same_v<T, std::optional<double>>)  // the parser shows no default of these
      if (value) options_.back().second->default_str(shown(*value));
  }
  void numbers(const char* name, std::vector<double>& value, int count, double low, double high,
               const char* help) {
    add(name, app_.add_option(cat("--", name), value, help), "NUMBER")
        ->expected(count)
        ->check([=](const std::string& s) { return number_fault(name, s, low, high, false); });
    if (value.empty()) options_.back().second->default_str("");
  }
  void choice(const char* name, std::string& value, const Choices& allowed, const char* help) {
    std::string list;
    for (const auto& a : allowed) list += (list.empty() ? "" : "|") + a;
    add(name, app_.add_option(cat("--", name), value, help), list.c_str())
        ->check([=](const std::string& s) {
          for (const auto& a : allowed)
            if (s == a) return std::string();
          if (const std::string reason = reason_refused(name, s); !reason.empty())
            return cat("--", name, " ", s, " is refused: ", reason);
          std::string names;
          for (size_t i = 0; i < allowed.size(); ++i)
            names += (i == 0 ? "" : i + 1 < allowed.size() ? ", " : " or ") + allowed[i];
          return cat("--", name, " is '", s, "'; it must be ", names);
        });
  }
  void text(const char* name, std::string& value, const char* help) {
    const std::string names =
        std::string(name) == "output_dir" ? "--output_dir,--output-dir" : cat("--", name);
    add(name, app_.add_option(names, value, help), "TEXT")->check([=](const std::string& s) {
      const std::string reason = reason_refused(name, s);
      return reason.empty() ? "" : cat("--", name, " ", s, " is refused: ", reason);
    });
  }
  void list(const char* name, std::vector<std::string>& value, const char* type, const char* help) {
    add(name, app_.add_option(cat("--", name), value, help), type)
        ->expected(1)
        ->take_all()
        ->default_str("");
  }
  void flag(const char* name, const char* names, bool& value, const char* help) {
    CLI::Option* o = app_.add_flag(names, value, help)->group(group_);
    options_.emplace_back(name, o);
  }
  // Names of the options that were given.
  std::set<std::string> given() const {
    std::set<std::string> names;
    for (const auto& [name, o] : options_)
      if (o->count() > 0) names.insert(name);
    return names;
  }
  std::vector<std::string> long_names() const {
    std::vector<std::string> names = {"--help", "--version"};
    for (const auto& [name, o] : options_)
      for (const auto& n : o->get_lnames()) names.push_back("--" + n);
    return names;
  }

 private:
  CLI::Option* add(const char* name, CLI::Option* o, const char* type) {
    options_.emplace_back(name, o);
    return o->group(group_)->type_name(type)->take_last();
  }
  CLI::App& app_;
  std::string group_;
  std::vector<std::pair<std::string, CLI::Option*>> options_;
};

// Collects the options' values.
struct AsJson {
  nlohmann::ordered_json& json;
  void group(const char*) {}
  template <class T>
  void number(const char* name, const T& value, double, double, const char*) {
    put(name, value);
  }
  void numbers(const char* name, const std::vector<double>& v, int, double, double, const char*) {
    put(name, v);
  }
  void choice(const char* name, const std::string& v, const Choices&, const char*) { put(name, v); }
  void text(const char* name, const std::string& v, const char*) { put(name, v); }
  void list(const char* name, const std::vector<std::string>& v, const char*, const char*) {
    put(name, v);
  }
  void flag(const char* name, const char*, bool v, const char*) { put(name, v); }

 private:
  template <class T>
  void put(const char* name, const T& v) {
    json[name] = v;
  }
  template <class T>
  void put(const char* name, const std::optional<T>& v) {
    json[name] = nullptr;
    if (v) json[name] = *v;
  }
};

nlohmann::ordered_json as_json(const TrainOptions& options) {
  TrainOptions copy = options;  // the list binds to what may be changed
  nlohmann::ordered_json j;
  each_option(copy, AsJson{j});
  return j;
}

// Sets those options that `names` has to what `json` has, and notes what has changed.
struct FromJson {
  const nlohmann::json& json;
  const std::set<std::string>& names;
  std::string& changed;
  void group(const char*) {}
  template <class T>
  void number(const char* name, T& value, double, double, const char*) {
    take(name, value);
  }
  template <class T>
  void number(const char* name, std::optional<T>& value, double, double, const char*) {
    if (names.count(name) && json.contains(name) && !json.at(name).is_null())
      take(name, value.emplace());
  }
  void numbers(const char* name, std::vector<double>& v, int, double, double, const char*) {
    take(name, v);
  }
  void choice(const char* name, std::string& v, const Choices&, const char*) { take(name, v); }
  void text(const char* name, std::string& v, const char*) { take(name, v); }
  void list(const char* name, std::vector<std::string>& v, const char*, const char*) {
    take(name, v);
  }
  void flag(const char* name, const char*, bool& v, const char*) { take(name, v); }

 private:
  template <class T>
  void take(const char* name, T& value) {
    if (!names.count(name) || !json.contains(name)) return;
    const T before = std::exchange(value, json.at(name).get<T>());
    if (before != value)
      changed += cat(changed.empty() ? "" : ", ", name, " ", json.at(name).dump());
  }
};

std::string footer() {
  std::string s =
      "\nDefaults are the short recipe of models/vim/README.md. They differ from the published\n"
      "trainer's (in brackets) in: --epochs (300) --batch-size (64) --lr (5e-4) --warmup-epochs "
      "(5)\n"
      "--clip-grad (none) --drop-path (0.1) --mixup (0.8) --cutmix (1.0) --model-ema (on)\n"
      "--schedule-unit (epoch) --crop (resized) --train-interpolation (bicubic) --aa "
      "(rand-m9-mstd0.5-inc1)\n"
      "--color-jitter (0.3) --reprob (0.25) --repeated-aug (on) --eval-crop-ratio (0.875)\n"
      "--normalize (imagenet) --device (cuda) --data-set (IMNET)\n"
      "--input-size (224) --model (deit_base_patch16_224).\n";
  s += recipes_help() + "\nModels:\n";
  for (const NamedModel& m : model_names()) s += "  " + m.name + "\n      " + m.note + "\n";
  return s + refused_help();
}

bool of_folder(const TrainOptions& o) {
  return o.data_set == "IMAGE_FOLDER" || o.data_set == "IMNET";
}

bool mixes(const TrainOptions& o) {
  return o.mixup > 0 || o.cutmix > 0 || !o.cutmix_minmax.empty();
}

// An option on the command line that the others leave without an effect is a mistake.
void check_effects(const TrainOptions& o, const std::set<std::string>& given) {
  auto only = [&](bool effect, const char* when, std::initializer_list<const char*> names) {
    for (const char* name : names)
      KRAIT_INPUT(effect || !given.count(name), "--", name, " has no effect without ", when);
  };
  const bool adam = o.opt == "adamw" || o.opt == "adam", teacher = o.distillation_type != "none";
  only(!o.finetune.empty(), "--finetune", {"pos-embed-resize", "resample-patches"});
  only(!o.finetune.empty() || o.eval, "--finetune or --eval", {"weights"});
  only(o.model_ema, "--model-ema", {"model-ema-decay", "model-ema-warmup"});
  only(crop_of(o) == "padded", "--crop padded", {"crop-padding", "pad-mode"});
  only(crop_of(o) == "resized", "--crop resized", {"scale", "ratio"});
  only(o.three_augment, "--ThreeAugment", {"src"});
  only(o.reprob > 0, "--reprob", {"remode", "recount"});
  only(mixes(o), "--mixup or --cutmix", {"mixup-prob", "mixup-mode", "mixup-off-epoch"});
  only(o.aa != "none" || o.three_augment || o.color_jitter > 0,
       "--aa, --ThreeAugment or --color-jitter", {"aa-off-epoch"});
  only(o.mixup > 0 && (o.cutmix > 0 || !o.cutmix_minmax.empty()), "both --mixup and --cutmix",
       {"mixup-switch-prob"});
  only(teacher, "--distillation-type", {"teacher-path", "distillation-alpha"});
  only(o.distillation_type == "soft", "--distillation-type soft", {"distillation-tau"});
  only(adam, "--opt adamw or adam", {"opt-eps", "opt-betas"});
  only(!adam, "--opt sgd", {"momentum"});
  only(o.sched == "step", "--sched step", {"decay-epochs", "decay-rate"});
  only(o.sched != "step" && o.sched != "constant", "a schedule that falls to it", {"min-lr"});
}

void check_counts(const TrainOptions& o) {
  auto check = [](const char* name, const std::vector<double>& v, size_t count, bool optional) {
    KRAIT_INPUT(v.size() == count || (optional && v.empty()), "--", name, " needs ",
                count == 2 ? "two" : "three", " numbers");
    KRAIT_INPUT(count != 2 || v.empty() || std::string(name) == "opt-betas" || v[0] <= v[1], "--",
                name, " is ", shown(v[0]), " to ", shown(v[1]), ": the first must be the smaller");
  };
  check("opt-betas", o.opt_betas, 2, false);
  check("scale", o.scale, 2, false);
  check("ratio", o.ratio, 2, false);
  check("cutmix-minmax", o.cutmix_minmax, 2, true);
  check("mean", o.mean, 3, true);
  check("std", o.stddev, 3, true);
}

// What no single option can see.
void check_together(const TrainOptions& o) {
  check_counts(o);
  KRAIT_INPUT(o.batch_size % o.accumulate == 0, "--batch-size is ", o.batch_size,
              "; it must be a multiple of --accumulate, ", o.accumulate);
  KRAIT_INPUT(!mixes(o) || o.batch_size / o.accumulate % 2 == 0, "--batch-size is ", o.batch_size,
              "; it must be even with --mixup or --cutmix, which mix a batch",
              o.accumulate > 1 ? " (here each part of --accumulate)" : "", " with itself reversed");
  KRAIT_INPUT(o.warmup_epochs <= static_cast<double>(o.epochs), "--warmup-epochs is ",
              shown(o.warmup_epochs), "; it must be at most --epochs, ", o.epochs);
  KRAIT_INPUT(!o.bce_loss || o.smoothing == 0,
              "--bce-loss needs --smoothing 0: it sets every target above 0 to 1, and smoothing "
              "puts all of them above 0");
  KRAIT_INPUT(o.distillation_type == "none" || !o.teacher_path.empty(), "--distillation-type ",
              o.distillation_type, " needs --teacher-path CHECKPOINT");
  KRAIT_INPUT(o.distillation_type == "none" || !o.cosub,
              "--cosub and --distillation-type are two losses: choose one");
  KRAIT_INPUT(o.result == "model" || o.model_ema, "--result ema needs --model-ema");
  KRAIT_INPUT(!o.src || !o.given.count("crop") || o.crop == "simple",
              "--src is --crop simple, and --crop is ", o.crop);
  KRAIT_INPUT(o.finetune.empty() || o.resume.empty(),
              "--finetune starts a training and --resume goes on with one: choose one");
  KRAIT_INPUT(o.finetune.find("://") == std::string::npos, "--finetune is ", o.finetune,
              ": nothing is fetched here; download it first, and give the file");
  KRAIT_INPUT(!o.linear_probe || o.freeze.empty(),
              "--linear-probe freezes everything but the head: --freeze has nothing to add");
  KRAIT_INPUT(!o.linear_probe || o.layer_decay == 1,
              "--layer-decay has no effect with --linear-probe, which trains one layer");
  KRAIT_INPUT(!o.eval || !o.resume.empty(), "--eval needs --resume CHECKPOINT");
  if (o.device == "cuda") find_device(Backend::cuda);  // says so if there is none
  const bool gpu = o.device == "cuda" || (o.device == "auto" && available(Backend::cuda));
  KRAIT_INPUT(o.precision != "tf32" || gpu,
              "--precision tf32 needs a GPU; on a CPU it is fp32 or bf16");
  model_config(o.model);  // says so if there is no such model
}

// Words that belong to no option.
void refuse_extras(const std::vector<std::string>& extras, const CommandLine& line) {
  for (const std::string& extra : extras) {
    const std::string name = extra.substr(0, extra.find('='));
    if (says_nothing_new(extra)) continue;
    const std::string reason = reason_refused(name);
    KRAIT_INPUT(reason.empty(), name, " is refused: ", reason);
    KRAIT_INPUT(!name.starts_with("-"), "there is no option ", name,
                ". The nearest names: ", nearest(name, line.long_names()));
    throw InputError(cat("'", extra, "' belongs to no option"));
  }
}

// Reads words into `o`; says which options there were. Nothing after --help or --version.
std::optional<std::set<std::string>> read_words(TrainOptions& o,
                                                const std::vector<std::string>& words,
                                                std::ostream& out) {
  CLI::App app("Trains and evaluates a Vision Mamba on CIFAR-10 or CIFAR-100.", "train_cifar");
  app.set_help_flag("-h,--help", "this text");
  app.set_version_flag("--version", "krait " KRAIT_VERSION, "the version");
  app.option_defaults()->always_capture_default();
  app.get_formatter()->column_width(38);
  app.footer(footer());
  app.allow_extras();  // to name the nearest options
  CommandLine line(app);
  each_option(o, line);
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // the last word first
  } catch (const CLI::CallForHelp&) {
    std::string help = app.help();
    const std::string mark = "{false}";  // behind flags that can be negated: says nothing
    for (size_t at; (at = help.find(mark)) != std::string::npos;)
      help.replace(at, mark.size(), mark.size(), ' ');
    out << help;
    return {};
  } catch (const CLI::CallForVersion&) {
    out << "krait " KRAIT_VERSION "\n";
    return {};
  } catch (const CLI::ValidationError& e) {  // "--lr: " and the validator's whole sentence
    const std::string text = e.what();
    const size_t at = text.find(": ");
    throw InputError(at == std::string::npos ? text : text.substr(at + 2));
  } catch (const CLI::ArgumentMismatch& e) {
    const std::string text = e.what();
    throw InputError(text.substr(0, text.find(':')) + " needs a value");
  } catch (const CLI::ParseError& e) {
    throw InputError(e.what());
  }
  refuse_extras(app.remaining(), line);
  return line.given();
}

// Reads a recipe into `o`, a line at a time, so that a mistake has a place.
void read_recipe_into(TrainOptions& o, const std::string& name) {
  const Recipe recipe = read_recipe(name);
  for (const RecipeLine& line : recipe.lines) {
    try {
      KRAIT_INPUT(line.key != "recipe", "a recipe cannot name another");
      const bool flag = line.values == std::vector<std::string>{"true"} ||
                        line.values == std::vector<std::string>{"false"};
      std::vector<std::string> words = {"--" + line.key + (flag ? "=" + line.values[0] : "")};
      if (!flag) words.insert(words.end(), line.values.begin(), line.values.end());
      std::ostringstream nowhere;
      o.given.merge(read_words(o, words, nowhere).value_or(std::set<std::string>()));
      check_counts(o);
    } catch (const InputError& e) {
      throw InputError(cat(recipe.file, ", line ", line.line, ", key ", line.key, ": ", e.what()));
    }
  }
}

}  // namespace

std::optional<TrainOptions> parse_options(int argc, const char* const* argv, std::ostream& out) {
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  TrainOptions first;
  const auto on_command_line = read_words(first, words, out);
  if (!on_command_line) return {};
  TrainOptions o;
  if (!first.recipe.empty()) read_recipe_into(o, first.recipe);
  read_words(o, words, out);
  o.given.insert(on_command_line->begin(), on_command_line->end());
  o.model_given = o.given.count("model");
  o.kernels = parse_kernel_choices(o.kernel);
  check_together(o);
  check_effects(o, *on_command_line);
  if (o.src) o.crop = "simple";
  return o;
}

std::string crop_of(const TrainOptions& o) {
  return o.crop != "auto" ? o.crop : of_folder(o) ? "resized" : "padded";
}
std::string interpolation_of(const TrainOptions& o) {
  return o.train_interpolation != "auto" ? o.train_interpolation
         : of_folder(o)                  ? "bicubic"
                                         : "bilinear";
}
double eval_crop_ratio_of(const TrainOptions& o) {
  return o.eval_crop_ratio.value_or(of_folder(o) ? 0.875 : 1);
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

std::string to_json(const TrainOptions& options) {
  return as_json(options).dump();
}

std::string changed_options(const TrainOptions& now, const std::string& saved_json) {
  const auto saved = nlohmann::json::parse(saved_json, nullptr, false);
  if (!saved.is_object()) return "";
  static const std::set<std::string> where = {"output_dir",       "resume",     "eval",
                                              "finetune",         "weights",    "pos-embed-resize",
                                              "resample-patches", "data-path",  "max-minutes",
                                              "print-every",      "eager",      "remake",
                                              "recipe",           "eval-every", "target-acc1",
                                              "num_workers",      "cache-gb",   "pin-mem",
                                              "bucket-mb"};
  const auto current = as_json(now);
  std::string s;
  for (const auto& [name, value] : current.items()) {
    if (where.count(name) || !saved.contains(name)) continue;
    const std::string before = saved[name].dump(), after = value.dump();
    if (before != after) s += (s.empty() ? "" : ", ") + cat(name, " ", before, " -> ", after);
  }
  return s;
}

std::string saved_option(const std::string& saved_json, const std::string& name) {
  const auto saved = nlohmann::json::parse(saved_json, nullptr, false);
  return saved.is_object() && saved.contains(name) ? saved[name].dump() : "";
}

std::string take_over_test_pictures(TrainOptions& options, const std::string& saved_json) {
  const auto saved = nlohmann::json::parse(saved_json, nullptr, false);
  if (!saved.is_object()) return "";
  std::set<std::string> names = {"normalize", "mean", "std", "eval-crop-ratio",
                                 "train-interpolation"};
  // Classes are those of one data set.
  if (saved.contains("data-set") && saved["data-set"] == options.data_set) names.insert("classes");
  for (const std::string& given : options.given) names.erase(given);
  std::string changed;
  each_option(options, FromJson{saved, names, changed});
  return changed;
}

}  // namespace krait

// Reads the options of train_cifar from the command line, and writes them into checkpoints.
#include "apps/train_cifar/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/train_cifar/option_list.h"
#include "engine/kernel_choice.h"
#include "engine/nearest.h"
#include "kernels/common/kernel.h"
#include "models/vim/config.h"

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
    add(name, app_.add_option(cat("--", name), value, help), whole ? "INT" : "NUMBER")
        ->check([=](const std::string& s) { return number_fault(name, s, low, high, whole); });
    if constexpr (std::is_same_v<T, std::optional<double>>)  // the parser shows no default of these
      if (value) options_.back().second->default_str(shown(*value));
  }
  void numbers(const char* name, std::vector<double>& value, int count, double low, double high,
               const char* help) {
    add(name, app_.add_option(cat("--", name), value, help), "NUMBER")
        ->expected(count)
        ->check([=](const std::string& s) { return number_fault(name, s, low, high, false); });
  }
  void choice(const char* name, std::string& value, const Choices& allowed, const char* help) {
    std::string list;
    for (const auto& a : allowed) list += (list.empty() ? "" : "|") + a;
    add(name, app_.add_option(cat("--", name), value, help), list.c_str())
        ->check([=](const std::string& s) {
          for (const auto& a : allowed)
            if (s == a) return std::string();
          std::string names;
          for (size_t i = 0; i < allowed.size(); ++i)
            names += (i == 0 ? "" : i + 1 < allowed.size() ? ", " : " or ") + allowed[i];
          return cat("--", name, " is '", s, "'; it must be ", names);
        });
  }
  void text(const char* name, std::string& value, const char* help) {
    const std::string names =
        std::string(name) == "output_dir" ? "--output_dir,--output-dir" : cat("--", name);
    add(name, app_.add_option(names, value, help), "TEXT");
  }
  void list(const char* name, std::vector<std::string>& value, const char* help) {
    add(name, app_.add_option(cat("--", name), value, help), "NAME=VARIANT")
        ->expected(1)
        ->take_all()
        ->default_str("");
  }
  void flag(const char* name, const char* names, bool& value, const char* help) {
    CLI::Option* o = app_.add_flag(names, value, help)->group(group_);
    options_.emplace_back(name, o);
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
  void list(const char* name, const std::vector<std::string>& v, const char*) { put(name, v); }
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

std::string footer() {
  std::string s =
      "\nDefaults are the short recipe of models/vim/README.md. They differ from the published\n"
      "trainer's (in brackets) in: --epochs (300) --batch-size (64) --lr (5e-4) --warmup-epochs "
      "(5)\n"
      "--clip-grad (none) --drop-path (0.1) --mixup (0.8) --cutmix (1.0) --model-ema (on)\n"
      "--schedule-unit (epoch) --device (cuda) --data-set (IMNET) --input-size (224)\n"
      "--model (deit_base_patch16_224).\n"
      "\nModels:\n";
  for (const NamedVim& m : vim_names()) s += "  " + m.name + "\n      " + m.note + "\n";
  return s;
}

// What no single option can see.
void check_together(const TrainOptions& o) {
  KRAIT_INPUT((o.mixup <= 0 && o.cutmix <= 0) || o.batch_size % 2 == 0, "--batch-size is ",
              o.batch_size,
              "; it must be even with --mixup or --cutmix, which mix a batch with itself reversed");
  KRAIT_INPUT(o.opt_betas.size() == 2, "--opt-betas needs two numbers");
  KRAIT_INPUT(o.warmup_epochs <= static_cast<double>(o.epochs), "--warmup-epochs is ",
              shown(o.warmup_epochs), "; it must be at most --epochs, ", o.epochs);
  KRAIT_INPUT(!o.eval || !o.resume.empty(), "--eval needs --resume CHECKPOINT");
  if (o.device == "cuda") find_device(Backend::cuda);  // says so if there is none
  const bool gpu = o.device == "cuda" || (o.device == "auto" && available(Backend::cuda));
  KRAIT_INPUT(o.precision != "tf32" || gpu,
              "--precision tf32 needs a GPU; on a CPU it is fp32 or bf16");
  vim_config(o.model);  // says so if there is no such model
}

}  // namespace

std::optional<TrainOptions> parse_options(int argc, const char* const* argv, std::ostream& out) {
  TrainOptions o;
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
    app.parse(argc, argv);
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
  for (const std::string& extra : app.remaining()) {
    const std::string name = extra.substr(0, extra.find('='));
    KRAIT_INPUT(!name.starts_with("-"), "there is no option ", name,
                ". The nearest names: ", nearest(name, line.long_names()));
    throw InputError(cat("'", extra, "' belongs to no option"));
  }
  o.model_given = app.get_option("--model")->count() > 0;
  o.kernels = parse_kernel_choices(o.kernel);
  check_together(o);
  return o;
}

std::string to_json(const TrainOptions& options) {
  return as_json(options).dump();
}

std::string changed_options(const TrainOptions& now, const std::string& saved_json) {
  const auto saved = nlohmann::json::parse(saved_json, nullptr, false);
  if (!saved.is_object()) return "";
  static const std::set<std::string> where = {"output_dir",  "resume",      "eval",   "data-path",
                                              "max-minutes", "print-every", "eager",  "remake",
                                              "num_workers", "cache-gb",    "pin-mem"};
  const auto current = as_json(now);
  std::string s;
  for (const auto& [name, value] : current.items()) {
    if (where.count(name) || !saved.contains(name)) continue;
    const std::string before = saved[name].dump(), after = value.dump();
    if (before != after) s += (s.empty() ? "" : ", ") + cat(name, " ", before, " -> ", after);
  }
  return s;
}

}  // namespace krait

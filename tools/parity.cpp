// parity BUNDLE...: runs golden bundles (numbers of the reference, in safetensors files) through
// the engine and compares every tensor. Knows bundles of kind op, model (of any architecture),
// train and schedule; the format is in tests/golden/README.md. Exit code 0 only if nothing failed.
#include <CLI/CLI.hpp>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/kernel_choice.h"
#include "engine/optimizer.h"
#include "engine/safetensors.h"
#include "engine/schedule.h"
#include "kernels/elementwise/elementwise.h"
#include "models/model.h"
#include "models/vim/pos_embed.h"

using namespace krait;
using nlohmann::json;

namespace {

struct Options {
  std::vector<std::string> bundles, kernels;
  std::string device = "auto", precision = "fp32";
  double tolerance = 0;  // 0: the default for the tensor
  bool quiet = false;
};

struct Skip {
  std::string why;
};

// Compares tensors of one bundle with the reference, and prints a line for each.
class Comparison {
 public:
  Comparison(const SafeTensors& bundle, const Options& options)
      : bundle_(bundle), options_(options) {}

  // `limit`: the largest relative error in fp32. In bf16 values have another, and gradients are
  // judged by their cosine.
  void value(const std::string& name, const std::vector<double>& got, double limit,
             double bf16_limit = 2e-2) {
    compare(name, got, options_.precision == "bf16" ? bf16_limit : limit, false);
  }
  void gradient(const std::string& name, const std::vector<double>& got, double limit) {
    compare(name, got, limit, options_.precision == "bf16");
  }
  int failed() const { return failed_; }
  int compared() const { return compared_; }

 private:
  void compare(const std::string& name, const std::vector<double>& got, double limit,
               bool by_cosine) {
    const StoredTensor& stored = bundle_.at(name);
    const std::vector<double> want = stored.values();
    double difference = 0, size = 0, got_size = 0, dot = 0, worst = 0;
    const bool same_count = got.size() == want.size();
    for (size_t i = 0; same_count && i < want.size(); ++i) {
      const double d = got[i] - want[i];
      difference += d * d;
      size += want[i] * want[i];
      got_size += got[i] * got[i];
      dot += got[i] * want[i];
      worst = std::max(worst, std::abs(d));
      if (!std::isfinite(d)) worst = INFINITY;
    }
    const double relative = size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
    const double cosine = size > 0 && got_size > 0 ? dot / std::sqrt(size * got_size)
                          : size == got_size       ? 1
                                                   : 0;
    if (options_.tolerance > 0 && !by_cosine) limit = options_.tolerance;
    const bool ok =
        same_count && std::isfinite(worst) && (by_cosine ? cosine >= 0.99 : relative <= limit);
    ++compared_;
    failed_ += !ok;
    if (ok && options_.quiet) return;
    fmt::print("  {} {:<44} relative {:.2e}  largest absolute {:.2e}", ok ? "ok  " : "FAIL", name,
               relative, worst);
    if (by_cosine)
      fmt::print("  cosine {:.5f} (at least 0.99)", cosine);
    else
      fmt::print("  (limit {:.0e})", limit);
    if (!same_count) fmt::print("  {} values instead of {}", got.size(), want.size());
    fmt::print("\n");
  }
  const SafeTensors& bundle_;
  const Options& options_;
  int failed_ = 0, compared_ = 0;
};

DType compute_type(const Options& o) {
  return o.precision == "bf16" ? DType::bf16 : o.precision == "fp64" ? DType::f64 : DType::f32;
}

Shape shape_of(const StoredTensor& t) {
  Shape s;
  KRAIT_INPUT(t.shape.size() <= Shape::max_rank, "a tensor of rank ", t.shape.size());
  for (int64_t d : t.shape) s.dim[s.rank++] = d;
  return s;
}

// loss = sum over outputs of sum(output * cotangent): its gradient is the cotangents themselves.
void backward_from(Context& ctx, Tape& tape, std::vector<Tensor> outputs,
                   const std::vector<Tensor>& cotangents) {
  Tensor loss = ctx.empty({1}, accum(outputs[0].dtype()));
  const Tensor& first = outputs.front();
  const Tensor& last = outputs.back();
  ctx.record_op("project", {&first, &last}, {&loss}, [=](Context& ctx, Tape::Step& step) {
    for (size_t k = 0; k < outputs.size(); ++k)
      if (auto to = step.into(outputs[k]))
        ctx.launch(Add{.dtype = to.grad.dtype(),
                       .a_dtype = cotangents[k].dtype(),
                       .b_dtype = to.grad.dtype(),
                       .n = to.grad.count(),
                       .scale = 1,
                       .a = cotangents[k].data(),
                       .b = to.accumulate ? to.data() : nullptr,
                       .y = to.data()});
  });
  tape.backward(ctx, loss);
}

// Runs one op bundle. Small parameters and the residual are accum, everything else T.
void run_op(Context& ctx, const SafeTensors& bundle, const Options& options, Comparison& result) {
  const std::string op = bundle.metadata.at("op");
  const json attrs = json::parse(bundle.metadata.at("attrs"));
  const DType type = compute_type(options);
  if (op == "pos_embed_resize") {  // values only, on the host
    const StoredTensor& x = bundle.at("in.x");
    result.value("out.y",
                 resize_pos_embed(x.values(), attrs.at("from"), attrs.at("to"), x.shape.at(2)),
                 1e-5);
    return;
  }
  const std::vector<std::string> wide = {"A_log", "D", "delta_bias", "residual", "targets", "bias"};
  const bool norm = op == "add_rms_norm" || op == "add_layer_norm";
  auto type_of = [&](const std::string& name) {
    const bool small_weight = name == "weight" && (norm || op == "causal_conv1d");
    const bool is_wide = small_weight || std::find(wide.begin(), wide.end(), name) != wide.end();
    return is_wide ? accum(type) : type;
  };
  RopeTable table;
  if (op == "rope") {
    VimConfig c;
    c.patch_size = c.stride = 1;
    c.img_size = attrs.at("grid");
    c.pt_hw_seq_len = attrs.at("pt_hw_seq_len");
    c.embed_dim = static_cast<int>(bundle.at("in.x").shape.at(2));
    c.if_rope = true;
    table = rope_table(ctx, c, accum(type));
  }

  std::map<std::string, Tensor> in;
  std::map<std::string, std::vector<double>> out, grads;
  auto work = [&] {
    Tape tape;
    auto recording = ctx.record(tape);
    in.clear();
    for (const auto& [name, t] : bundle.tensors)
      if (name.starts_with("in.")) {
        Tensor x = ctx.from_values(shape_of(t), type_of(name.substr(3)), t.values());
        // A parameter's gradient is accum, and added to memory of its own.
        const bool parameter = op == "patch_embed" && name != "in.x";
        if (bundle.find("grad." + name.substr(3)))
          tape.watch(x, parameter ? ctx.zeros(x.shape(), accum(type)) : Tensor());
        in[name.substr(3)] = x;
      }
    auto get = [&](const char* name) { return in.count(name) ? in[name] : Tensor(); };
    std::map<std::string, Tensor> y;
    if (op == "selective_scan") {
      ScanSide s{get("u"), get("delta"), get("A_log"),      get("B"),
                 get("C"), get("D"),     get("delta_bias"), false};
      y["y"] = selective_scan(ctx, {s}, get("z"), 1, attrs.value("delta_softplus", true));
    } else if (op == "causal_conv1d") {
      y["y"] = conv1d(ctx, get("x"), {{get("weight"), get("bias"), false}},
                      attrs.value("silu", true))[0];
    } else if (norm) {
      Normed n =
          add_norm(ctx, op == "add_rms_norm" ? Norm::rms : Norm::layer, get("x"), get("residual"),
                   get("weight"), get("bias"), attrs.value("eps", 1e-5), type);
      y["y"] = n.y;
      y["residual"] = n.residual;
    } else if (op == "rope") {
      y["y"] = rope(ctx, get("x"), table.cos, table.sin);
    } else if (op == "patch_embed") {
      y["y"] = patch_embed(ctx, get("x"), get("weight"), get("bias"), attrs.at("stride"));
    } else if (op == "soft_cross_entropy") {
      y["y"] = cross_entropy(ctx, get("logits"), get("targets"));
    } else if (op == "softplus" || op == "silu") {
      y["y"] = op == "silu" ? silu(ctx, get("x")) : softplus(ctx, get("x"));
    } else {
      throw Skip{"op " + op + " is not one this engine has"};
    }
    std::vector<Tensor> outputs, cotangents;
    for (auto& [name, t] : y) {
      const StoredTensor& c = bundle.at("cotangent." + name);
      outputs.push_back(t);
      cotangents.push_back(ctx.from_values(t.shape(), t.dtype(), c.values()));
    }
    backward_from(ctx, tape, outputs, cotangents);
    for (auto& [name, t] : y) out[name] = ctx.values(t);
    for (auto& [name, t] : in)
      if (tape.wants(t)) grads[name] = ctx.values(tape.grad(t));
    in.clear();
  };
  ctx.reserve(ctx.measure(work));
  work();
  for (auto& [name, v] : out) result.value("out." + name, v, 1e-5);
  for (auto& [name, v] : grads)
    result.gradient("grad." + name, v, op == "selective_scan" ? 3e-5 : 1e-5);
}

// The model of a bundle. timm's number of classes is no part of its configuration.
ImageModel model_of(const SafeTensors& bundle) {
  const auto architecture = bundle.metadata.find("architecture");
  json config = json::parse(bundle.metadata.at("config"));
  if (architecture != bundle.metadata.end() && architecture->second != "vim") {
    config["architecture"] = architecture->second;
    config["num_classes"] = bundle.at("in.targets").shape.back();
  }
  return ImageModel(model_config_from_json(config.dump()));
}

// A model with the bundle's weights.
struct Model {
  ImageModel model;
  ParamStore store;

  Model(Context& ctx, const SafeTensors& bundle, const Options& options, bool training)
      : model(model_of(bundle)), store([this](ParamStore& s) { model.declare(s); }) {
    store.allocate(ctx, compute_type(options),
                   {.gradients = true, .moments = training, .ema = training});
    for (const Param& p : store.all()) {
      const StoredTensor& t = bundle.at("param." + p.name);
      KRAIT_INPUT(shape_of(t) == p.shape, p.name, " is ", shape_of(t), " in the bundle and ",
                  p.shape, " in the model");
      ctx.set(store.part(ParamStore::Role::master, p), t.values());
      if (training) ctx.set(store.part(ParamStore::Role::ema, p), t.values());
    }
    for (const auto& [name, t] : bundle.tensors)
      KRAIT_INPUT(!name.starts_with("param.") || store.find(name.substr(6)),
                  "the model has no parameter ", name.substr(6));
    store.refresh_copy(ctx);
    model.make_tables(ctx, compute_type(options));
  }
  void compare_part(Context& ctx, ParamStore::Role role, const std::string& prefix,
                    Comparison& result, double limit, double bf16_limit = 2e-2) {
    for (const Param& p : store.all())
      if (role == ParamStore::Role::gradient)
        result.gradient(prefix + p.name, ctx.values(store.part(role, p)), limit);
      else
        result.value(prefix + p.name, ctx.values(store.part(role, p)), limit, bf16_limit);
  }
};

void run_model(Context& ctx, const SafeTensors& bundle, const Options& options,
               Comparison& result) {
  Model m(ctx, bundle, options, false);
  const StoredTensor &images = bundle.at("in.images"), &targets = bundle.at("in.targets");
  const DType type = compute_type(options);
  std::map<std::string, std::vector<double>> out;
  auto work = [&] {
    Tape tape;
    auto recording = ctx.record(tape);
    m.store.watch(tape);
    ModelKept kept;
    Tensor x = ctx.from_values(shape_of(images), type, images.values());
    Tensor t = ctx.from_values(shape_of(targets), accum(type), targets.values());
    Tensor logits = m.model.logits(ctx, m.store, x, &kept);
    if (kept.tokens) out["keep.tokens"] = ctx.values(kept.tokens);
    if (kept.features) out["keep.features"] = ctx.values(kept.features);
    out["out.logits"] = ctx.values(logits);
    Tensor loss = cross_entropy(ctx, logits, t);
    out["out.loss"] = ctx.values(loss);
    tape.backward(ctx, loss);
  };
  ctx.reserve(ctx.measure(work));
  work();
  for (const char* name : {"keep.tokens", "keep.features", "out.logits", "out.loss"})
    if (bundle.find(name)) result.value(name, out[name], 1e-5);
  if (bundle.find("grad." + m.store.all()[0].name))
    m.compare_part(ctx, ParamStore::Role::gradient, "grad.", result, 1e-5);
}

void run_train(Context& ctx, const SafeTensors& bundle, const Options& options,
               Comparison& result) {
  Model m(ctx, bundle, options, true);
  const json hyper = json::parse(bundle.metadata.at("hyper"));
  OptimizerOptions adam{.beta1 = hyper.at("betas").at(0),
                        .beta2 = hyper.at("betas").at(1),
                        .eps = hyper.at("eps"),
                        .weight_decay = hyper.at("weight_decay")};
  if (!hyper.at("clip_grad").is_null()) adam.clip_grad = hyper.at("clip_grad").get<double>();
  if (!hyper.at("ema").is_null()) adam.ema_decay = hyper.at("ema").get<double>();
  const DType type = compute_type(options);
  const StoredTensor &images = bundle.at("in.images"), &targets = bundle.at("in.targets");
  const std::vector<double> all_images = images.values(), all_targets = targets.values();
  Shape image_shape, target_shape;  // of one step
  for (size_t i = 1; i < images.shape.size(); ++i)
    image_shape.dim[image_shape.rank++] = images.shape[i];
  for (size_t i = 1; i < targets.shape.size(); ++i)
    target_shape.dim[target_shape.rank++] = targets.shape[i];

  Tensor state = ctx.persistent({int64_t(sizeof(StepState))}, DType::u8);
  Tensor step_result = ctx.persistent({int64_t(sizeof(StepResult))}, DType::u8);
  ctx.state = state.as<StepState>();
  std::vector<double> losses, norms;
  auto step = [&](int64_t i) {
    auto part = [&](const std::vector<double>& v, int64_t n) {
      return std::vector<double>(v.begin() + i * n, v.begin() + (i + 1) * n);
    };
    StepState now;
    set_step(now, adam, i, hyper.at("lr"));
    ctx.upload(state, &now, sizeof now);
    Tape tape;
    auto recording = ctx.record(tape);
    m.store.watch(tape);
    Tensor x = ctx.from_values(image_shape, type, part(all_images, image_shape.count()));
    Tensor t = ctx.from_values(target_shape, accum(type), part(all_targets, target_shape.count()));
    Tensor loss = cross_entropy(ctx, m.model.logits(ctx, m.store, x), t);
    const double value = ctx.values(loss)[0];
    tape.backward(ctx, loss);
    optimizer_step(ctx, m.store, adam, step_result.as<StepResult>());
    StepResult r;
    ctx.download(&r, step_result, sizeof r);
    losses.push_back(value);
    norms.push_back(r.grad_norm);
  };
  ctx.reserve(ctx.measure([&] { step(0); }));
  losses.clear(), norms.clear();
  for (int64_t i = 0; i < images.shape.at(0); ++i) step(i);
  ctx.state = nullptr;
  result.value("out.losses", losses, 1e-4);
  result.value("out.grad_norms", norms, 1e-4, 1e-1);
  m.compare_part(ctx, ParamStore::Role::master, "final.", result, 1e-4, 5e-2);
  if (adam.ema_decay) m.compare_part(ctx, ParamStore::Role::ema, "ema.", result, 1e-4, 5e-2);
}

void run_schedule(const SafeTensors& bundle, Comparison& result) {
  const json hyper = json::parse(bundle.metadata.at("hyper"));
  const Schedule schedule{.lr = hyper.at("lr"),
                          .warmup_lr = hyper.at("warmup_lr"),
                          .min_lr = hyper.at("min_lr"),
                          .epochs = hyper.at("epochs"),
                          .warmup_epochs = hyper.at("warmup_epochs")};
  std::vector<double> lr;
  for (int64_t e = 0; e < bundle.at("out.lr").count(); ++e)
    // The bundle holds float32: compare with what the schedule gives, so rounded.
    lr.push_back(static_cast<float>(schedule.during_epoch(e)));
  result.value("out.lr", lr, 1e-9);
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app("Runs golden bundles and compares every tensor with the reference.", "parity");
  app.add_option("BUNDLE", options.bundles, "safetensors files, or folders of them")->required();
  app.add_option("--device", options.device, "cpu, cuda or auto")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--precision", options.precision, "fp32, bf16, or fp64 (CPU only)")
      ->check(CLI::IsMember({"fp32", "bf16", "fp64"}))
      ->capture_default_str();
  app.add_option("--tolerance", options.tolerance,
                 "largest relative error of every tensor (default: 1e-5; gradients of the scan "
                 "3e-5; train 1e-4; schedule 1e-9; bf16: values 2e-2, weights after a training "
                 "5e-2, gradient "
                 "norms in it 1e-1, "
                 "gradients cosine 0.99)")
      ->check(CLI::PositiveNumber);
  app.add_option("--kernel", options.kernels, "use this variant: NAME=VARIANT; may be repeated")
      ->expected(1)
      ->take_all();
  app.add_flag("--quiet", options.quiet, "print only tensors that fail");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  const bool cuda =
      options.device == "cuda" || (options.device == "auto" && available(Backend::cuda));
  KRAIT_INPUT(!(cuda && options.precision == "fp64"), "--precision fp64 is for --device cpu");
  Context ctx(cuda ? Backend::cuda : Backend::cpu);
  for (const auto& [kernel, variant] : parse_kernel_choices(options.kernels))
    ctx.force(kernel, variant);
  std::vector<std::string> files;
  for (const std::string& path : options.bundles)
    if (std::filesystem::is_directory(path)) {
      for (const auto& entry : std::filesystem::directory_iterator(path))
        if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
    } else {
      files.push_back(path);
    }
  std::sort(files.begin(), files.end());

  int passed = 0, failed = 0, skipped = 0;
  for (const std::string& file : files) {
    const SafeTensors bundle = read_safetensors(file);
    const auto kind = bundle.metadata.count("kind") ? bundle.metadata.at("kind") : "";
    fmt::print("{}\n", std::filesystem::path(file).stem().string());
    Comparison result(bundle, options);
    try {
      if (kind == "op")
        run_op(ctx, bundle, options, result);
      else if (kind == "model")
        run_model(ctx, bundle, options, result);
      else if (kind == "train")
        run_train(ctx, bundle, options, result);
      else if (kind == "schedule")
        run_schedule(bundle, result);
      else
        throw Skip{kind.empty() ? "it does not say what kind it is" : "kind " + kind};
      fmt::print("  {} of {} tensors agree\n", result.compared() - result.failed(),
                 result.compared());
      ++(result.failed() || result.compared() == 0 ? failed : passed);
    } catch (const Skip& s) {
      fmt::print("  skipped: {}\n", s.why);
      ++skipped;
    } catch (const std::exception& e) {
      fmt::print("  FAIL {}\n", e.what());
      ++failed;
    }
    std::fflush(stdout);
  }
  if (skipped) fmt::print("{} skipped\n", skipped);
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed ? 1 : 0;
} catch (const InputError& e) {
  fmt::print(stderr, "parity: {}\n", e.what());
  return 2;
} catch (const std::exception& e) {
  fmt::print(stderr, "parity: {}\n", e.what());
  return 1;
}

// kernel_lab list | verify | bench | sweep | step: shows every variant of every kernel, checks it
// against the reference in float64 within a tolerance calibrated from the reference's own rounding,
// measures those that agree, and measures whole steps of a model.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>

#include "engine/context.h"
#include "engine/kernel_choice.h"
#include "models/model.h"
#include "tools/bench_report.h"
#include "tools/step_report.h"

namespace {

using namespace krait;

struct Options {
  std::string kernel, variant, size, device;
  bool all = false, large = false, huge = false;
  int64_t elements = int64_t{1} << 31;  // of a huge case's largest tensor, at least
  // bench and sweep
  std::string shape, baseline, save, source = KRAIT_SOURCE_DIR;
  bool markdown = false, no_verify = false;
};

struct StepOptions {
  std::vector<std::string> models = {"vim_tiny_patch4_32"}, kernels;
  std::vector<int64_t> batches = {128};
  int image_size = 0;
  bool one_stream = false;
  std::string device, precision = "auto", mode = "both", baseline, save, markdown;
};

bool wanted(const Options& o, const KernelCase& c) {
  if (!std::strstr(c.kernel(), o.kernel.c_str()) && c.folder() != o.kernel) return false;
  if (c.size().find(o.size) == std::string::npos) return false;
  if (!o.shape.empty() || c.once()) return true;
  return c.info().small ? !o.large : o.all || o.large;
}
bool wanted(const Options& o, const KernelCase& c, int v) {
  if (!std::strstr(c.variant_name(v), o.variant.c_str())) return false;
  const bool gpu = c.variant_backend(v) == Backend::cuda;
  return (o.device.empty() || gpu == (o.device == "cuda")) && c.supports(v);
}

CaseList cases(const Options& o) {
  return o.huge ? huge_cases(o.elements) : all_cases();
}

int list_rows(const Options& o) {
  int rows = 0;
  for (auto& c : cases(o))
    for (int v = 0; wanted(o, *c) && v < c->variant_count(); ++v) {
      if (!wanted(o, *c, v)) continue;
      std::printf("%-22s %-44s %-18s %s\n", c->kernel(), c->size().c_str(), c->variant_name(v),
                  c->variant_backend(v) == Backend::cuda ? "cuda" : "cpu");
      ++rows;
    }
  std::printf("%d rows\n", rows);
  return 0;
}

int verify(const Options& o) {
  int passed = 0, failed = 0, skipped = 0;
  for (auto& c : cases(o))
    for (int v = 0; wanted(o, *c) && v < c->variant_count(); ++v) {
      if (!wanted(o, *c, v)) continue;
      std::printf("%-22s %-44s %-18s ", c->kernel(), c->size().c_str(), c->variant_name(v));
      if (!available(c->variant_backend(v))) {
        std::printf("skip  no GPU here\n");
        ++skipped;
        continue;
      }
      const size_t bytes = c->once() ? case_bytes(*c, v) : 0;
      if (bytes > free_memory(c->variant_backend(v))) {
        std::printf("skip  %.0f GB do not fit\n", static_cast<double>(bytes) * 1e-9);
        ++skipped;
        continue;
      }
      const Check r = check(*c, v);
      std::printf("%s  %6.2f%% of tolerance at %s, nmse %.1e\n", r.ok() ? "ok  " : "FAIL",
                  100 * r.worst, r.where.c_str(), r.nmse);
      std::fflush(stdout);
      ++(r.ok() ? passed : failed);
    }
  std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed ? 1 : 0;
}

// Why row `v` of c's kernel must not be measured: it disagrees with the reference on a small case,
// or takes none of them. Empty: it may be.
std::string refusal(const CaseList& cases, const KernelCase& c, int v) {
  int checked = 0;
  for (auto& small : cases) {
    if (std::strcmp(small->kernel(), c.kernel()) != 0 || !small->info().small) continue;
    if (!small->supports(v)) continue;
    const Check r = check(*small, v);
    if (!r.ok())
      return cat("differs from the reference at ", small->size(), ", ", r.where, ": ",
                 static_cast<int64_t>(std::min(100 * r.worst, 1e9)), "% of the tolerance");
    ++checked;
  }
  return checked ? "" : "no small case to verify it with (--no-verify measures it all the same)";
}

int bench(const Options& o) {
  const CaseList usual = all_cases();
  CaseList chosen;
  if (!o.shape.empty())
    for (const auto& shape : parse_shapes(o.shape))
      for (auto& c : cases_of_size(o.kernel, UserSizes(shape))) chosen.push_back(std::move(c));
  BenchReport report(o.baseline);
  // Before anything is measured: what would be found out at the end.
  check_writable(o.save, "--save");
  KRAIT_INPUT(!o.markdown || std::filesystem::is_directory(o.source + "/kernels"),
              "--markdown: there is no kernels/ in ", o.source, " (--source)");
  std::map<std::pair<std::string, int>, std::string> refused;  // by kernel and variant
  int measured = 0, failed = 0, skipped = 0;
  report.print_head();
  for (auto& c : o.shape.empty() ? usual : chosen) {
    if (!wanted(o, *c)) continue;
    std::map<Backend, CaseCopies> inputs;
    for (int v = 0; v < c->variant_count(); ++v) {
      if (!wanted(o, *c, v)) continue;
      const Backend backend = c->variant_backend(v);
      if (!available(backend)) {
        ++skipped;
        continue;
      }
      auto [why, unknown] = refused.try_emplace({c->kernel(), v});
      if (unknown && !o.no_verify) why->second = refusal(usual, *c, v);
      if (!why->second.empty()) {
        std::printf("%-22s %-44s %-20s not measured: %s\n", c->kernel(), c->size().c_str(),
                    c->variant_name(v), why->second.c_str());
        ++failed;
        continue;
      }
      report.add(*c, v, inputs.try_emplace(backend, *c, backend).first->second.time(v));
      ++measured;
    }
  }
  report.print_peaks();
  std::printf("%d measured, %d refused, %d skipped\n", measured, failed, skipped);
  if (!o.save.empty()) report.save(o.save);
  if (o.markdown) report.write_pages(o.source);
  return failed ? 1 : 0;
}

int step(const StepOptions& o) {
  const bool gpu = o.device == "cuda" || (o.device.empty() && available(Backend::cuda));
  find_device(gpu ? Backend::cuda : Backend::cpu);  // says so if there is none
  const std::pair<const char*, StepMode> modes[] = {
      {"train", StepMode::train}, {"remake", StepMode::remake}, {"infer", StepMode::infer}};
  StepSetup setup;
  setup.image_size = o.image_size;
  setup.backend = gpu ? Backend::cuda : Backend::cpu;
  setup.precision = o.precision;
  setup.two_streams = !o.one_stream;
  setup.kernels = parse_kernel_choices(o.kernels);
  StepReport report(o.baseline);
  check_writable(o.save, "--save");
  for (const std::string& model : o.models) model_config(model);  // says so if there is none
  int failed = 0;
  for (const std::string& model : o.models)
    for (const int64_t batch : o.batches)
      for (const auto& [name, mode] : modes) {
        if (o.mode == "both" ? mode == StepMode::remake : o.mode != name) continue;
        setup.model = model;
        setup.batch = batch;
        setup.mode = mode;
        try {
          report.add(measure_step(setup));
        } catch (const OutOfMemory& e) {  // the other sizes may fit
          std::printf("%s, batch %lld: %s\n\n", model.c_str(), static_cast<long long>(batch),
                      e.what());
          ++failed;
        }
      }
  report.print();
  if (!o.save.empty()) report.save(o.save);
  if (!o.markdown.empty()) report.write_page(o.markdown);
  return failed ? 1 : 0;
}

void add_step(CLI::App& app, StepOptions& o) {
  CLI::App* sub =
      app.add_subcommand("step", "time whole steps of a model, and each kernel's share");
  sub->add_option("--model", o.models, "one or several: a,b")->delimiter(',');
  sub->add_option("--batch", o.batches, "pictures in a step, one or several: 128,512")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  sub->add_option("--image-size", o.image_size, "side of the pictures (the model's)")
      ->check(CLI::Range(8, 1024));
  sub->add_option("--mode", o.mode,
                  "a training step; one that runs its layers again in the backward pass, to keep "
                  "less; an inference; or the first and the last")
      ->check(CLI::IsMember({"train", "remake", "infer", "both"}));
  sub->add_option("--precision", o.precision, "of activations and products")
      ->check(CLI::IsMember({"auto", "bf16", "tf32", "fp32"}));
  sub->add_option("--device", o.device, "the GPU where there is one")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  sub->add_option("--kernel", o.kernels, "use this variant: NAME=VARIANT; may be repeated");
  sub->add_flag("--one-stream", o.one_stream, "no gradients of weights beside the rest (GPU)");
  sub->add_option("--baseline", o.baseline, "a file of --save to compare with");
  sub->add_option("--save", o.save, "write the times to this file, as JSON");
  sub->add_option("--markdown", o.markdown, "rewrite the table in this file (README.md)")
      ->expected(0, 1)
      ->default_str(KRAIT_SOURCE_DIR "/README.md");
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("Lists, verifies and measures the kernels' variants.", "kernel_lab");
  app.require_subcommand(1);
  Options o;
  auto add = [&](const char* name, const char* help) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->add_option("-k,--kernel", o.kernel,
                    "only kernels whose name contains this, or of this folder");
    sub->add_option("-v,--variant", o.variant, "only variants whose name contains this");
    sub->add_option("-s,--size", o.size, "only cases whose size contains this");
    sub->add_option("--device", o.device, "only variants for cpu or cuda")
        ->check(CLI::IsMember({"cpu", "cuda"}));
    sub->add_flag("--all", o.all, "the large cases too");
    sub->add_flag("--large", o.large, "the large cases only");
    return sub;
  };
  auto add_huge = [&](CLI::App* sub) {
    sub->add_flag("--huge", o.huge,
                  "cases of more elements than 32 bits can count, and no others (a GPU of 140 GB)");
    sub->add_option("--elements", o.elements, "with --huge: so many, at least")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  };
  auto add_bench = [&](const char* name, const char* help) {
    CLI::App* sub = add(name, help);
    sub->add_option("--shape", o.shape,
                    "sizes of your own: B=512,L=64 (sweep: B=128|512,L=64|197)");
    sub->add_option("--baseline", o.baseline, "a file of --save to compare with");
    sub->add_option("--save", o.save, "write the times to this file, as JSON");
    sub->add_flag("--markdown", o.markdown, "rewrite the table in the kernel's .md");
    sub->add_option("--source", o.source, "the source tree with the .md files");
    sub->add_flag("--no-verify", o.no_verify, "measure variants without checking them first");
    return sub;
  };
  CLI::App* list = add("list", "one line per kernel, size and variant");
  CLI::App* verifying = add("verify", "compare every variant with the reference");
  for (CLI::App* sub : {list, verifying}) add_huge(sub);
  CLI::App* benching = add_bench("bench", "verify, then time every variant");
  CLI::App* sweeping = add_bench("sweep", "bench over all combinations of several sizes");
  StepOptions stepping;
  add_step(app, stepping);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  if (list->parsed()) return list_rows(o);
  if (verifying->parsed()) return verify(o);
  if (app.got_subcommand("step")) return step(stepping);
  KRAIT_INPUT(!benching->parsed() || o.shape.find('|') == std::string::npos,
              "bench takes one size; sweep takes several");
  KRAIT_INPUT(!sweeping->parsed() || !o.shape.empty(), "sweep needs --shape, as in B=128|512,L=64");
  return bench(o);
} catch (const std::exception& e) {
  std::fprintf(stderr, "kernel_lab: %s\n", e.what());
  return dynamic_cast<const krait::InputError*>(&e) ? 2 : 1;
}

// kernel_lab list | verify: shows every variant of every kernel, and checks it against the
// reference in float64 within a tolerance calibrated from the reference's own rounding.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>

#include "kernels/common/case.h"

int main(int argc, char** argv) try {
  using namespace krait;
  CLI::App app("Lists and verifies the kernels' variants.", "kernel_lab");
  app.require_subcommand(1);
  std::string kernel, variant, size, device;
  bool all = false;
  auto add = [&](const char* name, const char* help) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->add_option("-k,--kernel", kernel, "only kernels whose name contains this");
    sub->add_option("-v,--variant", variant, "only variants whose name contains this");
    sub->add_option("-s,--size", size, "only cases whose size contains this");
    sub->add_option("--device", device, "only variants for cpu or cuda")
        ->check(CLI::IsMember({"cpu", "cuda"}));
    sub->add_flag("--all", all, "the large cases too");
    return sub;
  };
  CLI::App* list = add("list", "one line per kernel, size and variant");
  add("verify", "compare every variant with the reference");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }

  int passed = 0, failed = 0, skipped = 0;
  for (auto& c : all_cases()) {
    if (!std::strstr(c->kernel(), kernel.c_str())) continue;
    if (c->size().find(size) == std::string::npos) continue;
    if (!c->info().small && !all) continue;
    for (int v = 0; v < c->variant_count(); ++v) {
      if (!std::strstr(c->variant_name(v), variant.c_str())) continue;
      const bool gpu = c->variant_backend(v) == Backend::cuda;
      if (!device.empty() && gpu != (device == "cuda")) continue;
      if (!c->supports(v)) continue;
      const bool here = available(c->variant_backend(v));
      std::printf("%-22s %-44s %-18s ", c->kernel(), c->size().c_str(), c->variant_name(v));
      if (list->parsed()) {
        std::printf("%s", gpu ? "cuda" : "cpu");
        ++passed;
      } else if (!here) {
        std::printf("skip  no GPU here");
        ++skipped;
      } else {
        Check r = check(*c, v);
        std::printf("%s  %6.2f%% of tolerance at %s, nmse %.1e", r.ok() ? "ok  " : "FAIL",
                    100 * r.worst, r.where.c_str(), r.nmse);
        ++(r.ok() ? passed : failed);
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  if (list->parsed())
    std::printf("%d rows\n", passed);
  else
    std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed ? 1 : 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "kernel_lab: %s\n", e.what());
  return dynamic_cast<const krait::InputError*>(&e) ? 2 : 1;
}

// tools/mamba_minimal.cpp: its result and every gradient are those of the engine's ops, in f64; it
// stays short and needs nothing of the project.
#include <algorithm>
#include <fstream>
#include <string>

#define MAMBA_MINIMAL_NO_MAIN
#include "tests/support.h"
#include "tools/mamba_minimal.cpp"

using namespace krait;

namespace {

// The block as models/vim/vim.cpp has it, one direction. `in`: input (1, L, d_model), then the
// parameters in the order of mamba::Parameters.
Tensor block(Context& ctx, std::vector<Tensor>& in, const mamba::Sizes& s) {
  auto xz = split(ctx, linear(ctx, in[0], in[1]), {s.d_inner, s.d_inner});
  Tensor u = conv1d(ctx, xz[0], {{in[2], in[3]}})[0];
  auto q = split(ctx, linear(ctx, u, in[4]), {s.dt_rank, s.d_state, s.d_state});
  Tensor delta = linear(ctx, q[0], in[5]);
  Tensor y = selective_scan(ctx, {{u, delta, in[7], q[1], q[2], in[8], in[6]}}, xz[1]);
  return linear(ctx, y, in[9]);
}

double largest_difference(const std::vector<double>& a, const Tensor& b) {
  REQUIRE(static_cast<int64_t>(a.size()) == b.count());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b.as<double>()[i]));
  return worst;
}

void compare(const mamba::Sizes& s, uint32_t seed) {
  Context ctx(Backend::cpu, 1 << 22);
  const int64_t E = s.d_inner, R = s.dt_rank, N = s.d_state, M = s.d_model;
  std::vector<Tensor> in;
  for (const Shape& shape : std::vector<Shape>{{1, s.L, M},
                                               {2 * E, M},
                                               {E, s.d_conv},
                                               {E},
                                               {R + 2 * N, E},
                                               {E, R},
                                               {E},
                                               {E, N},
                                               {E},
                                               {M, E}})
    in.push_back(random_f64(ctx, shape, seed++));
  const Tensor dout = random_f64(ctx, {1, s.L, M}, seed++);

  mamba::Parameters p{s}, d{s};
  auto data = [](mamba::Parameters& p) {
    return std::vector<std::vector<double>*>{
        &p.in_proj.data,        &p.conv1d_weight.data, &p.conv1d_bias, &p.x_proj.data,
        &p.dt_proj_weight.data, &p.dt_proj_bias,       &p.A_log.data,  &p.D,
        &p.out_proj.data};
  };
  auto values = [](const Tensor& t) {
    return std::vector<double>(t.as<double>(), t.as<double>() + t.count());
  };
  for (size_t i = 0; i < data(p).size(); ++i) *data(p)[i] = values(in[i + 1]);
  mamba::Matrix input(s.L, s.d_model), dresult(s.L, s.d_model);
  input.data = values(in[0]), dresult.data = values(dout);
  mamba::Kept kept;
  const mamba::Matrix result = mamba::forward(p, input, kept);
  const mamba::Matrix dinput = mamba::backward(p, kept, dresult, d);

  Tape tape;
  for (Tensor& t : in) tape.watch(t);
  auto recording = ctx.record(tape);
  Tensor out = block(ctx, in, s), loss = ctx.zeros({1}, DType::f64);
  CHECK(largest_difference(result.data, out) < 1e-12);
  ctx.record_op("project", {&out}, {&loss}, [out, dout](Context& ctx, Tape::Step& step) {
    auto to = step.into(out);
    copy(ctx, dout, to.grad);
  });
  tape.backward(ctx, loss);
  CHECK(largest_difference(dinput.data, tape.grad(in[0])) < 1e-12);
  for (size_t i = 0; i < data(d).size(); ++i) {
    INFO("parameter ", i);
    CHECK(largest_difference(*data(d)[i], tape.grad(in[i + 1])) < 1e-12);
  }
}

}  // namespace

TEST_CASE("mamba_minimal: result and gradients are those of the engine") {
  compare({.L = 9, .d_model = 6, .d_state = 4, .d_conv = 4, .d_inner = 12, .dt_rank = 3}, 1);
  compare({.L = 2, .d_model = 5, .d_state = 1, .d_conv = 3, .d_inner = 7, .dt_rank = 1}, 50);
}

TEST_CASE("mamba_minimal: at most 250 lines, and nothing of the project") {
  std::ifstream file(KRAIT_SOURCE_DIR "/tools/mamba_minimal.cpp");
  REQUIRE(file);
  int lines = 0, includes = 0;
  for (std::string line; std::getline(file, line); ++lines)
    if (line.find("#include") != std::string::npos) {
      CHECK_MESSAGE(line.rfind("#include <", 0) == 0, line);
      ++includes;
    }
  CHECK(includes > 0);
  CHECK(lines <= 250);
}

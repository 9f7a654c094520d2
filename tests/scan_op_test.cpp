// The scan op: gradients of both sides, and equality of a reversed side with a flipped sequence.
#include "tests/support.h"

using namespace krait;

namespace {

// Leaves of one side: u, delta, A_log, B, C, D, bias.
std::vector<Tensor> side_leaves(Context& ctx, int64_t B, int64_t L, int64_t E, int64_t N,
                                int seed) {
  return {random_f64(ctx, {B, L, E}, seed),     random_f64(ctx, {B, L, E}, seed + 1, -3, 1),
          random_f64(ctx, {E, N}, seed + 2),    random_f64(ctx, {B, L, N}, seed + 3),
          random_f64(ctx, {B, L, N}, seed + 4), random_f64(ctx, {E}, seed + 5),
          random_f64(ctx, {E}, seed + 6)};
}
ScanSide side(std::vector<Tensor>& in, size_t from, bool reverse) {
  return {in[from],     in[from + 1], in[from + 2], in[from + 3],
          in[from + 4], in[from + 5], in[from + 6], reverse};
}

}  // namespace

TEST_CASE("selective_scan: gradient, two sides with gate") {
  Context ctx(Backend::cpu, 1 << 22);
  auto in = side_leaves(ctx, 2, 5, 3, 2, 1);
  for (Tensor& t : side_leaves(ctx, 2, 5, 3, 2, 11)) in.push_back(t);
  in.push_back(random_f64(ctx, {2, 5, 3}, 30, -2, 2));
  check_gradients(ctx, in, [&](auto& in) {
    return selective_scan(ctx, {side(in, 0, false), side(in, 7, true)}, in[14], 0.5);
  });
}
TEST_CASE("selective_scan: gradient, sides that share their inputs (bimamba v1)") {
  Context ctx(Backend::cpu, 1 << 22);
  auto in = side_leaves(ctx, 1, 4, 3, 2, 1);
  in.push_back(random_f64(ctx, {1, 4, 3}, 30, -2, 2));
  in.push_back(random_f64(ctx, {3, 2}, 31));
  check_gradients(ctx, in, [&](auto& in) {
    ScanSide a = side(in, 0, false), b = side(in, 0, true);
    b.A_log = in[8];
    return selective_scan(ctx, {a, b}, in[7]);
  });
}
TEST_CASE(
    "selective_scan: gradient, no gate, no skip, no softplus; B and C columns of one tensor") {
  Context ctx(Backend::cpu, 1 << 22);
  check_gradients(
      ctx,
      {random_f64(ctx, {2, 4, 3}, 1), random_f64(ctx, {2, 4, 3}, 2, 0.1, 1),
       random_f64(ctx, {3, 2}, 3), random_f64(ctx, {2, 4, 3}, 4), random_f64(ctx, {5, 3}, 5)},
      [&](auto& in) {
        auto parts = split(ctx, linear(ctx, in[3], in[4]), {1, 2, 2});
        ScanSide s{in[0], in[1], in[2], parts[1], parts[2], {}, {}, false};
        return selective_scan(ctx, {s}, {}, 1, false);
      });
}
TEST_CASE("selective_scan: a reversed side is the scan of the reversed sequence, reversed") {
  Context ctx(Backend::cpu, 1 << 22);
  auto in = side_leaves(ctx, 2, 6, 3, 4, 1);
  Tensor z = random_f64(ctx, {2, 6, 3}, 9);
  auto reversed = in;
  for (int k : {0, 1, 3, 4}) reversed[k] = reverse_tokens(ctx, in[k]);
  Tensor a = selective_scan(ctx, {side(in, 0, true)}, z);
  Tensor b =
      reverse_tokens(ctx, selective_scan(ctx, {side(reversed, 0, false)}, reverse_tokens(ctx, z)));
  for (int64_t i = 0; i < a.count(); ++i)
    CHECK(a.as<double>()[i] == doctest::Approx(b.as<double>()[i]));
}
TEST_CASE("selective_scan: wrong shapes say so") {
  Context ctx(Backend::cpu, 1 << 22);
  auto in = side_leaves(ctx, 2, 6, 3, 4, 1);
  in[3] = random_f64(ctx, {2, 6, 5}, 1);
  CHECK_THROWS_WITH_AS(selective_scan(ctx, {side(in, 0, true)}, {}),
                       doctest::Contains("B is (2, 6, 5)"), Error);
}

// Ops on tokens: place_tokens, reverse_tokens, mean_tokens, max_tokens.
#include "kernels/tokens/tokens.h"

#include "engine/ops/ops.h"

namespace krait {
namespace {

void check_tokens(const char* op, const Tensor& x) {
  KRAIT_CHECK(x.shape().rank == 3 && x.contiguous(), op, ": x is ", x.shape(),
              x.contiguous() ? ", not (B, L, D)" : " of something wider");
}

}  // namespace

Tensor place_tokens(Context& ctx, const Tensor& patches, const std::vector<ClassToken>& cls,
                    const Tensor& pos) {
  check_tokens("place_tokens", patches);
  const int64_t B = patches.shape(0), P = patches.shape(1), D = patches.shape(2);
  const int classes = static_cast<int>(cls.size());
  const int64_t L = P + classes;
  const DType wide = accum(patches.dtype());
  KRAIT_CHECK(classes <= 2, "place_tokens: ", classes, " class tokens, at most 2 are known");
  KRAIT_CHECK(!pos || (pos.shape() == Shape({1, L, D}) && pos.dtype() == wide),
              "place_tokens: pos is ", pos.shape(), " ", name_of(pos.dtype()), ", patches are ",
              patches.shape(), " with ", classes, " class tokens");
  Tensor y = ctx.empty({B, L, D}, wide);
  PlaceTokensFwd p{.dtype = patches.dtype(),
                   .B = B,
                   .P = P,
                   .D = D,
                   .classes = classes,
                   .at = {},
                   .cls = {},
                   .patches = patches.data(),
                   .pos = pos.data(),
                   .y = y.data()};
  for (int i = 0; i < classes; ++i) {
    const auto& [value, at] = cls[i];
    KRAIT_CHECK(value.shape() == Shape({1, 1, D}) && value.dtype() == wide,
                "place_tokens: class token ", i, " is ", value.shape(), " ", name_of(value.dtype()),
                ", patches are ", patches.shape());
    KRAIT_CHECK(0 <= at && at < L && (i == 0 || cls[i - 1].at < at), "place_tokens: class token ",
                i, " at ", at, " of ", L, " tokens");
    p.at[i] = at;
    p.cls[i] = value.data();
  }
  ctx.launch(p);
  auto backward = [patches = patches.place(), cls, pos, B, P, D, classes](Context& ctx,
                                                                          Tape::Step& step) {
    auto dpatches = step.into(patches);
    PlaceTokensBwd p{.dtype = patches.dtype(),
                     .B = B,
                     .P = P,
                     .D = D,
                     .classes = classes,
                     .at = {},
                     .accumulate_dpatches = dpatches.accumulate,
                     .dy = step.dy().data(),
                     .dpatches = dpatches.data(),
                     .dcls = {},
                     .dpos = step.into_accumulated(pos).data()};
    for (int i = 0; i < classes; ++i) {
      p.at[i] = cls[i].at;
      p.dcls[i] = step.into_accumulated(cls[i].value).data();
    }
    ctx.launch(p);
  };
  const Tensor none;
  ctx.record_op(
      "place_tokens",
      {&patches, &pos, classes > 0 ? &cls[0].value : &none, classes > 1 ? &cls[1].value : &none},
      {&y}, backward);
  return y;
}

Tensor reverse_tokens(Context& ctx, const Tensor& x) {
  check_tokens("reverse_tokens", x);
  ReverseTokens p{.dtype = x.dtype(),
                  .B = x.shape(0),
                  .L = x.shape(1),
                  .D = x.shape(2),
                  .accumulate = false,
                  .x = x.data(),
                  .y = nullptr};
  Tensor y = ctx.empty(x.shape(), x.dtype());
  p.y = y.data();
  ctx.launch(p);
  ctx.record_op("reverse_tokens", {&x}, {&y}, [x = x.place(), p](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    KRAIT_CHECK(dx.grad.contiguous(), "reverse_tokens: dx is a part of something wider");
    ReverseTokens back = p;
    back.accumulate = dx.accumulate;
    back.x = step.dy().data();
    back.y = dx.data();
    ctx.launch(back);
  });
  return y;
}

Tensor mean_tokens(Context& ctx, const Tensor& x, const std::vector<int64_t>& which,
                   int64_t first) {
  check_tokens("mean_tokens", x);
  const int64_t B = x.shape(0), L = x.shape(1), D = x.shape(2);
  KRAIT_CHECK(which.size() <= MeanTokensFwd::most, "mean_tokens: ", which.size(),
              " chosen tokens, at most ", MeanTokensFwd::most, " are known");
  Tensor y = ctx.empty({B, D}, x.dtype());
  MeanTokensFwd p{.dtype = x.dtype(),
                  .B = B,
                  .L = L,
                  .D = D,
                  .count = static_cast<int>(which.size()),
                  .which = {},
                  .x = x.data(),
                  .y = y.data(),
                  .first = first};
  KRAIT_CHECK(0 <= first && first < L, "mean_tokens: tokens from ", first, " of x ", x.shape());
  for (size_t i = 0; i < which.size(); ++i) {
    KRAIT_CHECK(0 <= which[i] && which[i] < L, "mean_tokens: token ", which[i], " of x ",
                x.shape());
    p.which[i] = which[i];
  }
  ctx.launch(p);
  auto backward = [x = x.place(), which, first](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    KRAIT_CHECK(dx.grad.contiguous(), "mean_tokens: dx is a part of something wider");
    MeanTokensBwd p{.dtype = x.dtype(),
                    .B = x.shape(0),
                    .L = x.shape(1),
                    .D = x.shape(2),
                    .count = static_cast<int>(which.size()),
                    .which = {},
                    .accumulate = dx.accumulate,
                    .dy = step.dy().data(),
                    .dx = dx.data(),
                    .first = first};
    for (size_t i = 0; i < which.size(); ++i) p.which[i] = which[i];
    ctx.launch(p);
  };
  ctx.record_op("mean_tokens", {&x}, {&y}, backward);
  return y;
}

Tensor max_tokens(Context& ctx, const Tensor& x) {
  check_tokens("max_tokens", x);
  const int64_t B = x.shape(0), L = x.shape(1), C = x.shape(2);
  Tensor y = ctx.empty({B, C}, x.dtype());
  Tensor argmax = ctx.empty({B, C}, DType::i32);
  ctx.launch(MaxTokensFwd{.dtype = x.dtype(),
                          .B = B,
                          .L = L,
                          .C = C,
                          .x = x.data(),
                          .y = y.data(),
                          .argmax = argmax.as<int32_t>()});
  auto backward = [x = x.place(), argmax](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    KRAIT_CHECK(dx.grad.contiguous(), "max_tokens: dx is a part of something wider");
    ctx.launch(MaxTokensBwd{.dtype = x.dtype(),
                            .B = x.shape(0),
                            .L = x.shape(1),
                            .C = x.shape(2),
                            .accumulate = dx.accumulate,
                            .dy = step.dy().data(),
                            .argmax = argmax.as<int32_t>(),
                            .dx = dx.data()});
  };
  ctx.record_op("max_tokens", {&x}, {&y}, backward);
  return y;
}

}  // namespace krait

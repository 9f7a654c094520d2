// What a step minimises: cross-entropy or binary cross-entropy, alone, with a teacher
// (distillation) or with itself (cosub). The formulas are DeiT's, losses.py and engine.py, on a
// model with one answer.
#pragma once

#include <functional>
#include <memory>

#include "apps/train_cifar/options.h"
#include "models/model.h"

namespace krait {

// A trained model that only answers.
class Teacher {
 public:
  // From a checkpoint that says which model it is; its average if that was its result. InputError
  // if the file does not fit pictures of `size` with `classes`.
  Teacher(Context& ctx, const std::string& path, DType type, int size, int classes);
  // images (B, 3, size, size) T -> logits (B, classes) accum. Never recorded.
  Tensor logits(Context& ctx, const Tensor& images) const;
  std::string summary() const;  // "vim_tiny_patch4_32 (average) from PATH"

 private:
  std::string path_, name_;
  ImageModel model_;
  std::unique_ptr<ParamStore> params_;
};

class Objective {
 public:
  using Model = std::function<Tensor(const Tensor& images)>;  // -> logits (B, C)
  Objective(Context& ctx, const TrainOptions& options, DType type, int size, int classes);
  // images (B, 3, S, S) T, targets (B, C) accum -> (1)
  Tensor loss(Context& ctx, const Model& model, const Tensor& images, const Tensor& targets) const;
  const Teacher* teacher() const { return teacher_.get(); }

 private:
  Tensor base(Context& ctx, const Tensor& logits, const Tensor& targets) const;
  bool bce_, cosub_, hard_;
  double alpha_, tau_;
  std::unique_ptr<Teacher> teacher_;
};

}  // namespace krait

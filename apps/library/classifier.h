// A trained model out of a checkpoint, that says what pictures show: what apps/classify and the C
// library have in common. Pictures go the way that train_cifar's evaluation sends them.
#pragma once

#include <memory>
#include <optional>

#include "engine/checkpoint.h"
#include "engine/data/image_file.h"
#include "engine/data/test_pictures.h"
#include "engine/step_graph.h"
#include "models/model.h"

namespace krait {

struct ClassifierOptions {
  std::string device = "auto";     // cpu, cuda; auto: a GPU if there is one
  std::string precision = "auto";  // fp32, bf16; auto: bf16 on a GPU, fp32 on a CPU
  std::string weights = "auto";    // model, ema; auto: whichever was the training's result
  int64_t batch = 64;              // pictures that go through the model at once
  std::vector<std::string> class_names = {};  // empty: the checkpoint's, or "0", "1", ...
};

class Classifier {
 public:
  // A checkpoint of ours, or weights as .pth or .safetensors, whose model is then found from their
  // names and shapes and whose pictures are prepared as ImageNet's are. InputError in one line.
  Classifier(const std::string& path, const ClassifierOptions& options);

  int classes() const { return static_cast<int>(pictures_.class_names.size()); }
  const std::vector<std::string>& class_names() const { return pictures_.class_names; }
  int input_size() const { return pictures_.how.size; }
  int64_t batch() const { return batch_; }
  int64_t sample_bytes() const { return int64_t{3} * input_size() * input_size(); }
  std::string summary() const;  // one line

  // Scales and crops a picture of any size. `out`: (3, input_size, input_size). InputError for one
  // that size_fault() refuses. Any thread may call it.
  void prepare(const Picture& picture, uint8_t* out) const;
  // What B <= batch() prepared pictures show. samples: (B, 3, input_size, input_size);
  // probabilities: (B, classes), NaN where the model's result is not a number. The most probable
  // class and its probability are those of train_cifar --eval, bit for bit, for the same batches.
  // One thread at a time.
  void classify(const uint8_t* samples, int64_t B, float* probabilities);

 private:
  void take_model(const Checkpoint& from);
  void infer(int64_t B);

  int64_t batch_;
  Context ctx_;
  DType type_;  // of activations
  std::string name_;
  bool average_ = false;
  ImageModel model_;
  TestPictures pictures_;
  AugmentOptions rest_;  // what is left to do with a sample: it is not cropped again
  std::unique_ptr<ParamStore> params_;
  std::unique_ptr<DeviceDataset> staging_;        // a batch of samples
  Tensor state_, logits_, totals_, predictions_;  // persistent: StepState, (batch, C), ...
  StepGraph graph_{1};                            // of whole batches
};

}  // namespace krait

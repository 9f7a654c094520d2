// The C interface: a Classifier behind a mutex, and exceptions turned into return values.
#include "apps/library/krait.h"

#include <cstring>
#include <mutex>

#include "apps/library/classifier.h"

struct krait_model {
  krait::Classifier classifier;
  std::mutex mutex;  // of classifier.classify
};

namespace krait {
namespace {

thread_local std::string last_error;

// Runs f and says what came of it, as the functions of krait.h return it.
template <class F>
int guarded(F&& f) noexcept {
  int code = 1;
  const char* why = "unknown error";
  try {
    try {
      f();
      return 0;
    } catch (const OutOfMemory& e) {
      last_error = e.what();
    } catch (const InputError& e) {
      code = 2;
      last_error = e.what();
    } catch (const std::bad_alloc&) {
      last_error = "out of memory";
    } catch (const std::exception& e) {
      last_error = e.what();
    } catch (...) {
      last_error = why;
    }
  } catch (...) {  // no memory for the text
    last_error.clear();
  }
  return code;
}

void needs(const void* p, const char* what) {
  KRAIT_INPUT(p, what, " is NULL");
}

// Pictures in batches: prepare(i, out) makes sample i. Written to `probabilities` at the end.
template <class F>
void classify_all(krait_model& m, size_t count, F&& prepare, float* probabilities) {
  Classifier& c = m.classifier;
  const size_t batch = static_cast<size_t>(c.batch()), C = static_cast<size_t>(c.classes());
  std::vector<uint8_t> samples(std::min(count, batch) * c.sample_bytes());
  std::vector<float> all(count * C);
  for (size_t first = 0; first < count; first += batch) {
    const size_t B = std::min(batch, count - first);
    for (size_t i = 0; i < B; ++i) prepare(first + i, samples.data() + i * c.sample_bytes());
    const std::lock_guard lock(m.mutex);
    c.classify(samples.data(), static_cast<int64_t>(B), all.data() + first * C);
  }
  std::copy(all.begin(), all.end(), probabilities);
}

}  // namespace
}  // namespace krait

using namespace krait;

const char* krait_version(void) {
  return KRAIT_VERSION;
}

krait_model* krait_load(const char* checkpoint, const char* device) {
  krait_model* model = nullptr;
  guarded([&] {
    needs(checkpoint, "checkpoint");
    model = new krait_model{{checkpoint, {.device = device ? device : "auto"}}, {}};
  });
  return model;
}

void krait_free(krait_model* model) {
  guarded([&] { delete model; });
}

int krait_class_count(const krait_model* model) {
  return model ? model->classifier.classes() : 0;
}

const char* krait_class_name(const krait_model* model, int index) {
  if (!model || index < 0 || index >= model->classifier.classes()) return nullptr;
  return model->classifier.class_names()[index].c_str();
}

int krait_input_size(const krait_model* model) {
  return model ? model->classifier.input_size() : 0;
}

int krait_classify(krait_model* model, size_t count, size_t height, size_t width,
                   const uint8_t* pixels, float* probabilities) {
  return guarded([&] {
    needs(model, "model");
    needs(pixels, "pixels");
    needs(probabilities, "probabilities");
    KRAIT_INPUT(count > 0, "there are no pictures");
    const auto limit = static_cast<size_t>(most_pixels);
    KRAIT_INPUT(height <= limit && width <= limit, "a picture of ", width, " x ", height);
    const std::string fault = size_fault(static_cast<int64_t>(height), static_cast<int64_t>(width));
    KRAIT_INPUT(fault.empty(), "the picture ", fault);
    const size_t bytes = height * width * 3;
    auto prepare = [&](size_t i, uint8_t* out) {
      const Picture p{static_cast<int>(height),
                      static_cast<int>(width),
                      {pixels + i * bytes, pixels + (i + 1) * bytes}};
      model->classifier.prepare(p, out);
    };
    classify_all(*model, count, prepare, probabilities);
  });
}

int krait_classify_file(krait_model* model, const char* picture, float* probabilities) {
  return guarded([&] {
    needs(model, "model");
    needs(picture, "picture");
    needs(probabilities, "probabilities");
    Picture p;
    const std::string fault = read_picture(picture, p);
    KRAIT_INPUT(fault.empty(), picture, " ", fault);
    auto prepare = [&](size_t, uint8_t* out) { model->classifier.prepare(p, out); };
    classify_all(*model, 1, prepare, probabilities);
  });
}

const char* krait_last_error(void) {
  return last_error.c_str();
}

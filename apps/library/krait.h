/* krait's C interface: what a picture shows, according to a model that was trained with krait.
 *
 *   krait_model* model = krait_load("checkpoint.safetensors", NULL);
 *   if (!model) { fprintf(stderr, "%s\n", krait_last_error()); return 1; }
 *   int classes = krait_class_count(model);
 *   float* p = malloc(classes * sizeof *p);
 *   if (krait_classify_file(model, "cat.jpg", p) == 0)
 *     for (int c = 0; c < classes; ++c) printf("%s %f\n", krait_class_name(model, c), p[c]);
 *   krait_free(model);
 *
 * Any function may be called from any thread, with models that others use at the same time; only
 * krait_free must be the last call with its model. Calls that classify with one model wait for each
 * other. For more at once load the model more than once, at the cost of its memory.
 *
 * Functions that return int give 0 if all went well, 2 if what they were given is wrong (a bad
 * file, a size of 0), 1 for anything else (no memory left). krait_last_error() then says why. No
 * function ends the program, prints, or throws. What is here stays as it is in later versions with
 * the same first number; functions may be added.
 */
#ifndef KRAIT_H
#define KRAIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KRAIT_API __attribute__((visibility("default")))

typedef struct krait_model krait_model;

/* "0.1.0". */
KRAIT_API const char* krait_version(void);

/* Reads a checkpoint of train_cifar, or a model's weights as .pth or .safetensors. device: "cpu",
 * "cuda", or NULL or "auto" for a GPU if there is one. NULL if that fails. */
KRAIT_API krait_model* krait_load(const char* checkpoint, const char* device);

/* NULL is allowed. */
KRAIT_API void krait_free(krait_model* model);

/* The number of classes, or 0 if model is NULL. */
KRAIT_API int krait_class_count(const krait_model* model);

/* The name of class 0 .. count - 1 in UTF-8, which lives as long as the model; NULL for others. */
KRAIT_API const char* krait_class_name(const krait_model* model, int index);

/* The side of the pictures that the model sees, in pixels; 0 if model is NULL. Pictures of any size
 * may be given: they are scaled, and cropped, as they were when the model was evaluated. */
KRAIT_API int krait_input_size(const krait_model* model);

/* pixels: (count, height, width, 3), red, green and blue as 0 .. 255, rows from the top.
 * probabilities: (count, classes) is written; those of a picture add up to 1. They are NaN where
 * the model's result is not a number. If anything is wrong, nothing is written. */
KRAIT_API int krait_classify(krait_model* model, size_t count, size_t height, size_t width,
                             const uint8_t* pixels, float* probabilities);

/* The same for a PNG, JPEG or BMP file. probabilities: (classes). */
KRAIT_API int krait_classify_file(krait_model* model, const char* picture, float* probabilities);

/* Why the last call of this thread that failed did so, in one line; "" if none has. It is valid
 * until the thread's next call. */
KRAIT_API const char* krait_last_error(void);

#ifdef __cplusplus
}
#endif

#endif

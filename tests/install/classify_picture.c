/* classify_picture CHECKPOINT PICTURE...: the most probable class of each picture, from C. */
#include <krait.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: classify_picture CHECKPOINT PICTURE...\n");
    return 2;
  }
  krait_model* model = krait_load(argv[1], NULL);
  if (!model) {
    fprintf(stderr, "%s\n", krait_last_error());
    return 2;
  }
  const int classes = krait_class_count(model);
  float* probabilities = malloc((size_t)classes * sizeof *probabilities);
  int failed = !probabilities;
  for (int i = 2; i < argc && probabilities; ++i) {
    if (krait_classify_file(model, argv[i], probabilities) != 0) {
      fprintf(stderr, "%s\n", krait_last_error());
      failed = 1;
      continue;
    }
    int best = 0;
    for (int c = 1; c < classes; ++c)
      if (probabilities[c] > probabilities[best]) best = c;
    printf("%s: %s %.4f\n", argv[i], krait_class_name(model, best), probabilities[best]);
  }
  free(probabilities);
  krait_free(model);
  return failed;
}

// What classify prints: text, JSON lines or CSV.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace krait {

enum class Format : uint8_t { text, jsonl, csv };

// What was found out about one picture.
struct Answer {
  std::string path;
  std::string fault;                        // why it could not be classified; "": it was
  std::vector<std::pair<int, float>> best;  // class and probability, the most probable first
};

// The k most probable of C classes; of equals the first comes first.
std::vector<std::pair<int, float>> most_probable(const float* probabilities, int C, int k);

// CSV's first line, "" for the other formats. Every line ends with a newline.
std::string header(Format format, int k);
// text: "cat.png: cat 0.9312, dog 0.0421", nothing for a fault.
// jsonl: {"file": ..., "classes": [{"class": ..., "probability": ...}, ...]} or {"file", "error"}.
// csv (RFC 4180): file, error, class_1, probability_1, ..., class_k, probability_k.
// Bytes of a path that are not UTF-8 become U+FFFD in JSON.
std::string line(Format format, const Answer& answer, const std::vector<std::string>& names, int k);

}  // namespace krait

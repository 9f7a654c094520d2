// What a training leaves in its output folder for reports, besides checkpoints:
//   log.txt               one JSON object a line and evaluated epoch
//   run.json              what was run: model, options, command, version, machine
//   predictions.csv       of each test picture, by the last evaluation
//   best_predictions.csv  the same by the best evaluation
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace krait {

// The numbers of one line of log.txt, by name: "epoch" (from 0), "train_loss", "test_acc1", ...
using LogLine = std::map<std::string, double>;

// The run's history in epochs. Where the log steps back, because a training was resumed from an
// older checkpoint or begun anew, only the later lines count. Lines from epoch `before` on are left
// out. A last line that an interruption cut off is no line. No file: no lines. InputError if a line
// is not JSON.
std::vector<LogLine> read_log(const std::filesystem::path& folder, int64_t before = INT64_MAX);
// Adds a line to log.txt, in place of one that was cut off. InputError with the path.
void append_log(const std::filesystem::path& folder, const nlohmann::ordered_json& line);
void add_line(std::vector<LogLine>& history, const LogLine& line);
LogLine numbers_of(const nlohmann::ordered_json& line);

struct Guess {
  int label = 0, predicted = 0;      // classes; predicted -1: none
  double probability = 0, loss = 0;  // of the predicted class
};
struct Guesses {
  int64_t epoch = -1;     // after which they were made, from 0; -1: there are none
  std::vector<Guess> of;  // one for each test picture
};
// CSV with the columns picture, label, predicted, probability, loss; the first line says the epoch.
void write_guesses(const std::filesystem::path& file, const Guesses& g);
// Nothing if the file is not there, or not what write_guesses() writes.
Guesses read_guesses(const std::filesystem::path& file);

// run.json; null if it is not there. InputError if it is not JSON.
nlohmann::ordered_json read_run(const std::filesystem::path& folder);

// Written beside and renamed, so that a reader never sees half of it. InputError with the path.
void write_whole(const std::filesystem::path& file, const std::string& text);

}  // namespace krait

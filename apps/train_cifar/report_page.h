// The page report.html.
#pragma once

#include "engine/data/dataset.h"
#include "engine/report/run_folder.h"

namespace krait {

// A page that needs nothing but itself. `run` is run.json: model, data_set, parameters, precision,
// device, cpu, version, seed, epochs, command, started, options and defaults (objects); what is
// missing is left out. `last` and `best` may be empty, and so may the history.
std::string report_page(const nlohmann::ordered_json& run, const std::vector<LogLine>& history,
                        const Guesses& last, const Guesses& best, const Dataset& test);

// Rows: what it is, columns: what it was called. (classes, classes), a prediction of -1 left out.
std::vector<std::vector<int64_t>> confusion_matrix(const Guesses& g, int classes);
// Pictures that were called something else, the largest probability first; at most `most`.
std::vector<int64_t> surest_mistakes(const Guesses& g, size_t most);
// The parts of the page that are about classes and pictures; empty if there are no guesses.
std::string classes_html(const Guesses& last, const Guesses& best, const Dataset& test);
std::string mistakes_html(const Guesses& g, const Dataset& test);

}  // namespace krait

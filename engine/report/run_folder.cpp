// Reads and writes the files of an output folder.
#include "engine/report/run_folder.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <unistd.h>

#include "engine/io/file.h"
#include "kernels/common/error.h"

namespace krait {
namespace {

std::optional<std::string> text_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return {};
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// Reads one number and the separator after it. False: there is something else.
template <class T>
bool take(const char*& at, const char* end, T& value, char separator) {
  const auto [stop, error] = std::from_chars(at, end, value);
  if (error != std::errc() || stop == end || *stop != separator) return false;
  at = stop + 1;
  return true;
}

}  // namespace

LogLine numbers_of(const nlohmann::ordered_json& line) {
  LogLine numbers;
  for (const auto& [name, value] : line.items())
    if (value.is_number()) numbers[name] = value.get<double>();  // NaN is written as null
  return numbers;
}

void add_line(std::vector<LogLine>& history, const LogLine& line) {
  const double epoch = line.at("epoch");
  while (!history.empty() && history.back().at("epoch") >= epoch) history.pop_back();
  history.push_back(line);
}

std::vector<LogLine> read_log(const std::filesystem::path& folder, int64_t before) {
  std::vector<LogLine> history;
  std::ifstream in(folder / "log.txt");
  int number = 0;
  for (std::string text; std::getline(in, text);) {
    ++number;
    if (text.empty()) continue;
    const auto json = nlohmann::ordered_json::parse(text, nullptr, false);
    if (in.eof() && json.is_discarded()) break;  // no end of line, and no JSON: cut off
    KRAIT_INPUT(json.is_object() && json.contains("epoch") && json["epoch"].is_number(),
                (folder / "log.txt").string(), ", line ", number,
                ": not a line that a training has logged");
    const LogLine line = numbers_of(json);
    if (line.at("epoch") < static_cast<double>(before)) add_line(history, line);
  }
  return history;
}

void append_log(const std::filesystem::path& folder, const nlohmann::ordered_json& line) {
  const std::string path = (folder / "log.txt").string();
  const std::string before = text_of(path).value_or("");
  const auto lines = static_cast<off_t>(before.rfind('\n') + 1);  // bytes of whole ones
  const std::string text = line.dump() + "\n";
  const File file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
  const bool ok = file.fd() >= 0 && ftruncate(file.fd(), lines) == 0 &&
                  lseek(file.fd(), lines, SEEK_SET) == lines &&
                  file.write_all(text.data(), text.size());
  KRAIT_INPUT(ok, path, ": cannot be written: ", std::strerror(errno));
}

void write_guesses(const std::filesystem::path& file, const Guesses& g) {
  std::string text = fmt::format("# epoch {}\npicture,label,predicted,probability,loss\n", g.epoch);
  for (size_t i = 0; i < g.of.size(); ++i)
    fmt::format_to(std::back_inserter(text), "{},{},{},{:.6g},{:.6g}\n", i, g.of[i].label,
                   g.of[i].predicted, g.of[i].probability, g.of[i].loss);
  write_whole(file, text);
}

Guesses read_guesses(const std::filesystem::path& file) {
  const auto text = text_of(file);
  const std::string start = "# epoch ", columns = "picture,label,predicted,probability,loss\n";
  if (!text || !text->starts_with(start)) return {};
  const char *at = text->data() + start.size(), *end = text->data() + text->size();
  Guesses g;
  if (!take(at, end, g.epoch, '\n') || !std::string_view(at, end - at).starts_with(columns))
    return {};
  for (at += columns.size(); at < end;) {
    int64_t picture;
    Guess one;
    if (!take(at, end, picture, ',') || !take(at, end, one.label, ',') ||
        !take(at, end, one.predicted, ',') || !take(at, end, one.probability, ',') ||
        !take(at, end, one.loss, '\n'))
      return {};
    g.of.push_back(one);
  }
  return g;
}

nlohmann::ordered_json read_run(const std::filesystem::path& folder) {
  const auto text = text_of(folder / "run.json");
  if (!text) return nullptr;
  auto json = nlohmann::ordered_json::parse(*text, nullptr, false);
  KRAIT_INPUT(json.is_object(), (folder / "run.json").string(), " is not what a training writes");
  return json;
}

void write_whole(const std::filesystem::path& file, const std::string& text) {
  const std::string path = file.string(), beside = path + ".new";
  bool ok;
  {
    const File out(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    ok = out.fd() >= 0 && out.write_all(text.data(), text.size());
  }
  if (ok && rename(beside.c_str(), path.c_str()) == 0) return;
  const std::string why = std::strerror(errno);
  unlink(beside.c_str());
  throw InputError(cat(path, ": cannot be written: ", why));
}

}  // namespace krait

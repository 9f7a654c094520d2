// What the reports of kernel_lab share: numbers as text, saved runs, tables in .md files.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace krait {

std::string number(const char* format, double value);  // as printf
// Three or four digits: "0.123", "1.23", "12.3", "123.4", "1234".
std::string short_number(double value);

// Times of an earlier run, by the row's key.
class Baseline {
 public:
  // Throws InputError if the file is not one of --save. An empty path: there is no earlier run.
  explicit Baseline(const std::filesystem::path& file);
  explicit operator bool() const { return there_; }
  // "-3.1%", "new", or "" where there is no earlier run.
  std::string change(const std::string& key, double seconds) const;

 private:
  bool there_ = false;
  std::map<std::string, double> microseconds_;
};

// Replaces what stands between <!-- name --> and <!-- /name -->. False: the file has no such marks,
// or is not there. Throws InputError if it cannot be written.
bool write_between_marks(const std::filesystem::path& file, const std::string& name,
                         const std::string& text);

// Writes `text`, or throws InputError that names `option`.
void write_file(const std::filesystem::path& file, const std::string& text, const char* option);
// Throws the same if that would fail: to be called before anything is measured.
void check_writable(const std::filesystem::path& file, const char* option);

}  // namespace krait

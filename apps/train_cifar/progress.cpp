// Draws the bar, or prints a line, and works out images/s and the time left.
#include "apps/train_cifar/progress.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <sys/ioctl.h>
#include <unistd.h>

namespace krait {
namespace {

double seconds_since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

int terminal_width() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string human_time(double seconds) {
  if (seconds < 60) return fmt::format("{:.0f} s", seconds);
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string human_bytes(double bytes) {
  if (bytes >= 1024.0 * 1024 * 1024) return fmt::format("{:.1f} GiB", bytes / (1 << 30));
  return fmt::format("{:.0f} MiB", bytes / (1 << 20));
}

int64_t resident_bytes() {
  std::ifstream sizes("/proc/self/statm");  // in pages: of the address space, and resident
  int64_t all = 0, resident = 0;
  sizes >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

Progress::Progress(std::string what, int64_t total, int64_t every)
    : what_(std::move(what)),
      total_(total),
      every_(every),
      terminal_(isatty(STDOUT_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}
Progress::~Progress() {
  finish();
}

void Progress::show(int64_t done, int64_t images, const std::string& rest) {
  const bool first = first_done_ < 0;
  if (first) {  // rates are taken from here on: the first step also set things up
    first_done_ = done;
    first_images_ = images;
    start_ = std::chrono::steady_clock::now();
  }
  if (terminal_ ? !first && seconds_since(last_) < 0.1 : first || done % every_ != 0) return;
  last_ = std::chrono::steady_clock::now();
  const double seconds = seconds_since(start_);
  const int64_t steps = done - first_done_;
  std::string speed = "-- images/s", left = "--";
  if (steps > 0) {
    speed = fmt::format("{:.0f} images/s", (images - first_images_) / seconds);
    left = human_time(seconds / steps * (total_ - done));
  }
  if (!terminal_) {
    fmt::print("{} {}/{}  {}  {}  {} left\n", what_, done, total_, rest, speed, left);
    std::fflush(stdout);
    return;
  }
  std::string text = fmt::format(" {}/{} {} {} {} left", done, total_, rest, speed, left);
  for (size_t at; (at = text.find("  ")) != std::string::npos;) text.erase(at, 1);
  const int room = terminal_width() - static_cast<int>(what_.size() + text.size()) - 4;
  const int bar = std::clamp(room, 6, 24);
  const int full = total_ > 0 ? static_cast<int>(bar * done / total_) : bar;
  text = fmt::format(" [{}{}]", std::string(full, '#'), std::string(bar - full, '.')) + text;
  std::string line = what_ + text;
  if (static_cast<int>(line.size()) >= terminal_width()) line.resize(terminal_width() - 1);
  fmt::print("\r\033[K{}", line);
  std::fflush(stdout);
  drawn_ = true;
}

void Progress::finish() {
  if (!drawn_) return;
  fmt::print("\r\033[K");
  std::fflush(stdout);
  drawn_ = false;
}

}  // namespace krait

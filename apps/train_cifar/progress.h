// What a person sees while it trains: a bar on a terminal, a line every so often in a pipe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace krait {

class Progress {
 public:
  // `every`: after how many steps a pipe gets a line.
  Progress(std::string what, int64_t total, int64_t every);
  ~Progress();
  // `done` of `total` steps; `rest` is what else to show, "loss 1.23  lr 1.0e-3". `images`: so far.
  void show(int64_t done, int64_t images, const std::string& rest);
  void finish();  // wipes the bar

 private:
  std::string what_;
  int64_t total_, first_done_ = -1, first_images_ = 0;
  int64_t every_;
  bool terminal_, drawn_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

std::string human_time(double seconds);  // "1:02:03", "4:05", "12 s"
std::string human_bytes(double bytes);   // "1.4 GiB"
int64_t resident_bytes();                // of this process: what is in memory of its pages

}  // namespace krait

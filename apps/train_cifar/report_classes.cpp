// The page's confusion matrices, accuracies of classes, and pictures.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "apps/train_cifar/report_page.h"
#include "engine/data/image_file.h"
#include "engine/report/encode.h"
#include "engine/report/page.h"

namespace krait {
namespace {

constexpr int most_in_matrix = 20;  // with more classes it cannot be read
constexpr size_t most_pairs = 30, most_pictures = 24;
constexpr int picture_side = 96;  // as large as the page shows them

std::string name_of(const Dataset& d, int label) {
  if (label < 0) return "no class (not a number)";
  return label < static_cast<int>(d.class_names.size()) ? d.class_names[label]
                                                        : fmt::format("class {}", label);
}

using Matrix = std::vector<std::vector<int64_t>>;

std::string matrix_html(const Matrix& m, const Dataset& d, const std::string& caption) {
  std::vector<std::string> head = {"is, called"};
  std::vector<std::vector<Cell>> rows;
  for (size_t t = 0; t < m.size(); ++t) {
    head.push_back(name_of(d, t));
    std::vector<Cell> row = {{escaped(name_of(d, t))}};
    const double all = std::max<int64_t>(std::accumulate(m[t].begin(), m[t].end(), int64_t{0}), 1);
    for (const int64_t n : m[t]) {
      // Few are to be seen, and the number is to be read: dark text up to one half, then light.
      const double share = n / all;
      const double strength = share < 0.5 ? 0.55 * std::pow(2 * share, 0.6) : 0.7 + 0.3 * share;
      row.push_back({std::to_string(n), fmt::format(" class=\"{}\" style=\"--a:{:.3f}\"",
                                                    n == 0         ? "none"
                                                    : share >= 0.5 ? "on"
                                                                   : "off",
                                                    n == 0 ? 0.0 : strength)});
    }
    rows.push_back(row);
  }
  return table_html(caption, head, rows, "matrix");
}

// Most often confused pairs, for where a matrix would be too large.
std::string pairs_html(const Matrix& m, const Dataset& d, const std::string& caption) {
  struct Pair {
    int64_t n;
    size_t is, called;
  };
  std::vector<Pair> pairs;
  for (size_t t = 0; t < m.size(); ++t)
    for (size_t p = 0; p < m.size(); ++p)
      if (t != p && m[t][p] > 0) pairs.push_back({m[t][p], t, p});
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Pair& a, const Pair& b) { return a.n > b.n; });
  if (pairs.size() > most_pairs) pairs.resize(most_pairs);
  std::vector<std::vector<Cell>> rows;
  for (const Pair& p : pairs)
    rows.push_back({{escaped(name_of(d, p.is))},
                    {escaped(name_of(d, p.called))},
                    {std::to_string(p.n), " class=\"n\""}});
  return table_html(caption, {"is", "was called", "times"}, rows);
}

std::string accuracies_html(const Matrix& m, const Dataset& d) {
  std::vector<std::vector<Cell>> rows;
  for (size_t t = 0; t < m.size(); ++t) {
    const int64_t all = std::accumulate(m[t].begin(), m[t].end(), int64_t{0});
    if (all == 0) continue;
    const double percent = 100.0 * m[t][t] / all;
    size_t other = t == 0 ? 1 : 0;
    for (size_t p = 0; p < m.size(); ++p)
      if (p != t && m[t][p] > m[t][other]) other = p;
    const bool mistaken = other < m.size() && m[t][other] > 0;
    rows.push_back(
        {{escaped(name_of(d, t))},
         {fmt::format(
             "<span class=\"bar\" aria-hidden=\"true\"><i style=\"width:{:.1f}%\"></i></span>"
             "{:.1f}&nbsp;%",
             percent, percent)},
         {std::to_string(all), " class=\"n\""},
         {mistaken ? fmt::format("{} ({})", escaped(name_of(d, other)), m[t][other]) : ""}});
  }
  return table_html("Accuracy of each class, last evaluation",
                    {"class", "top-1", "pictures", "most often mistaken for"}, rows);
}

// The picture as a data URI; empty if its file cannot be read any more.
std::string picture_uri(const Dataset& d, int64_t i) {
  const std::string start = "data:image/png;base64,";
  if (!d.files.empty()) {
    Picture read;
    if (!read_picture(d.files[i], read).empty()) return "";
    return start + base64(png(shrunk({read.height, read.width, 3, read.pixels}, picture_side)));
  }
  const int64_t pixels = int64_t{d.height} * d.width, bytes = d.channels * pixels;
  Bitmap p{d.height, d.width, d.channels, std::vector<uint8_t>(bytes)};
  for (int64_t k = 0; k < bytes; ++k)  // (channels, H, W) -> (H, W, channels)
    p.bytes[k % pixels * d.channels + k / pixels] = d.images[i * bytes + k];
  return start + base64(png(shrunk(p, picture_side)));
}

}  // namespace

std::vector<std::vector<int64_t>> confusion_matrix(const Guesses& g, int classes) {
  Matrix m(classes, std::vector<int64_t>(classes));
  for (const Guess& one : g.of)
    if (one.predicted >= 0) ++m[one.label][one.predicted];
  return m;
}

std::vector<int64_t> surest_mistakes(const Guesses& g, size_t most) {
  std::vector<int64_t> wrong;
  for (size_t i = 0; i < g.of.size(); ++i)
    if (g.of[i].predicted != g.of[i].label && std::isfinite(g.of[i].probability))
      wrong.push_back(static_cast<int64_t>(i));
  const size_t n = std::min(most, wrong.size());
  std::partial_sort(wrong.begin(), wrong.begin() + n, wrong.end(), [&](int64_t a, int64_t b) {
    const double pa = g.of[a].probability, pb = g.of[b].probability;
    return pa != pb ? pa > pb : a < b;
  });
  wrong.resize(n);
  return wrong;
}

std::string classes_html(const Guesses& last, const Guesses& best, const Dataset& test) {
  if (last.of.empty()) return "";
  const Matrix m = confusion_matrix(last, test.classes);
  const bool few = test.classes <= most_in_matrix;
  const auto draw = few ? matrix_html : pairs_html;
  std::string s =
      few ? "<p class=\"dim\">A row is what the pictures are, a column what they were called.</p>\n"
          : "";
  s += "<div class=\"matrices\">\n";
  s += draw(m, test, fmt::format("Last evaluation, after epoch {}", last.epoch + 1));
  if (!best.of.empty() && best.epoch != last.epoch)
    s += draw(confusion_matrix(best, test.classes), test,
              fmt::format("Best evaluation, after epoch {}", best.epoch + 1));
  s += accuracies_html(m, test) + "</div>\n";
  if (!best.of.empty() && best.epoch == last.epoch)
    s += "<p class=\"dim\">The last evaluation is the best so far.</p>\n";
  return section_html("Classes", s);
}

std::string mistakes_html(const Guesses& g, const Dataset& test) {
  std::string s;
  for (const int64_t i : surest_mistakes(g, most_pictures)) {
    const Guess& one = g.of[i];
    const std::string is = escaped(name_of(test, one.label)),
                      called = escaped(name_of(test, one.predicted)), uri = picture_uri(test, i);
    s += "<figure>";
    if (!uri.empty())
      s += fmt::format("<img src=\"{}\" alt=\"test picture {}: {}, called {}\">", uri, i, is,
                       called);
    s += fmt::format(
        "<figcaption>is <b>{}</b><br>called <b>{}</b>, {:.1f}&nbsp;%<br><span "
        "class=\"dim\">picture {}</span></figcaption></figure>\n",
        is, called, 100 * one.probability, i);
  }
  if (s.empty()) return "";
  return section_html("Surest mistakes",
                      fmt::format("<p class=\"dim\">Test pictures that the model was wrong about, "
                                  "the surest first, after epoch {}.</p>\n<div "
                                  "class=\"pictures\">\n{}</div>\n",
                                  g.epoch + 1, s));
}

}  // namespace krait

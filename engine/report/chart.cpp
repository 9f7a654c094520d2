// Line charts as SVG.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "engine/report/page.h"

namespace krait {
namespace {

// Of the drawing, in its own units; the page scales it.
constexpr double width = 460, height = 250;
constexpr double left = 56, right = 448, top = 10, bottom = 212;  // where the lines are
constexpr size_t few = 25;  // so few points are marked one by one

struct Axis {
  std::vector<double> ticks;
  double low, high, from, to;  // values, and where they are drawn
  double at(double v) const { return from + (v - low) / (high - low) * (to - from); }
  double step() const { return ticks.size() > 1 ? ticks[1] - ticks[0] : 1; }
};

std::string key_svg(size_t i) {
  return fmt::format(
      "<svg class=\"key s{}\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path d=\"M1 "
      "5H27\"/></svg>",
      i % 8);
}

// Short enough for a legend: 0.1234, 85.71, 18859, 1.5e-05.
std::string value_text(double v, const std::string& unit) {
  const std::string s = std::abs(v) >= 1000 ? fmt::format("{:.0f}", v) : fmt::format("{:.4g}", v);
  return s + (unit.empty() ? "" : " " + unit);
}

struct Points {
  std::vector<std::pair<double, double>> at;
};
std::vector<Points> finite_points(const Chart& c) {
  std::vector<Points> all;
  for (const Series& s : c.series) {
    Points p;
    for (size_t i = 0; i < s.x.size(); ++i)
      if (std::isfinite(s.x[i]) && std::isfinite(s.y[i])) p.at.emplace_back(s.x[i], s.y[i]);
    all.push_back(p);
  }
  return all;
}

Axis x_axis(const Chart& c, double low, double high) {
  if (low == high) --low, ++high;  // one point: in the middle
  Axis a{nice_ticks(low, high, 7, c.whole_x), low, high, left, right};
  std::erase_if(a.ticks, [&](double t) { return t < low || t > high; });
  return a;
}
Axis y_axis(const Chart& c, double low, double high) {
  if (c.from_zero) low = std::min(low, 0.0);
  if (low == high) high += std::max(std::abs(high) * 0.1, 1e-6);
  Axis a{nice_ticks(low, high, 5), 0, 0, bottom, top};
  a.low = a.ticks.front();
  a.high = a.ticks.back();
  return a;
}

std::string grid(const Chart& c, const Axis& x, const Axis& y) {
  std::string s;
  for (double t : y.ticks)
    s += fmt::format(
        "<path class=\"grid\" d=\"M{} {:.1f}H{}\"/><text x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{}</text>",
        left, y.at(t), right, left - 6, y.at(t) + 4, tick_text(t, y.step()));
  for (double t : x.ticks)
    s += fmt::format(
        "<path class=\"tick\" d=\"M{0:.1f} {1}v4\"/><text x=\"{0:.1f}\" y=\"{2}\" "
        "text-anchor=\"middle\">{3}</text>",
        x.at(t), bottom, bottom + 17, tick_text(t, x.step()));
  s += fmt::format("<path class=\"tick\" d=\"M{} {}H{}\"/>", left, bottom, right);
  return s + fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                         (left + right) / 2, height - 4, escaped(c.x_label));
}

// One line, and its points for the script: [x drawn, y drawn, x, y as text].
std::string line_svg(size_t i, const Points& p, const Axis& x, const Axis& y) {
  std::string d, dots;
  for (const auto& [px, py] : p.at) {
    d += fmt::format("{}{:.1f} {:.1f}", d.empty() ? "M" : "L", x.at(px), y.at(py));
    if (p.at.size() <= few)
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.2\"/>", x.at(px), y.at(py));
  }
  return fmt::format("<g class=\"s{}\"><path d=\"{}\"/>{}</g>", i % 8, d, dots);
}
std::string points_json(const Chart& c, const std::vector<Points>& all, const Axis& x,
                        const Axis& y) {
  std::string s;
  for (const Points& p : all) {
    std::string of;
    for (const auto& [px, py] : p.at)
      of += fmt::format("{}[{:.1f},{:.1f},\"{}\",\"{}\"]", of.empty() ? "" : ",", x.at(px),
                        y.at(py), value_text(px, ""), value_text(py, c.unit));
    s += (s.empty() ? "[" : ",[") + of + "]";
  }
  return "[" + s + "]";
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int wanted, bool whole) {
  double step = std::pow(10, std::floor(std::log10((high - low) / wanted)));
  for (const double times : {2.0, 2.5, 2.0})  // 1, 2, 5, 10
    if ((high - low) / step > wanted) step *= times;
  if (whole) step = std::max(step, 1.0);
  std::vector<double> ticks;
  // A little is allowed for, so that 0.3 is not missed for being 0.30000000000000004.
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double i = first; i <= last; ++i) ticks.push_back(i * step + 0.0);  // never -0
  return ticks;
}

std::string tick_text(double value, double step) {
  if (value == 0) return "0";
  if (std::abs(value) < 1e-3 || std::abs(value) >= 1e6) return fmt::format("{:.3g}", value);
  const int digits = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 6);
  return fmt::format("{:.{}f}", value, digits);
}

std::string chart_html(const Chart& c) {
  const std::vector<Points> all = finite_points(c);
  double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
  for (const Points& p : all)
    for (const auto& [x, y] : p.at) {
      x0 = std::min(x0, x), x1 = std::max(x1, x);
      y0 = std::min(y0, y), y1 = std::max(y1, y);
    }
  if (!(x0 <= x1)) return "";
  const Axis x = x_axis(c, x0, x1), y = y_axis(c, y0, y1);
  std::string legend, lines, spoken;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].at.empty()) continue;
    const std::string last = value_text(all[i].at.back().second, c.unit);
    legend += fmt::format("<li>{}{} <b data-series=\"{}\">{}</b></li>", key_svg(i),
                          escaped(c.series[i].name), i, last);
    lines += line_svg(i, all[i], x, y);
    spoken += (spoken.empty() ? "" : ", ") + c.series[i].name + " " + last;
  }
  return fmt::format(
      "<figure class=\"chart\" data-points='{}'>\n"
      "<figcaption>{}<span class=\"where\" data-label=\"{}\">last values</span></figcaption>\n"
      "<ul class=\"legend\">{}</ul>\n"
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" tabindex=\"0\" aria-label=\"{}\">{}{}"
      "<path class=\"cursor\" d=\"M0 {}V{}\" visibility=\"hidden\"/></svg>\n</figure>\n",
      points_json(c, all, x, y), escaped(c.title), escaped(c.x_label), legend, width, height,
      escaped(c.title + " over " + c.x_label + ". At the end: " + spoken), grid(c, x, y), lines,
      top, bottom);
}

}  // namespace krait

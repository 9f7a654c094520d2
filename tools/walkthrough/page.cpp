// The walk-through as one HTML file: every stage, and pictures of what it does.
#include "engine/report/page.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "engine/report/encode.h"
#include "tools/walkthrough/places.h"
#include "tools/walkthrough/text.h"

namespace krait::walk {
namespace {

const char* style = R"css(<style>
.eq { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", Georgia, serif; font-size: 1.12rem;
  background: var(--soft); border-left: 3px solid var(--accent); padding: 6px 12px; margin: 8px 0;
  overflow-x: auto; }
.eq div { margin: 3px 0 3px 24px; text-indent: -24px; }
.eq sub, .eq sup { font-size: .72em; line-height: 0; }
nav { display: flex; flex-wrap: wrap; gap: 4px 14px; margin: 12px 0; }
a { color: var(--accent); }
.maps { display: flex; flex-wrap: wrap; gap: 18px; margin: 12px 0; }
.maps figure { width: min(100%, 260px); }
.maps figure.large { width: min(100%, 420px); }
.maps figcaption { font-weight: 400; font-size: .85rem; line-height: 1.35; margin-top: 4px; }
.maps svg, .maps img { display: block; width: 100%; height: auto; image-rendering: pixelated; }
.maps svg text { fill: #fff; paint-order: stroke; stroke: #000; stroke-width: 2.5px; font-size: 11px; }
.scale { display: block; height: 8px; margin-top: 4px;
  background: linear-gradient(90deg, #440154, #3b528b, #21918c, #5ec962, #fde725); }
.code { margin: 8px 0; } .code code { font-size: .82rem; }
.code pre { margin: 2px 0 8px 16px; overflow-x: auto; color: var(--dim); font-size: .8rem; }
.checks { list-style: none; padding: 0; margin: 6px 0; display: flex; flex-wrap: wrap; gap: 2px 18px;
  font-size: .88rem; font-variant-numeric: tabular-nums; }
.ok { color: var(--c2); } .bad { color: var(--c4); font-weight: 700; }
h3 { font-size: .95rem; margin: 14px 0 2px; color: var(--dim); font-weight: 600; }
td, th { white-space: nowrap; } section thead th + th { text-align: right; }
.side { display: flex; flex-wrap: wrap; gap: 0 48px; } .side > div { max-width: 100%; }
</style>
)css";

// Subscripts and superscripts as HTML has them.
std::string equation_html(const std::string& e) {
  std::string out;
  for (size_t i = 0; i < e.size(); ++i) {
    if ((e[i] != '_' && e[i] != '^') || i + 1 == e.size()) {
      out += escaped(e.substr(i, 1));
      continue;
    }
    const bool braces = e[i + 1] == '{';
    const size_t end = braces ? e.find('}', i) : i + 1;
    const std::string inside = braces ? e.substr(i + 2, end - i - 2) : e.substr(i + 1, 1);
    out += fmt::format("<{0}>{1}</{0}>", e[i] == '_' ? "sub" : "sup", escaped(inside));
    i = end;
  }
  return out;
}

// Dark blue for 0 to yellow for 1 ("viridis", in five steps).
void colour(double v, uint8_t* to) {
  static const double stops[5][3] = {
      {68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}};
  const double at = std::clamp(v, 0.0, 1.0) * 4;
  const int i = std::min(3, static_cast<int>(at));
  for (int c = 0; c < 3; ++c)
    to[c] =
        static_cast<uint8_t>(std::lround(stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c])));
}
std::string data_url(const Bitmap& b) {
  return "data:image/png;base64," + base64(png(b));
}
std::string figure(const std::string& html, const std::string& caption, bool large = false) {
  return cat("<figure", large ? " class=\"large\"" : "", ">", html, "<figcaption>", caption,
             "</figcaption></figure>\n");
}

// Values (rows x columns) as coloured pixels; `root`: of the share of the largest its square root.
std::string map_figure(const Matrix& m, const std::string& caption, bool root = false,
                       bool large = false) {
  const auto [low_at, high_at] = std::minmax_element(m.data.begin(), m.data.end());
  const double low = root ? 0 : *low_at, high = *high_at;
  Bitmap b{static_cast<int>(m.rows), static_cast<int>(m.columns), 3, {}};
  b.bytes.resize(3 * m.data.size());
  for (size_t i = 0; i < m.data.size(); ++i) {
    const double v = high > low ? (m.data[i] - low) / (high - low) : 0;
    colour(root ? std::sqrt(v) : v, &b.bytes[3 * i]);
  }
  return figure(cat("<img src=\"", data_url(b), "\" alt=\"\"><span class=\"scale\"></span>"),
                cat(number(low), " to ", number(high), root ? " (colours by square root)" : "",
                    ". ", caption),
                large);
}

class Pictures {
 public:
  Pictures(const Subject& s, const View& view) : s_(s), t_(s.trace), c_(t_.config), view_(view) {}

  // What belongs to a stage; mostly nothing.
  std::string of(const std::string& stage) const {
    if (stage == "image") return maps(photograph("The picture, as the model is shown it."));
    if (stage == "patches") return maps(order(0) + (t_.sides() == 2 ? order(1) : ""));
    if (stage == "delta") return maps(photograph("The picture.") + steps());
    if (stage == "discretise")
      return cat("<div class=\"charts\">", spectrum(0), t_.sides() == 2 ? spectrum(1) : "",
                 left_over(), "</div>");
    if (stage == "scan") return cat("<div class=\"charts\">", memory(), "</div>");
    if (stage == "attention") return maps(hears());
    if (stage == "saliency") return maps(photograph("The picture.") + salient());
    return "";
  }

 private:
  static std::string maps(const std::string& html) {
    return cat("<div class=\"maps\">\n", html, "</div>\n");
  }
  int unit() const { return std::max(1, 256 / c_.img_size); }  // of the drawing, per pixel
  std::string picture_url() const {
    const int S = c_.img_size;
    Bitmap b{S, S, 3, std::vector<uint8_t>(s_.pixels.size())};
    for (int i = 0; i < S * S; ++i)
      for (int c = 0; c < 3; ++c) b.bytes[3 * i + c] = s_.pixels[c * S * S + i];
    return data_url(b);
  }
  // An SVG with the picture in it, its patches outlined, and what is drawn over them.
  std::string drawing(const std::string& over) const {
    const int side = c_.img_size * unit(), G = c_.grid();
    std::string svg = fmt::format(
        "<svg viewBox=\"0 0 {0} {0}\" role=\"img\"><image href=\"{1}\" width=\"{0}\" "
        "height=\"{0}\" "
        "style=\"image-rendering:pixelated\"/>",
        side, picture_url());
    for (int i = 0; i < G * G; ++i)
      svg += fmt::format(
          "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#fff\" "
          "stroke-opacity=\".45\"/>",
          i % G * c_.stride * unit(), i / G * c_.stride * unit(), c_.patch_size * unit(),
          c_.patch_size * unit());
    return svg + over + "</svg>";
  }
  std::string photograph(const std::string& caption) const { return figure(drawing(""), caption); }
  std::string order(int k) const {
    const int G = c_.grid();
    auto middle = [&](int i) { return (i * c_.stride + c_.patch_size / 2.0) * unit(); };
    std::string over, points;
    for (int step = 0; step < G * G; ++step) {
      const int i = k ? G * G - 1 - step : step;
      points += fmt::format("{:.1f},{:.1f} ", middle(i % G), middle(i / G));
    }
    const char* stroke = k ? "#ff9d57" : "#6cb4ff";
    for (const char* c : {"#000", stroke})  // a dark edge, so that it is seen on any picture
      over += fmt::format(
          "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" "
          "stroke-opacity=\"{}\"/>",
          points, c, *c == '#' && c == stroke ? 2.5 : 5, c == stroke ? 1 : .5);
    const int first = k ? G * G - 1 : 0, last = k ? 0 : G * G - 1;
    over += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"7\" style=\"fill:{}\" stroke=\"#000\"/>",
                        middle(first % G), middle(first / G), stroke);
    over += fmt::format(
        "<rect x=\"{}\" y=\"{}\" width=\"13\" height=\"13\" fill=\"{}\" stroke=\"#000\"/>",
        middle(last % G) - 6.5, middle(last / G) - 6.5, stroke);
    return figure(drawing(over),
                  cat(k ? "Reverse" : "Forward",
                      " scan: from the disc to the square, row by row. "
                      "Each token hears those that the line has visited before it",
                      k ? "; with both sides, the whole picture." : "."),
                  true);
  }
  // A value for each token -> for each patch of the grid (class tokens are left out).
  Matrix grid_of(const Vector& tokens) const {
    const int G = c_.grid();
    const int64_t L = std::ssize(tokens);
    Matrix m(G, G);
    int64_t patch = 0;
    for (int64_t l = 0; l < L; ++l) {
      if (!class_token_at(c_, l).empty()) continue;
      const bool turned = c_.if_bidirectional && t_.layer % 2 == 1;
      m.data[patch++] = tokens[turned ? L - 1 - l : l];
    }
    return m;
  }
  std::string steps() const {
    std::string html;
    for (int k = 0; k < t_.inputs(); ++k) {
      Vector mean(t_.Delta[k].rows), one(t_.Delta[k].rows);
      for (int64_t l = 0; l < t_.Delta[k].rows; ++l) {
        for (int64_t e = 0; e < t_.Delta[k].columns; ++e)
          mean[l] += t_.Delta[k](l, e) / static_cast<double>(t_.Delta[k].columns);
        one[l] = t_.Delta[k](l, view_.channel);
      }
      html += map_figure(grid_of(mean), cat("\u0394 of each token, ", side_name(k),
                                            " side, mean over channels: where the model takes "
                                            "long steps."));
      html += map_figure(grid_of(one),
                         cat("\u0394 of channel ", view_.channel, ", ", side_name(k), " side."));
    }
    return html;
  }
  // exp(Delta A) over all tokens and channels, sorted: a curve for each of some states.
  std::string spectrum(int k) const {
    Chart chart{.title = cat("The decay spectrum, ", side_name(k), " side"),
                .x_label = "% of tokens and channels, sorted",
                .series = {},
                .whole_x = false};
    const Matrix a = decay(t_.side(k), t_.Delta[k]);
    for (const int64_t n : some_states()) {
      Series line{cat("exp(\u0394 A), state ", n), {}, {}};
      Vector all;
      for (int64_t i = n; i < std::ssize(a.data); i += c_.d_state) all.push_back(a.data[i]);
      std::sort(all.begin(), all.end());
      for (int i = 0; i <= 50; ++i) {
        line.x.push_back(2 * i);
        line.y.push_back(all[(all.size() - 1) * i / 50]);
      }
      chart.series.push_back(line);
    }
    return chart_html(chart);
  }
  // How much of what token 0 of the walk wrote is left later, in each state of the channel.
  std::string left_over() const {
    const Side side = t_.side(0);
    const Matrix a = decay(side, t_.Delta[0]);
    Chart chart{
        .title = cat("What is left of the first token in channel ", view_.channel, ", forward"),
        .x_label = "token",
        .series = {},
        .from_zero = true};
    const int64_t N = c_.d_state;
    for (const int64_t n : some_states()) {
      Series line{cat("state ", n), {}, {}};
      double left = 1;
      for (int64_t l = 0; l < a.rows; ++l) {
        if (l > 0) left *= a(l, view_.channel * N + n);
        line.x.push_back(static_cast<double>(l)), line.y.push_back(left);
      }
      chart.series.push_back(line);
    }
    return chart_html(chart);
  }
  std::vector<int64_t> some_states() const {
    std::vector<int64_t> n;
    const int64_t N = c_.d_state;
    for (int64_t i = 0; i < std::min<int64_t>(N, 4); ++i)
      n.push_back(i * (N - 1) / std::max<int64_t>(1, std::min<int64_t>(N, 4) - 1));
    return n;
  }
  std::string memory() const {
    std::string html;
    for (int k = 0; k < t_.sides(); ++k) {
      Chart chart{.title = cat("What the states of channel ", view_.channel, " remember, ",
                               side_name(k), " side"),
                  .x_label = k ? "token (the walk goes from right to left)" : "token",
                  .series = {}};
      for (const int64_t n : some_states()) {
        Series line{cat("h, state ", n), {}, {}};
        for (int64_t l = 0; l < t_.h[k].rows; ++l)
          line.x.push_back(static_cast<double>(l)),
              line.y.push_back(t_.h[k](l, view_.channel * c_.d_state + n));
        chart.series.push_back(line);
      }
      html += chart_html(chart);
    }
    return html;
  }
  std::string hears() const {
    const int64_t L = t_.n.v.rows, E = c_.inner();
    // Of many tokens, some channels are enough to draw.
    const double work =
        static_cast<double>(L) * static_cast<double>(L) * static_cast<double>(E * c_.d_state);
    const int64_t every = std::max<int64_t>(1, static_cast<int64_t>(work / 4e8)),
                  used = (E + every - 1) / every;
    const std::string over =
        used == E ? "mean over all channels" : cat("mean over ", used, " channels");
    Matrix both(L, L);
    std::string html;
    for (int k = 0; k < t_.sides(); ++k) {
      const Side side = t_.side(k);
      const Matrix Delta = step_size(side);
      Matrix mean(L, L);
      for (int64_t e = 0; e < E; e += every) {
        const Matrix M = implied_attention(side, Delta, e);
        for (size_t i = 0; i < M.data.size(); ++i)
          mean.data[i] += std::abs(M.data[i]) / static_cast<double>(used);
      }
      Vector heard(L);
      for (int64_t i = 0; i < L; ++i) heard[i] = mean(view_.token, i);
      both = sum(both, mean);
      html +=
          map_figure(grid_of(heard),
                     cat("What token ", view_.token, " hears through the ", side_name(k),
                         " side: |M(", view_.token, ", i)| at the place of token i, ", over, "."),
                     true);
    }
    return map_figure(
               both,
               cat("|M(t, i)|, ", over,
                   ": row t is a token, column i a token that it hears. Below the "
                   "diagonal through the forward side, above it through the reverse one; what "
                   "fades with the distance is forgotten."),
               true, true) +
           html;
  }
  std::string salient() const {
    const int64_t S = c_.img_size;
    Matrix m(S, S);
    for (int64_t i = 0; i < 3 * S * S; ++i) m.data[i % (S * S)] += std::abs(t_.dimage[i]);
    return map_figure(
        m,
        "|d loss / d pixel|, all three colours: where a small change would change the loss most.",
        true);
  }

  const Subject& s_;
  const Trace& t_;
  const VimConfig& c_;
  View view_;
};

std::string table_of(const std::vector<std::vector<std::string>>& rows, bool with_head) {
  std::vector<std::string> head;
  std::vector<std::vector<Cell>> cells;
  size_t columns = 0;
  for (const auto& r : rows) columns = std::max(columns, r.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 && with_head) {
      head = rows[0];
      continue;
    }
    auto& row = cells.emplace_back();
    for (size_t j = 0; j < columns; ++j)
      row.push_back({j >= rows[i].size() ? ""
                     : j                 ? escaped(rows[i][j])
                                         : equation_html(rows[i][j]),
                     j && with_head ? " class=\"n\"" : ""});
  }
  return table_html("", head, cells);
}

}  // namespace

std::string page_of(const Subject& s, const View& view, const std::vector<Stage>& stages) {
  const Trace& t = s.trace;
  const Vector p = softmax(t.most.v ? t.most.v.data : t.logits.v.data);
  const auto best = std::max_element(p.begin(), p.end()) - p.begin();
  std::string body =
      cat(style, "<h1>A picture's way through Vision Mamba, and back</h1>\n<p class=\"dim\">",
          escaped(introduction(s, view)), "</p>\n<ul class=\"cards\">\n");
  body +=
      card_html("the model says", s.class_names[best], fmt::format("probability {:.3f}", p[best]));
  body += card_html("target", s.class_names[t.target], s.target_from);
  body += card_html("loss", number(t.loss), "cross-entropy");
  body += card_html("checks", all_agree(stages) ? "all agree" : "NOT all agree", summary(stages));
  body += "</ul>\n<nav>\n";
  for (const Stage& g : stages)
    body += cat("<a href=\"#", g.name, "\">", escaped(g.title), "</a>\n");
  body += "</nav>\n";
  const Pictures pictures(s, view);
  for (const Stage& g : stages) {
    body += cat("<section id=\"", g.name, "\">\n<h2>", escaped(g.title), "</h2>\n<p>",
                escaped(g.text), "</p>\n<div class=\"eq\">");
    for (const std::string& e : g.equations) body += cat("<div>", equation_html(e), "</div>");
    body += "</div>\n" + pictures.of(g.name);
    body += "<div class=\"side\">\n";
    if (!g.shapes.empty())
      body += cat("<div><h3>Shapes</h3>\n", table_of(g.shapes, false), "</div>\n");
    if (!g.numbers.empty())
      body += cat("<div><h3>Numbers</h3>\n", table_of(g.numbers, true), "</div>\n");
    body += "</div>\n<h3>Code</h3>\n<div class=\"code\">\n";
    for (const std::string& name : g.places) {
      const Place& at = place(name);
      body += cat("<code>", at.file, ":", at.line, "</code><pre>", escaped(at.code), "</pre>\n");
    }
    body += "</div>\n<h3>Checked by plain loops</h3>\n<ul class=\"checks\">\n";
    for (const Check& c : g.checks)
      body += fmt::format("<li><span class=\"{}\">{}</span> {:.1e} {}</li>\n",
                          c.agrees() ? "ok" : "bad", c.agrees() ? "agrees" : "DISAGREES", c.error,
                          equation_html(c.what));
    body += "</ul>\n</section>\n";
  }
  return page_html("A picture's way through Vision Mamba", body);
}

}  // namespace krait::walk

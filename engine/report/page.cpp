// The page around charts and tables: its style and its few lines of script.
#include "engine/report/page.h"

#include <fmt/format.h>

namespace krait {
namespace {

const char* style = R"css(
:root { color-scheme: light dark; --bg: #fff; --soft: #f3f5f7; --line: #d0d7de; --text: #1b1f24;
  --dim: #57606a; --accent: #0b5cad; --cell: 16 60 120; --on: #fff; --mark: #fff4ce;
  --c0: #0b66c3; --c1: #b84a00; --c2: #1a7f37; --c3: #7d3fb2; --c4: #b3261e; --c5: #00707a;
  --c6: #7a5230; --c7: #57606a; }
@media (prefers-color-scheme: dark) { :root { --bg: #12161b; --soft: #1b2129; --line: #39424d;
  --text: #e6e9ed; --dim: #a3adb8; --accent: #79b8ff; --cell: 110 170 230; --on: #0b0f14;
  --mark: #453a12; --c0: #6cb4ff; --c1: #ff9d57; --c2: #6fd183; --c3: #cda1f5; --c4: #ff8f85;
  --c5: #5fd0d9; --c6: #d6ae82; --c7: #b9c1ca; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 16px; background: var(--bg); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 4px 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 28px 0 10px; border-bottom: 1px solid var(--line); }
p { margin: 6px 0; overflow-wrap: anywhere; }
.dim { color: var(--dim); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px;
  margin: 14px 0; padding: 0; list-style: none; }
.cards li { background: var(--soft); border: 1px solid var(--line); border-radius: 8px;
  padding: 8px 12px; }
.cards b { display: block; font-size: 1.35rem; font-weight: 600; overflow-wrap: anywhere; }
.cards span { color: var(--dim); font-size: .85rem; display: block; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 18px; }
figure { margin: 0; }
.chart { background: var(--soft); border: 1px solid var(--line); border-radius: 8px; padding: 10px; }
figcaption { font-weight: 600; }
.where { float: right; font-weight: 400; color: var(--dim); font-size: .85rem; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0; padding: 0;
  list-style: none; font-size: .85rem; }
.legend b { font-variant-numeric: tabular-nums; }
.key { width: 28px; height: 10px; margin-right: 6px; }
.chart > svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
svg text { fill: var(--dim); font-size: 12px; }
.grid { stroke: var(--line); stroke-width: 1; } .tick { stroke: var(--dim); stroke-width: 1; }
.cursor { stroke: var(--text); stroke-width: 1; }
.s0, .s1, .s2, .s3, .s4, .s5, .s6, .s7 { fill: none; stroke-width: 2; stroke: currentColor; }
.s0 { color: var(--c0); } .s1 { color: var(--c1); stroke-dasharray: 7 3; }
.s2 { color: var(--c2); stroke-dasharray: 2 2.5; } .s3 { color: var(--c3); stroke-dasharray: 10 3 2 3; }
.s4 { color: var(--c4); } .s5 { color: var(--c5); stroke-dasharray: 7 3; }
.s6 { color: var(--c6); stroke-dasharray: 2 2.5; } .s7 { color: var(--c7); stroke-dasharray: 10 3 2 3; }
circle { fill: currentColor; stroke: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 6px 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 4px 0; }
th, td { text-align: left; padding: 3px 10px 3px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-weight: 400; }
thead th { font-weight: 600; vertical-align: bottom; }
td.n, th.n { text-align: right; }
tr.changed { background: var(--mark); }
.facts td { overflow-wrap: anywhere; }
.facts td code { font-size: .85rem; }
.matrices { display: flex; flex-wrap: wrap; gap: 24px; }
.matrix { border-spacing: 1px; border-collapse: separate; font-size: .8rem; }
.matrix th, .matrix td { border: 0; padding: 3px 4px; min-width: 32px; }
.matrix td { text-align: center; background: rgb(var(--cell) / var(--a, 0)); }
.matrix td.on { color: var(--on); } .matrix td.none { color: var(--dim); }
.matrix thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
  padding: 4px 8px; }
.matrix thead th:first-child { writing-mode: horizontal-tb; transform: none; min-width: 0; }
.bar { display: inline-block; width: 120px; height: 10px; margin-right: 8px; background: var(--line); }
.bar i { display: block; height: 100%; background: var(--accent); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)); gap: 14px; }
.pictures figcaption { font-weight: 400; font-size: .82rem; line-height: 1.3; overflow-wrap: anywhere; }
.pictures img { width: 96px; height: 96px; object-fit: contain; image-rendering: pixelated;
  background: var(--soft); display: block; margin-bottom: 4px; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--accent); }
@media (max-width: 500px) { body { padding: 10px; } .bar { display: none; } .chart { padding: 8px 6px; }
  svg text { font-size: 14px; } .matrix { font-size: .72rem; border-spacing: 0; }
  .matrix th, .matrix td { padding: 3px 1px; min-width: 25px; } .matrix th { min-width: 0; }
  .cards { grid-template-columns: repeat(2, 1fr); } }
)css";

// Shows the values under the pointer, or where the arrow keys moved to, in the chart's legend.
const char* script = R"js(
for (const figure of document.querySelectorAll('.chart')) {
  const svg = figure.querySelector(':scope > svg'), cursor = svg.querySelector('.cursor');
  const where = figure.querySelector('.where'), lines = JSON.parse(figure.dataset.points);
  const values = [...figure.querySelectorAll('[data-series]')];
  const all = [...new Set(lines.flat().map(p => p[0]))].sort((a, b) => a - b);
  const nearest = (line, x) => line.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
  let at = -1;
  const show = x => {
    const p = nearest(lines.filter(l => l.length).map(l => nearest(l, x)), x);
    at = all.indexOf(p[0]);
    cursor.setAttribute('transform', `translate(${p[0]} 0)`);
    cursor.setAttribute('visibility', 'visible');
    where.textContent = `${where.dataset.label} ${p[2]}`;
    for (const v of values) {
      const near = nearest(lines[v.dataset.series], p[0]);
      v.textContent = near[3];
    }
  };
  const rest = () => {
    at = -1;
    cursor.setAttribute('visibility', 'hidden');
    where.textContent = 'last values';
    for (const v of values) v.textContent = lines[v.dataset.series].at(-1)[3];
  };
  svg.addEventListener('pointermove', e => {
    const box = svg.getBoundingClientRect();
    show((e.clientX - box.left) / box.width * svg.viewBox.baseVal.width);
  });
  svg.addEventListener('pointerleave', rest);
  svg.addEventListener('blur', rest);
  svg.addEventListener('keydown', e => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (!step) return;
    e.preventDefault();
    at = at < 0 ? all.length - 1 : Math.min(Math.max(at + step, 0), all.length - 1);
    show(all[at]);
  });
}
)js";

}  // namespace

std::string escaped(const std::string& text) {
  std::string s;
  for (const char c : text) switch (c) {
      case '&':
        s += "&amp;";
        break;
      case '<':
        s += "&lt;";
        break;
      case '>':
        s += "&gt;";
        break;
      case '"':
        s += "&quot;";
        break;
      case '\'':
        s += "&#39;";
        break;
      default:
        s += c;
    }
  return s;
}

std::string table_html(const std::string& caption, const std::vector<std::string>& head,
                       const std::vector<std::vector<Cell>>& rows, const std::string& kind) {
  std::string s = fmt::format("<div class=\"wide\"><table class=\"{}\">", kind);
  if (!caption.empty()) s += "<caption>" + escaped(caption) + "</caption>";
  if (!head.empty()) {
    s += "<thead><tr>";
    for (const std::string& h : head) s += "<th scope=\"col\">" + escaped(h) + "</th>";
    s += "</tr></thead>";
  }
  s += "<tbody>\n";
  for (const auto& row : rows) {
    s += "<tr>";
    for (size_t i = 0; i < row.size(); ++i)
      s += i == 0 ? fmt::format("<th scope=\"row\"{}>{}</th>", row[i].attributes, row[i].html)
                  : fmt::format("<td{}>{}</td>", row[i].attributes, row[i].html);
    s += "</tr>\n";
  }
  return s + "</tbody></table></div>\n";
}

std::string card_html(const std::string& label, const std::string& value, const std::string& note) {
  return fmt::format("<li><span>{}</span><b>{}</b><span>{}</span></li>\n", escaped(label),
                     escaped(value), escaped(note));
}

std::string section_html(const std::string& heading, const std::string& html) {
  return fmt::format("<section>\n<h2>{}</h2>\n{}</section>\n", escaped(heading), html);
}

std::string page_html(const std::string& title, const std::string& body_html) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<link rel=\"icon\" "
      "href=\"data:,\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n{}"
      "<script>{}</script>\n</body>\n</html>\n",
      escaped(title), style, body_html, script);
}

}  // namespace krait

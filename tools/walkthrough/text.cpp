// Stages as text.
#include "tools/walkthrough/text.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "tools/walkthrough/places.h"

namespace krait::walk {
namespace {

constexpr int width = 100;

// Characters, not bytes: every byte of UTF-8 that does not go on with one begins one.
int length(const std::string& s) {
  return static_cast<int>(
      std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string wrapped(const std::string& text, const std::string& indent) {
  std::string out, line = indent;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (line != indent && length(line) + 1 + length(word) > width - 4) {
      out += line + "\n";
      line = indent;
    }
    line += (line == indent ? "" : " ") + word;
    at = end + 1;
  }
  return out + line + "\n";
}

std::string table(std::vector<std::vector<std::string>> rows, bool right) {
  for (auto& r : rows)
    if (!r.empty()) r[0] = plain_equation(r[0]);
  std::vector<int> widths;
  for (const auto& r : rows)
    for (size_t i = 0; i < r.size(); ++i) {
      if (i >= widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], length(r[i]));
    }
  std::string out;
  for (const auto& r : rows) {
    std::string line = "  ";
    for (size_t i = 0; i < r.size(); ++i) {
      const std::string pad(widths[i] - length(r[i]), ' ');
      line.append("  ");
      line.append(i && right ? pad : r[i]).append(i && right ? r[i] : pad);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

// "ₜ" for "t", "" if Unicode has no such small letter.
const char* subscript(char c) {
  static const char* const from = "0123456789+-aehijklmnoprstuvx";
  static const char* const to[] = {"\u2080", "\u2081", "\u2082", "\u2083", "\u2084", "\u2085",
                                   "\u2086", "\u2087", "\u2088", "\u2089", "\u208a", "\u208b",
                                   "\u2090", "\u2091", "\u2095", "\u1d62", "\u2c7c", "\u2096",
                                   "\u2097", "\u2098", "\u2099", "\u2092", "\u209a", "\u1d63",
                                   "\u209b", "\u209c", "\u1d64", "\u1d65", "\u2093"};
  const char* at = std::strchr(from, c);
  return at && c ? to[at - from] : "";
}

}  // namespace

std::string plain_equation(const std::string& e) {
  std::string out;
  for (size_t i = 0; i < e.size(); ++i) {
    if ((e[i] != '_' && e[i] != '^') || i + 1 == e.size()) {
      out += e[i];
      continue;
    }
    const bool braces = e[i + 1] == '{';
    const size_t end = braces ? e.find('}', i) : i + 1;
    const std::string inside = braces ? e.substr(i + 2, end - i - 2) : e.substr(i + 1, 1);
    std::string small;
    bool whole = true;
    for (const char c : inside) {
      const char* s = e[i] == '_' ? subscript(c) : c == 'T' ? "\u1d40" : c == '2' ? "\u00b2" : "";
      small += s;
      whole = whole && *s;
    }
    // Single letters and indices become small; words ("W_in") and what Unicode lacks do not.
    const bool word = inside.size() > 1 &&
                      inside.find_first_not_of("abcdefghijklmnopqrstuvwxyz") == std::string::npos;
    out += whole && !word ? small
           : inside.find_first_of(" +-,*/") != std::string::npos
               ? cat(std::string(1, e[i]), "(", inside, ")")
               : cat(std::string(1, e[i]), inside);
    i = end;
  }
  return out;
}

std::string text_of(const Stage& s, bool colour) {
  auto in = [&](const char* code, const std::string& text) {
    return colour ? cat("\033[", code, "m", text, "\033[0m") : text;
  };
  const std::string title = cat("== ", s.title, " [", s.name, "] ");
  std::string out =
      cat("\n", in("1", title + std::string(std::max(0, width - 10 - length(title)), '=')), "\n");
  out += wrapped(s.text, "");
  out += "\n";
  for (const std::string& e : s.equations) out += cat("    ", in("36", plain_equation(e)), "\n");
  if (!s.shapes.empty()) out += cat("\n", in("2", "  Shapes"), "\n") + table(s.shapes, false);
  if (!s.numbers.empty()) out += cat("\n", in("2", "  Numbers"), "\n") + table(s.numbers, true);
  out += cat("\n", in("2", "  Code"), "\n");
  for (const std::string& name : s.places) {
    const Place& p = place(name);
    std::string code = p.code;
    if (code.size() > width - 8) code = code.substr(0, width - 12) + " ...";
    out += cat("    ", p.file, ":", p.line, "\n", in("2", cat("        ", code)), "\n");
  }
  out += cat("\n", in("2", "  Checked by plain loops"), "\n");
  for (const Check& c : s.checks)
    out += cat("    ", c.agrees() ? in("32", "agrees   ") : in("1;31", "DISAGREES"), "  ",
               fmt::format("{:.1e}", c.error), "  ", plain_equation(c.what), "\n");
  return out;
}

std::string introduction(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  std::string out = cat("Walk-through: ", s.picture, ", through ", s.model, ".\n");
  out += wrapped(
      cat(s.parameters, " parameters, ", c.depth, " layers, L = ", c.tokens(), " tokens, D = ",
          c.embed_dim, ", E = ", c.inner(), ", N = ", c.d_state, " states, R = ", c.rank(),
          ", K = ", c.d_conv, " taps, ", t.sides() == 2 ? "two sides" : "one side",
          ". Shown: layer ", t.layer, ", token ", view.token, ", channel ", view.channel,
          ". All numbers are the engine's, in float32 on the CPU; plain loops in double "
          "precision compute each stage again from its input and the checkpoint's weights."),
      "");
  return out;
}

bool all_agree(const std::vector<Stage>& stages) {
  for (const Stage& s : stages)
    for (const Check& c : s.checks)
      if (!c.agrees()) return false;
  return true;
}
std::string summary(const std::vector<Stage>& stages) {
  size_t checks = 0, failed = 0;
  double worst = 0;
  for (const Stage& s : stages)
    for (const Check& c : s.checks)
      ++checks, failed += !c.agrees(), worst = std::max(worst, c.error);
  return fmt::format(
      "{} stage{}, {} check{}, {}; largest error {:.1e} (limit {:.0e} of the largest value)",
      stages.size(), stages.size() == 1 ? "" : "s", checks, checks == 1 ? "" : "s",
      failed ? fmt::format("{} DISAGREE", failed) : "all agree", worst, limit);
}

const Place& place(const std::string& name) {
  for (const Place& p : places())
    if (name == p.name) return p;
  throw Error(cat("places.txt has no ", name));
}

}  // namespace krait::walk

// Parts of a self-contained HTML page: line charts as inline SVG, tables, cards. No part asks the
// network for anything. Everything given as text is escaped here, except what is called html.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace krait {

std::string escaped(const std::string& text);  // for HTML text and quoted attributes

struct Series {
  std::string name;
  std::vector<double> x, y;  // of equal length; what is not finite is left out
};
struct Chart {
  std::string title, x_label;
  std::vector<Series> series;  // drawn in colours and dashes that tell eight apart
  bool from_zero = false;      // the axis of y begins at 0
  bool whole_x = true;         // ticks of x are whole numbers
  std::string unit = {};       // behind every value of y: "%"
};
// A <figure>: title, legend with the last values (or those under the pointer; arrow keys move it),
// axes with ticks. Empty where no series has a point.
std::string chart_html(const Chart& chart);

// Marks on an axis: multiples of 1, 2 or 5 times a power of ten (at least 1 if `whole`) from at or
// below `low` to at or above `high`; about `wanted` of them.
std::vector<double> nice_ticks(double low, double high, int wanted, bool whole = false);
// "0.012", "1.5e-05", "12345": so many digits that the ticks of an axis with this step differ.
std::string tick_text(double value, double step);

struct Cell {
  std::string html;
  std::string attributes = {};  // " class=..."
};
// `head`: plain text. The first cell of a row is its header.
std::string table_html(const std::string& caption, const std::vector<std::string>& head,
                       const std::vector<std::vector<Cell>>& rows, const std::string& kind = "");
// A number with what it is and a note, for the top of the page; all plain text.
std::string card_html(const std::string& label, const std::string& value,
                      const std::string& note = "");
// <section> with a heading (plain text).
std::string section_html(const std::string& heading, const std::string& html);
std::string page_html(const std::string& title, const std::string& body_html);

}  // namespace krait

// Writes the figures of the texts as SVG: `figures FOLDER` puts them below FOLDER where they are in
// the tree. Each carries colours for a light and a dark page, and a background of its own.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", v);
  std::string s = text;
  while (s.back() == '0') s.pop_back();
  if (s.back() == '.') s.pop_back();
  return s;
}

// Classes: box, two kinds of strong box (a, b); line, arrow, dashed; text is plain, `small` or
// `code`.
class Svg {
 public:
  Svg(int width, int height, const std::string& title) {
    const std::string w = std::to_string(width), h = std::to_string(height);
    text_ = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + w + " " + h +
            "\" width=\"" + w + "\" height=\"" + h + "\" role=\"img\">\n<title>" + title +
            "</title>\n" + style + "<rect class=\"page\" width=\"" + w + "\" height=\"" + h +
            "\" rx=\"8\"/>\n";
  }
  void box(double x, double y, double w, double h, const char* kind = "box", double opacity = 1) {
    text_ += "<rect class=\"" + std::string(kind) + "\" x=\"" + number(x) + "\" y=\"" + number(y) +
             "\" width=\"" + number(w) + "\" height=\"" + number(h) + "\" rx=\"3\"" +
             (opacity < 1 ? " fill-opacity=\"" + number(opacity) + "\"" : "") + "/>\n";
  }
  void text(double x, double y, const std::string& s, const char* kind = "plain",
            const char* anchor = "middle") {
    text_ += "<text class=\"" + std::string(kind) + "\" x=\"" + number(x) + "\" y=\"" + number(y) +
             "\" text-anchor=\"" + anchor + "\">" + s + "</text>\n";
  }
  // A box with a word in its middle.
  void labelled(double x, double y, double w, double h, const std::string& s,
                const char* kind = "box") {
    box(x, y, w, h, kind);
    text(x + w / 2, y + h / 2 + 5, s);
  }
  // `points`: "x,y x,y ..."; the last one gets the arrowhead.
  void arrow(const std::string& points, const char* kind = "line") {
    text_ += "<polyline class=\"" + std::string(kind) + "\" points=\"" + points +
             "\" marker-end=\"url(#head)\"/>\n";
  }
  void line(const std::string& points, const char* kind = "line") {
    text_ += "<polyline class=\"" + std::string(kind) + "\" points=\"" + points + "\"/>\n";
  }
  // A sum or a product.
  void sign(double x, double y, const char* s) {
    text_ += "<circle class=\"box\" cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"13\"/>\n";
    text(x, y + 6, s, "sign");
  }
  std::string done() const { return text_ + "</svg>\n"; }

 private:
  static constexpr const char* style =
      "<style>\n"
      "text{font-family:system-ui,-apple-system,\"Segoe "
      "UI\",Helvetica,Arial,sans-serif;font-size:14px;"
      "fill:#1f2328}\n"
      ".small{font-size:12px;fill:#57606a}.sign{font-size:18px}.tiny{font-size:10px}\n"
      ".page{fill:#ffffff}.box{fill:#f6f8fa;stroke:#8c959f}.cell{fill:none;stroke:#8c959f}\n"
      ".a{fill:#54aeff;stroke:#0969da}.b{fill:#ffa657;stroke:#bc4c00}.c{fill:#7ee787;stroke:#"
      "1a7f37}\n"
      ".mark{fill:none;stroke:#1f2328;stroke-width:3}\n"
      ".line{fill:none;stroke:#57606a;stroke-width:1.5}\n"
      ".back{fill:none;stroke:#bc4c00;stroke-width:1.5;stroke-dasharray:5 4}\n"
      "#head path{fill:#57606a}\n"
      "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.page{fill:#0d1117}"
      ".box{fill:#21262d;stroke:#6e7681}.cell{stroke:#6e7681}.a{fill:#1f6feb;stroke:#58a6ff}"
      ".b{fill:#9b4215;stroke:#f0883e}.c{fill:#196c2e;stroke:#3fb950}.mark{stroke:#e6edf3}"
      ".line{stroke:#9198a1}.back{stroke:#f0883e}#head path{fill:#9198a1}}\n"
      "</style>\n<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" "
      "markerWidth=\"8\" "
      "markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\"/></marker></defs>\n";
  std::string text_;
};

std::string at(double x, double y) {
  return number(x) + "," + number(y) + " ";
}

// The tokens that one token hears through each side; numbers are the steps of the side.
std::string scan_orders() {
  Svg s(840, 450, "The two scan orders over 8 x 8 patches");
  const int G = 8, cell = 40, marked = 28;
  for (int side = 0; side < 2; ++side) {
    const double left = side ? 470 : 50, top = 66;
    s.text(left + 160, 30,
           side ? "reverse side: from the last patch to the first"
                : "forward side: from the first patch to the last");
    s.text(left + 160, 50,
           side ? "token t is visited at step 63 - t" : "token t is visited at step t", "small");
    for (int t = 0; t < G * G; ++t) {
      const double x = left + t % G * cell, y = top + t / G * cell;
      const int ago = side ? t - marked : marked - t;
      if (ago >= 0) s.box(x, y, cell, cell, side ? "b" : "a", 0.1 + 0.8 * std::exp(-ago / 9.0));
      s.box(x, y, cell, cell, "cell");
      s.text(x + cell / 2, y + 18, std::to_string(side ? 63 - t : t), "tiny");
    }
    for (int r = 0; r < G; ++r) {
      const double y = top + r * cell + 30;
      s.arrow(side ? at(left + 8 * cell - 8, y) + at(left + 8, y)
                   : at(left + 8, y) + at(left + 8 * cell - 8, y));
    }
    s.box(left + marked % G * cell, top + marked / G * cell, cell, cell, "mark");
  }
  s.text(420, 412,
         "The outlined patch hears the coloured ones through this side, the older the fainter;"
         " through both sides it hears the whole picture.",
         "small");
  s.text(420, 432,
         "The sequence goes on behind the end of a row: neighbours in a column are 8 tokens apart.",
         "small");
  return s.done();
}

// One block of Vision Mamba, with the sizes of vim_tiny_patch4_32.
std::string block() {
  Svg s(840, 740, "One block of Vision Mamba");
  s.text(110, 28, "r: residual stream"), s.text(290, 28, "h: from the last mixer");
  s.line(at(110, 38) + at(110, 87)), s.arrow(at(290, 38) + at(290, 100) + at(124, 100));
  s.sign(110, 100, "+");
  s.arrow(at(110, 113) + at(110, 706)), s.text(110, 728, "r, to the next block");
  s.text(20, 140, "(L, D)", "small", "start"), s.text(20, 158, "in f32", "small", "start");
  s.arrow(at(110, 150) + at(168, 150));
  s.labelled(170, 130, 110, 40, "norm");
  s.arrow(at(280, 150) + at(358, 150)), s.text(318, 142, "(L, D)", "small");
  s.labelled(360, 130, 120, 40, "in_proj");
  s.text(492, 142, "x and z (L, E) each", "small", "start");
  s.line(at(420, 170) + at(420, 196)), s.text(430, 188, "x", "plain", "start");
  s.arrow(at(420, 196) + at(290, 196) + at(290, 218)),
      s.arrow(at(420, 196) + at(550, 196) + at(550, 218));
  s.arrow(at(480, 150) + at(755, 150) + at(755, 448)), s.text(765, 220, "z", "plain", "start");
  for (int side = 0; side < 2; ++side) {
    const double c = side ? 550 : 290;  // the middle of the lane
    const char* kind = side ? "b" : "a";
    s.text(c + (side ? 116 : -116), 212, side ? "reverse" : "forward", "small");
    s.labelled(c - 95, 220, 190, 40, "conv1d, SiLU", kind);
    s.arrow(at(c, 260) + at(c, 298)), s.text(c + 8, 283, "u (L, E)", "small", "start");
    s.arrow(at(c, 280) + at(c - 80, 280) + at(c - 80, 448));
    s.labelled(c - 55, 300, 150, 36, "x_proj", kind);
    s.arrow(at(c, 336) + at(c, 368)), s.text(c + 6, 356, "dt (L, R)", "small", "start");
    s.labelled(c - 65, 370, 130, 36, "dt_proj, softplus", kind);
    s.arrow(at(c, 406) + at(c, 448)), s.text(c + 6, 432, "&#916; (L, E)", "small", "start");
    s.arrow(at(c + 85, 336) + at(c + 85, 448));
    s.text(c + 92, 386, "B, C", "small", "start"), s.text(c + 92, 402, "(L, N)", "small", "start");
    s.labelled(c - 95, 450, 190, 44, side ? "scan, right to left" : "scan, left to right", kind);
    s.arrow(side ? at(c, 494) + at(c, 540) + at(434, 540) : at(c, 494) + at(c, 540) + at(406, 540));
  }
  s.labelled(705, 450, 100, 44, "SiLU");
  s.sign(420, 540, "+"), s.text(440, 566, "sum over sides (L, E)", "small", "start");
  s.arrow(at(420, 553) + at(420, 576)), s.sign(420, 590, "&#215;");
  s.arrow(at(755, 494) + at(755, 590) + at(434, 590)), s.text(600, 582, "gate", "small");
  s.arrow(at(420, 603) + at(420, 636));
  s.labelled(360, 638, 120, 40, "out_proj");
  s.arrow(at(420, 678) + at(420, 706)), s.text(420, 728, "h (L, D), to the next block");
  s.text(820, 684, "vim_tiny_patch4_32: L = 64 tokens, D = 192,", "small", "end");
  s.text(820, 702, "E = 384 channels, N = 16 states, R = 12", "small", "end");
  return s.done();
}

// One channel and one of its states, token by token, and the gradient's way back.
std::string recurrence() {
  Svg s(860, 360, "The recurrence of one state of one channel, unrolled over tokens");
  const double y = 170;
  s.text(38, y + 5, "h = 0");
  for (int t = 0; t < 4; ++t) {
    const double x = 190 + t * 190;
    const std::string i = "<tspan dy=\"4\" font-size=\"10\">" + std::to_string(t) + "</tspan>";
    const std::string up = "<tspan dy=\"-4\"> </tspan>";
    s.arrow(at(t ? x - 177 : 66, y) + at(x - 104, y)), s.sign(x - 90, y, "&#215;");
    s.arrow(at(x - 77, y) + at(x - 14, y)), s.sign(x, y, "+");
    s.arrow(at(x - 90, 238) + at(x - 90, y + 15));
    s.text(x - 84, y + 46, "exp(&#916;" + i + up + "a)", "small", "start");
    s.arrow(at(x, 238) + at(x, y + 15)),
        s.text(x + 6, y + 46, "&#916;" + i + up + "B" + i + up + "u" + i, "small", "start");
    s.labelled(x - 112, 240, 150, 34, "token " + std::to_string(t), "a");
    s.arrow(at(x + 40, y) + at(x + 40, 92)),
        s.text(x + 46, 130, "C" + i + up + "h" + i, "small", "start");
    s.text(x + 18, y - 8, "h" + i, "plain");
    s.labelled(x - 2, 56, 84, 34, "y" + i, "c");
    if (t < 3) s.arrow(at(x + 86, y + 128) + at(x - 104, y + 128), "back");
  }
  s.line(at(773, y) + at(845, y));
  s.arrow(at(846, y + 128) + at(656, y + 128), "back");
  s.text(430, 24,
         "Each token makes its own &#916;, B and C from u. y also gets D u, past the state.",
         "small");
  s.text(430, 42, "There are N states in a channel and E channels, all independent of each other.",
         "small");
  s.text(430, 326,
         "Back: the gradient of h runs from the last token to the first through the same factors;",
         "small");
  s.text(430, 344,
         "token t adds C times the gradient of its y, and passes on exp(&#916; a) times the sum.",
         "small");
  return s.done();
}

// The default forward row of the scan on a GPU: block, warp, thread.
std::string ownership() {
  Svg s(860, 570, "What a block, a warp and a thread own in the row `pipelined`, forward");
  s.text(20, 30, "The grid: a block for each image and 128 channels (E = 384: three to an image)",
         "plain", "start");
  s.line(at(180, 72) + at(30, 178)), s.line(at(264, 72) + at(830, 178));
  const char* images[] = {"image 0", "image 1", "..."};
  for (int b = 0; b < 3; ++b) {
    s.text(28, 65 + b * 30, images[b], "small", "start");
    for (int e = 0; e < 3; ++e)
      s.box(90 + e * 90, 48 + b * 30, 84, 24, b == 0 && e == 1 ? "a" : "box");
  }
  s.box(30, 178, 800, 156, "cell");
  s.text(40, 200,
         "A block: 64 tokens of 128 channels, in tiles of 8 tokens. Both sides at the same time:",
         "plain", "start");
  for (int i = 0; i < 8; ++i)
    s.labelled(70 + i * 90, 246, 86, 28, "tile " + std::to_string(i), i < 4 ? "a" : "b");
  s.line(at(428, 232) + at(428, 288), "back");
  s.arrow(at(70, 237) + at(786, 237)),
      s.text(72, 228, "warps 0 and 1, forward side:", "small", "start");
  s.text(250, 228, "leave their sums in scratch,", "small", "start");
  s.text(436, 228, "then add the other side's, gate, write y", "small", "start");
  s.arrow(at(786, 283) + at(70, 283)),
      s.text(784, 302, "warps 2 and 3, reverse side", "small", "end");
  s.text(436, 302, "leave their sums in scratch,", "small", "start");
  s.text(420, 302, "then add the other side's, gate, write y", "small", "end");
  s.text(40, 324, "While a tile is computed, the next one travels to shared memory (cp.async).",
         "small", "start");
  s.text(20, 366,
         "A warp: 64 neighbouring channels of one side, 2 to a thread. Of each token a thread "
         "needs its own u, dt",
         "plain", "start");
  s.text(20, 384,
         "and z, and the token's B and C, which all channels share: read once for both of its "
         "channels.",
         "plain", "start");
  s.line(at(160, 426) + at(40, 456)), s.line(at(182, 426) + at(690, 456));
  for (int lane = 0; lane < 32; ++lane) s.box(40 + lane * 24, 396, 22, 30, lane == 5 ? "c" : "box");
  s.box(40, 456, 650, 96, "c", 0.35);
  s.text(52, 478, "A thread, in registers", "plain", "start");
  for (int c = 0; c < 2; ++c)
    for (int n = 0; n < 16; ++n) s.box(130 + n * 24, 490 + c * 28, 22, 22, "c");
  s.text(52, 506, "channel 0", "small", "start"), s.text(52, 534, "channel 1", "small", "start");
  s.text(530, 506, "16 states h each,", "small", "start"),
      s.text(530, 524, "and 16 rates a;", "small", "start");
  s.text(530, 542, "2 sums, 2 D, 2 biases", "small", "start");
  return s.done();
}

// Bytes that one token of a layer keeps for the backward pass. vim_tiny_patch4_32, bf16, two sides.
std::string step_memory() {
  const int D = 192, E = 384, N = 16, row = 48, every = 8;  // row: R + 2 N, rounded up
  struct Part {
    const char *what, *why, *kind;
    int bytes;
  } parts[] = {
      {"r: residual stream, f32", "for the norm's gradient", "a", 4 * D},
      {"n: its normed rows", "for the gradient of in_proj", "a", 2 * D},
      {"x, z", "for conv1d, and for the gate", "b", 2 * 2 * E},
      {"u, both sides", "for the scan, and the gradient of x_proj", "b", 2 * 2 * E},
      {"dt, B, C, both sides", "for the scan, and the gradient of dt_proj", "b", 2 * 2 * row},
      {"states h, one token in 8, both sides", "to make the others again", "c",
       2 * 2 * E * N / every},
      {"sum over sides", "for the gradient of z", "c", 2 * E},
      {"gated y", "for the gradient of out_proj", "c", 2 * E},
  };
  Svg s(860, 400, "What a training step keeps of one token in one layer");
  s.text(20, 30,
         "Bytes kept of one token in one layer until its gradient is taken (vim_tiny_patch4_32, "
         "bf16, GPU)",
         "plain", "start");
  double y = 46;
  int all = 0;
  for (const Part& p : parts) {
    s.text(270, y + 17, p.what, "plain", "end");
    s.box(280, y, p.bytes / 12.0, 24, p.kind);
    s.text(288 + p.bytes / 12.0, y + 17, std::to_string(p.bytes) + "  " + p.why, "small", "start");
    all += p.bytes, y += 32;
  }
  s.text(20, y + 26,
         "Together " + std::to_string(all) + " bytes; 24 layers x 512 images x 64 tokens: " +
             number(all * 24.0 * 512 * 64 / (1 << 30)) + " GiB.",
         "plain", "start");
  s.text(20, y + 50,
         "Not kept: conv1d's sum, dt, the exponentials and all other states (made again in the "
         "backward pass),",
         "small", "start");
  s.text(20, y + 68,
         "and h, whose value no gradient needs. With --remake only h (" + std::to_string(2 * D) +
             ") and r (" + std::to_string(4 * D) +
             ") of a layer are kept, and the layer is run again.",
         "small", "start");
  return s.done();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] == '-') {
    std::printf(
        "usage: figures FOLDER    writes the figures of the texts; FOLDER is the tree's root\n");
    return argc == 2 ? 0 : 2;
  }
  const std::pair<const char*, std::string> figures[] = {
      {"models/vim/scan_orders.svg", scan_orders()},
      {"models/vim/block.svg", block()},
      {"kernels/selective_scan/recurrence.svg", recurrence()},
      {"kernels/selective_scan/ownership.svg", ownership()},
      {"engine/step_memory.svg", step_memory()},
  };
  for (const auto& [name, svg] : figures) {
    const std::filesystem::path path = std::filesystem::path(argv[1]) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream file(path, std::ios::binary);
    if (!(file << svg).flush()) {
      std::fprintf(stderr, "cannot write %s\n", path.c_str());
      return 2;
    }
    std::printf("%s\n", name);
  }
}

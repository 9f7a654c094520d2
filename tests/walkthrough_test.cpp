// The walk-through: every stage agrees with the plain loops for every switch it shows, planted
// faults are noticed, code references point at what they name; text, page and program.
#include <set>
#include <sys/wait.h>

#include "engine/checkpoint.h"
#include "engine/data/test_pictures.h"
#include "tests/files.h"
#include "tests/vim_model.h"
#include "tools/walkthrough/find_places.h"
#include "tools/walkthrough/places.h"
#include "tools/walkthrough/text.h"

using namespace krait;
using namespace krait::walk;

namespace {

// A random picture's way through a random model.
Subject random_subject(const VimConfig& c, int layer = 0) {
  Model m(c, DType::f32);
  Subject s;
  s.model = "random", s.picture = "noise", s.target_from = "a test";
  s.mean = {0.5, 0.4, 0.3}, s.stddev = {0.3, 0.25, 0.2};
  for (int k = 0; k < c.num_classes; ++k) s.class_names.push_back(cat("class ", k));
  std::mt19937 random(7);
  const int S = c.img_size;
  Vector image;
  for (int i = 0; i < 3 * S * S; ++i) {
    s.pixels.push_back(static_cast<uint8_t>(random()));
    image.push_back((s.pixels.back() / 255.0 - s.mean[i / (S * S)]) / s.stddev[i / (S * S)]);
  }
  s.parameters = m.store.count();
  s.trace = trace_model(m.ctx, c, m.store, Role::master, image, 1, layer);
  return s;
}
std::vector<Stage> stages_of(const Subject& s, const std::vector<std::string>& names = {}) {
  return make_stages(s, default_view(s.trace), names);
}
bool can_show(const VimConfig& c) {
  try {
    check_can_show(c, 0);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

// A model of 2 layers with random weights, as a checkpoint.
struct Saved {
  TemporaryFolder folder;
  std::string path = folder / "model.safetensors";
  Saved() {
    VimConfig c = small();
    c.img_size = 32, c.patch_size = c.stride = 8, c.num_classes = 10;
    c.if_rope = c.if_rope_residual = true;
    Model m(c, DType::f32);
    const Dataset data = synthetic(false, 1);
    TestPictures pictures{data.class_names, {}};
    pictures.how.crop = Crop::none;
    pictures.how.mean = data.mean, pictures.how.stddev = data.stddev;
    TrainState state;
    state.model = "two_layers", state.config = to_json(c), state.options = "{}";
    state.pictures = to_json(pictures);
    save_checkpoint(m.ctx, path, m.store, state);
  }
};

struct Result {
  int code;
  std::string out, err;
};
Result run(const Saved& s, const std::string& arguments) {
  const std::string out = s.folder / "out", err = s.folder / "err";
  const int status = std::system(
      cat("OMP_NUM_THREADS=1 " KRAIT_BIN_DIR "/walkthrough ", arguments, " >", out, " 2>", err)
          .c_str());
  return {WEXITSTATUS(status), file_content(out), file_content(err)};
}
int64_t count_of(const std::string& text, const std::string& part) {
  int64_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}
// Characters of a line, not bytes.
int64_t width_of(const std::string& line) {
  return std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace

TEST_CASE("walkthrough: every stage agrees, whatever the switches of the model") {
  int shown = 0;
  for (const auto& [name, change] : switches()) {
    VimConfig c = small();
    change(c);
    if (!can_show(c)) continue;
    ++shown;
    for (const int layer : {0, c.depth - 1}) {
      const Subject s = random_subject(c, layer);
      for (const Stage& g : stages_of(s)) {
        CHECK(!g.checks.empty());
        for (const Check& check : g.checks) {
          CAPTURE_BOUND(name);
          INFO("layer ", layer, ", ", g.name, ": ", check.what);
          CHECK(check.error <= limit);
        }
      }
    }
  }
  CHECK(shown > 25);
}

TEST_CASE("walkthrough: a wrong weight or gradient is noticed") {
  VimConfig c = small();
  c.if_rope = c.if_rope_residual = c.if_cls_token = c.bias = true;
  c.rms_norm = false;
  c.init_layer_scale = 0.5;
  Subject s = random_subject(c, 1);
  REQUIRE(all_agree(stages_of(s)));
  for (auto* of : {&s.trace.weights, &s.trace.dweights})
    for (auto& [name, m] : *of) {
      if (name.starts_with("layers.0.")) continue;  // not shown
      const Matrix before = m;
      m.data[m.data.size() / 2] += 1e-3 * (1 + std::abs(m.data[m.data.size() / 2]));
      const std::string what = of == &s.trace.weights ? "weight " : "gradient ";
      CAPTURE(what);
      CAPTURE_BOUND(name);
      CHECK(!all_agree(stages_of(s)));
      m = before;
    }
  // What the engine computed, where no weight is involved.
  for (Matrix* m : {&s.trace.patches.v, &s.trace.r.v, &s.trace.n.v, &s.trace.xz.v, &s.trace.q[1],
                    &s.trace.u[0].v, &s.trace.Delta[1], &s.trace.h[0], &s.trace.s[1], &s.trace.v.v,
                    &s.trace.last_h.v, &s.trace.logits.v, &s.trace.delta[0].d, &s.trace.xz.d}) {
    const Matrix before = *m;
    m->data[1] += 1e-2;
    CHECK(!all_agree(stages_of(s)));
    m->data[1] = NAN;
    CHECK(!all_agree(stages_of(s)));
    *m = before;
  }
  CHECK(all_agree(stages_of(s)));
}

TEST_CASE("walkthrough: watching changes no bit of logits, loss and gradients") {
  VimConfig c = small();
  c.if_rope = c.if_rope_residual = true;
  Model m(c, DType::f32);
  m.ctx.set(m.targets, {0, 1, 0, 0, 1, 0});
  // Both pictures are the same, so that one alone has the mean's gradient.
  Vector both = m.ctx.values(m.images);
  std::copy_n(both.begin(), both.size() / 2, both.begin() + both.size() / 2);
  const Vector one(both.begin(), both.begin() + both.size() / 2);
  m.ctx.set(m.images, both);
  const Vector logits = m.logit_values();
  const Trace t = trace_model(m.ctx, c, m.store, Role::master, one, 1, 0);
  CHECK(Vector(logits.begin(), logits.begin() + 3) == t.logits.v.data);
  m.ctx.reserve(m.ctx.measure([&] { m.gradients(); }));
  m.gradients();
  for (const Param& p : m.store.all()) {
    Matrix whole = t.dweights.at(p.name);
    whole.data = m.ctx.values(m.store.part(Role::gradient, p));
    INFO(p.name);
    CHECK(difference(t.dweights.at(p.name), whole) < 1e-5);
  }
}

TEST_CASE("walkthrough: models it does not show are refused in one line") {
  auto refused = [](const std::function<void(VimConfig&)>& change, int layer = 0) {
    VimConfig c = small();
    change(c);
    return input_error([&] { check_can_show(c, layer); });
  };
  CHECK(refused([](VimConfig&) {}) == "no error");
  CHECK(refused([](VimConfig& c) { c.stem = "conv", c.stem_width = 3; }).find("stem conv") !=
        std::string::npos);
  CHECK(refused([](VimConfig& c) { c.final_pool_type = "all"; }).find("final_pool_type") !=
        std::string::npos);
  CHECK(refused([](VimConfig&) {}, 2).find("no layer 2") != std::string::npos);
  CHECK(refused([](VimConfig&) {}, -1).find("no layer -1") != std::string::npos);
}

TEST_CASE("walkthrough: code references point at what they name") {
  std::set<std::string> used;
  for (const auto& [name, change] : switches()) {
    VimConfig c = small();
    change(c);
    if (!can_show(c)) continue;
    for (const Stage& g : stages_of(random_subject(c)))
      for (const std::string& p : g.places) used.insert(p);
  }
  for (const std::string& name : used) CHECK_NOTHROW(place(name));
  CHECK_THROWS_AS(place("nonsense"), Error);
  for (const Place& p : places()) {
    INFO(p.name);
    CHECK(used.count(p.name) == 1);
    std::ifstream file(std::string(KRAIT_SOURCE_DIR "/") + p.file);
    std::string line;
    for (int i = 0; i < p.line; ++i) std::getline(file, line);
    CHECK(line.find(p.text) != std::string::npos);
    CHECK(trimmed(line) == p.code);
  }
}

TEST_CASE("walkthrough: a stale code reference is found") {
  const TemporaryFolder root;
  std::ofstream(root / "a.cpp") << "int x = 1;\n  int y = f(x);\nint z = f(x);\n";
  auto find = [&](const std::string& list) -> std::string {
    std::istringstream in(list);
    try {
      const auto found = find_places(in, root.path.string());
      return found.empty() ? "none" : cat(found[0].line, " ", found[0].code);
    } catch (const std::runtime_error& e) {
      return e.what();
    }
  };
  CHECK(find("# a comment\n\ny | a.cpp | y = f(x)\n") == "2 int y = f(x);");
  CHECK(find("y | a.cpp | w = f(x)") == "places.txt, line 1: a.cpp has no line with: w = f(x)");
  CHECK(find("y | a.cpp | = f(x)") == "places.txt, line 1: a.cpp has 2 lines with: = f(x)");
  CHECK(find("y | b.cpp | x").find("no file b.cpp") != std::string::npos);
  CHECK(find("y | a.cpp |").find("no text") != std::string::npos);
  CHECK(find("y a.cpp").find("not name | file | text") != std::string::npos);
  CHECK(find("y | a.cpp | int x\ny | a.cpp | int z").find("two of the name") != std::string::npos);
}

TEST_CASE("walkthrough: equations and text fit a terminal") {
  CHECK(plain_equation("h_t = exp(x_{t-1}) W_{in}^T") ==
        "h\u209c = exp(x\u209c\u208b\u2081) W_in\u1d40");
  CHECK(plain_equation("a^{-2j / D}, b_c, mean(r^2)") == "a^(-2j / D), b_c, mean(r\u00b2)");
  for (const auto change : {+[](VimConfig&) {},
                            +[](VimConfig& c) {
                              c.if_cls_token = c.use_middle_cls_token = c.if_divide_out = true,
                              c.rms_norm = false;
                            }}) {
    VimConfig c = small();
    change(c);
    const Subject s = random_subject(c);
    for (const Stage& g : stages_of(s)) {
      std::istringstream text(text_of(g, false));
      for (std::string line; std::getline(text, line);) CHECK_MESSAGE(width_of(line) <= 100, line);
      CHECK(text_of(g, false).find('\033') == std::string::npos);
      CHECK(text_of(g, true).find('\033') != std::string::npos);
    }
  }
}

TEST_CASE("walkthrough: the program") {
  const Saved s;
  const Result all = run(s, "--resume " + s.path);
  CHECK(all.err == "");
  CHECK(all.code == 0);
  for (const StageKind& k : stage_kinds()) CHECK(count_of(all.out, cat("[", k.name, "]")) == 1);
  CHECK(all.out.find("all agree") != std::string::npos);

  const Result scan =
      run(s, "--resume " + s.path + " --stage scan --layer 1 --token 3 --channel 2");
  CHECK(scan.code == 0);
  CHECK(count_of(scan.out, "[scan]") == 1);
  CHECK(count_of(scan.out, "\n== ") == 1);
  CHECK(scan.out.find("channel 2") != std::string::npos);
  CHECK(scan.out.find("1 stage, ") != std::string::npos);
  CHECK(count_of(run(s, "--resume " + s.path + " --stage norm,scan").out, "\n== ") == 2);

  for (const std::string& bad :
       {std::string(), std::string("--resume ") + s.folder.path.string() + "/none",
        "--resume " + s.path + " --stage nonsense", "--resume " + s.path + " --layer 2",
        "--resume " + s.path + " --token 16", "--resume " + s.path + " --channel 16",
        "--resume " + s.path + " --index 10000", "--resume " + s.path + " --weights ema",
        "--resume " + s.path + " --label nothing", "--resume " + s.path + " --nonsense",
        "--resume " + s.path + " --image " + s.path, "--resume " + s.path + " --data-path /none",
        "--resume " + s.path + " --image x.png --index 1",
        "--resume " + s.path + " --html /none/x.html"}) {
    INFO(bad);
    const Result r = run(s, bad);
    CHECK(r.code == 2);
    CHECK(count_of(r.err, "\n") == 1);
    CHECK(r.out == "");
  }
}

TEST_CASE("walkthrough: the page is one file and asks the network for nothing") {
  const Saved s;
  const std::string page = s.folder / "page.html";
  CHECK(run(s, "--resume " + s.path + " --html " + page).code == 0);
  const std::string html = file_content(page);
  for (const StageKind& k : stage_kinds())
    CHECK(count_of(html, cat("<section id=\"", k.name, "\">")) == 1);
  for (const char* address :
       {"http:", "https:", "//cdn", "url(", "@import", "<link rel=\"stylesheet"})
    CHECK_MESSAGE(html.find(address) == std::string::npos, address);
  CHECK(html.find("default-src 'none'") != std::string::npos);
  for (const char* what : {"src=\"", "href=\""})  // data, or a place in the page
    for (size_t at = 0; (at = html.find(what, at)) != std::string::npos; ++at) {
      const std::string to = html.substr(at + std::strlen(what), 5);
      CHECK_MESSAGE((to == "data:" || to[0] == '#'), to);
    }
  CHECK(count_of(html, "data:image/png") > 8);
  CHECK(count_of(html, "<section") == count_of(html, "</section>"));
  CHECK(count_of(html, "DISAGREES") == 0);
}

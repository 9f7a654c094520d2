// Damaged and hostile checkpoints: an error in one line, never a crash, a hang or much memory.
#include "kernels/common/random.h"
#include "tests/pickles.h"

using namespace krait;
using namespace krait::by_hand;

namespace {

const std::string golden = KRAIT_SOURCE_DIR "/tests/golden/checkpoints/";

// Reads everything, and copies every tensor out. False: refused.
bool readable(const std::string& content) {
  try {
    const PthValue v = read(content);
    for (const PthValue& item : v.items)
      if (item.is(PthValue::Kind::tensor)) item.tensor->stored();
    return true;
  } catch (const InputError& e) {
    const std::string what = e.what();
    CHECK(what.starts_with("file: "));
    CHECK(what.find('\n') == std::string::npos);
    CHECK(what.size() < 400);
    return false;
  }
}
bool contains(const std::string& s, const std::string& part) {
  INFO(s);
  return s.find(part) != std::string::npos;
}
// A tensor over the archive's 24 floats.
std::string over(int64_t offset, const std::vector<int64_t>& shape,
                 const std::vector<int64_t>& stride) {
  return tensor(storage("FloatStorage", "0", 24), offset, shape, stride);
}

}  // namespace

TEST_CASE("hostile pth: cut off anywhere") {
  for (const std::string& whole :
       {file_content(golden + "checkpoint_odd_tensors.pth"),
        file_content(golden + "checkpoint_torch_2.pth"), legacy(), archive(over(0, {24}, {1}))}) {
    CHECK(readable(whole));
    for (size_t n = 0; n < whole.size(); ++n) {
      CAPTURE(n);
      CHECK(!readable(whole.substr(0, n)));
    }
  }
}

TEST_CASE("hostile pth: flipped bits, changed bytes") {
  int refused = 0, tried = 0;
  for (const std::string& whole :
       {file_content(golden + "checkpoint_odd_tensors.pth"), legacy(),
        archive(over(0, {4, 6}, {6, 1})), file_content(golden + "checkpoint_torch_2.pth")})
    for (uint64_t i = 0; i < 4000; ++i) {
      std::string s = whole;
      const Random4 r = philox(7, 1, i, 0);
      for (uint32_t k = 0; k <= r.word[3] % 3; ++k) {
        const Random4 at = philox(7, 2, i, k);
        char& c = s[at.word[0] % s.size()];
        c = static_cast<char>(i % 2 ? at.word[1] : c ^ (1 << at.word[1] % 8));
      }
      refused += !readable(s);
      ++tried;
    }
  CHECK(refused > tried / 4);  // checksums see to it
  CHECK(refused < tried);
}

TEST_CASE("hostile pth: no name but those of checkpoints, nothing is run") {
  const std::string run = text("touch /tmp/krait_was_here");
  CHECK(contains(error(global("os", "system") + tuple(run) + "R"), "file: refers to os.system,"));
  CHECK(contains(error(global("posix", "system") + tuple(run) + "R"), "posix.system"));
  CHECK(contains(error(text("builtins") + text("eval") + "\x93" + tuple(run) + "R"),
                 "builtins.eval"));
  CHECK(contains(error(global("torch._utils", "_rebuild_qtensor")), "_rebuild_qtensor"));
  CHECK(contains(error("(ios\nsystem\n"), "opcode 0x69"));
  CHECK(contains(error(global("a\x1b[31mb", "c")), "a?[31mb.c"));
  CHECK(contains(error(global("torch", "FloatStorage") + ")R"), "torch.FloatStorage"));
  CHECK(contains(error(tensor(storage("ComplexFloatStorage", "0", 12), 0, {12}, {1})),
                 "complex numbers (torch.ComplexFloatStorage)"));
}

TEST_CASE("hostile pth: tensors that do not fit their storage") {
  const int64_t big = INT64_MAX, half = int64_t{1} << 62;
  CHECK(contains(error(over(0, {25}, {1})), "beyond its storage"));
  CHECK(contains(error(over(24, {1}, {1})), "beyond its storage"));
  CHECK(contains(error(over(0, {2}, {big})), "beyond its storage"));
  CHECK(contains(error(over(big, {1}, {1})), "beyond its storage"));
  CHECK(contains(error(over(-1, {1}, {1})), "impossible shape"));
  CHECK(contains(error(over(0, {half, 4}, {0, 0})), "impossible shape"));
  CHECK(contains(error(over(0, {half, half, 0}, {1, 1, 1})), "impossible shape"));
  CHECK(contains(error(over(0, {3}, {half})), "impossible shape"));
  CHECK(contains(error(over(0, {-1}, {1})), "negative"));
  CHECK(contains(error(over(0, {1}, {-1})), "negative"));
  CHECK(contains(error(over(0, {1, 1}, {1})), "impossible shape"));
  CHECK(contains(error(over(0, {1 << 20, 1 << 10}, {0, 0})), "far larger than the file"));
  CHECK(contains(error(tensor(storage("FloatStorage", "0", 25), 0, {1}, {1})), "needs 100 bytes"));
  CHECK(
      contains(error(tensor(storage("FloatStorage", "0", half), 0, {1}, {1})), "no possible size"));
  CHECK(contains(error(tensor(storage("FloatStorage", "9", 1), 0, {1}, {1})), "storage 9"));
  CHECK(contains(error(tensor(storage("FloatStorage", "../0", 1), 0, {1}, {1})), "storage ../0"));
  CHECK(readable(archive(over(24, {0, 5}, {1, 1}))));
}

TEST_CASE("hostile pth: pickles that ask for much, nest deep or contain themselves") {
  auto repeat = [](const std::string& s, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) all += s;
    return all;
  };
  CHECK(contains(error("]q\x01h\x01"
                       "a"),
                 "within themselves"));
  CHECK(contains(error(cat("}q\x01", text("a")) + "h\x01s"), "within themselves"));
  CHECK(contains(error(repeat("]", 100000) + repeat("a", 99999)), "nested too deep"));
  CHECK(contains(error(cat(")", repeat("\x85", 1000000))), "nested too deep"));
  CHECK(contains(error(cat(")", repeat("2\x86", 60))), "again and again"));  // 2^60 values
  CHECK(contains(error(repeat("N", 5'000'000)), "more than 4000000 values"));
  // A long list copied over and over; a text in a thousand places.
  CHECK(contains(error(cat("](", repeat("N", 10000)) + "eq\x01" +
                       repeat(global("builtins", "set") + "h\x01\x85R", 3000)),
                 "far more memory"));
  CHECK(contains(
      error(cat("](", text(std::string(100000, 'x'))) + "q\x01" + repeat("h\x01", 10000) + "e"),
      "again and again"));
  CHECK(contains(error("X\xff\xff\xff\xff"), "ends too early"));
  CHECK(contains(error(cat("\x8e", number(UINT64_MAX, 8))), "ends too early"));
  CHECK(contains(error("\x8b\xff\xff\xff\x7f"), "ends too early"));
  CHECK(contains(error("r\xff\xff\xff\xff"), "more values than there are"));
  CHECK(contains(error("Nr\xff\xff\xff\xffj\xfe\xff\xff\xff"), "did not keep"));
  CHECK(contains(error("0"), "more values than there are"));
  CHECK(contains(error("(0"), "more values than there are"));
  CHECK(contains(error("t"), "no mark"));
  CHECK(contains(error("}(Nu"), "key without a value"));
  CHECK(contains(error("NNa"), "adds items to something that has none"));
  CHECK(contains(error(cat("}(", text("a")) + "N" + text("a") + "Nu"), "the key 'a' twice"));
  CHECK(contains(error(global("argparse", "Namespace") + ")\x81" + "Nb"), "gives attributes"));
  CHECK(contains(error("I1x\n"), "'1x' is not a number"));
  CHECK(contains(error("N.N"), "its pickle ends after"));
}

TEST_CASE("hostile pth: zip directories that lie") {
  const std::string whole = archive(over(0, {24}, {1}));
  const size_t directory = whole.find("PK\x01\x02"), end = whole.find("PK\x05\x06");
  REQUIRE(directory != std::string::npos);
  auto changed = [&](size_t at, const std::string& to) {
    std::string s = whole;
    return s.replace(at, to.size(), to);
  };
  auto says = [&](const std::string& s) { return input_error([&] { read(s); }); };
  CHECK(contains(says(changed(directory + 24, number(0xfffffff0, 4))), "compressed"));
  CHECK(contains(says(changed(directory + 20, number(0xfffffff0, 4) + number(0xfffffff0, 4))),
                 "larger than the file"));
  CHECK(contains(says(changed(directory + 10, number(8, 2))), "compressed"));
  CHECK(contains(says(changed(directory + 8, number(1, 2))), "encrypted"));
  CHECK(contains(says(changed(directory + 42, number(0xfffffff0, 4))), "outside"));
  CHECK(contains(says(changed(directory + 42, number(7, 4))), "not where the directory says"));
  CHECK(contains(says(changed(directory + 16, number(12345, 4))), "checksum"));
  CHECK(contains(says(changed(end + 10, number(60000, 2))), "cannot have"));
  CHECK(contains(says(changed(end + 12, number(0xffffff00, 4))), "lies outside"));
  CHECK(contains(says(changed(end + 16, number(0xffffff00, 4))), "lies outside"));
  CHECK(contains(says(changed(end + 12, number(160, 4))), "within an entry"));
  // Every entry is the first one.
  std::string s = whole;
  const size_t entry = end - directory;  // three of them, with names of 10, 11 and 8 letters
  const size_t second = directory + 46 + 10;
  REQUIRE(second < directory + entry);
  s.replace(second + 42, 4, number(0, 4));
  CHECK(contains(says(s), "not where the directory says"));
  CHECK(contains(says("PK\x05\x06" + std::string(18, '\0')), "not a PyTorch checkpoint"));
  CHECK(contains(says(""), "not a PyTorch checkpoint"));
  // Two entries of the same name; data of one within the other.
  const TemporaryFolder out;
  const std::string p = pickle("N");
  const auto raw = std::as_bytes(std::span(p));
  write_zip(out / "z", {{"x/data.pkl", raw}, {"x/data.pkl", raw}});
  CHECK(contains(says(file_content(out / "z")), "twice"));
  write_zip(out / "z", {{"x/data.pkl", raw}, {"y/data.pkl", raw}});
  CHECK(contains(says(file_content(out / "z")), "more than one data.pkl"));
  write_zip(out / "z", {{"x/data.pkl", raw}, {"x/constants.pkl", raw}});
  CHECK(contains(says(file_content(out / "z")), "TorchScript"));
  write_zip(out / "z", {{"picture.png", raw}});
  CHECK(contains(says(file_content(out / "z")), "not one of torch.save"));
}

TEST_CASE("hostile pth: the old format with storages that lie") {
  const std::string whole = legacy();
  auto says = [&](const std::string& s) { return input_error([&] { read(s); }); };
  auto changed = [&](size_t from_end, const std::string& to) {
    std::string s = whole;
    return s.replace(s.size() - from_end, to.size(), to);
  };
  CHECK(contains(says(changed(32, number(7, 8))), "its tensor says 6"));
  CHECK(contains(says(changed(32, number(UINT64_MAX, 8))), "its tensor says 6"));
  CHECK(contains(says(whole + "x"), "1 bytes after"));
  CHECK(contains(says(changed(32 + 3, "8e.")), "belongs to no tensor"));
  CHECK(contains(says(pickle(integer(1001))), "not one of torch.save"));
}

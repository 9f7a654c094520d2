// make_places ROOT OUTPUT: writes OUTPUT, the source of places(), from places.txt and the tree at
// ROOT. Run by the build; exit code 1 where a line that is named is not there.
#include <cstdio>

#include "tools/walkthrough/find_places.h"

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("make_places ROOT OUTPUT");
  const std::string root = argv[1];
  std::ifstream list(root + "/tools/walkthrough/places.txt");
  if (!list) throw std::runtime_error("there is no places.txt");
  std::ostringstream out;
  out << "// Made by tools/walkthrough/make_places.cpp.\n#include "
         "\"tools/walkthrough/places.h\"\n\n"
         "static constexpr krait::walk::Place all[] = {\n";
  auto quoted = [](const std::string& s) { return "R\"~~(" + s + ")~~\""; };
  for (const auto& p : krait::walk::find_places(list, root))
    out << "    {\"" << p.name << "\", \"" << p.file << "\", " << p.line << ", " << quoted(p.text)
        << ", " << quoted(p.code) << "},\n";
  out << "};\n\nstd::span<const krait::walk::Place> krait::walk::places() {\n  return all;\n}\n";
  // Only when it changes, so that nothing else is rebuilt.
  std::ifstream before(argv[2]);
  const std::string was{std::istreambuf_iterator<char>(before), {}};
  if (before && was == out.str()) return 0;
  std::ofstream to(argv[2]);
  if (!(to << out.str() << std::flush)) throw std::runtime_error("cannot write the source");
} catch (const std::exception& e) {
  std::fprintf(stderr, "make_places: %s\n", e.what());
  return 1;
}

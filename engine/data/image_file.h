// Reads PNG, JPEG and BMP files. What a file is, its first bytes say, not its name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace krait {

struct Picture {
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;  // (height, width, 3): red, green, blue
};

constexpr int64_t most_pixels = int64_t{1} << 28;  // a header that promises more is not believed
constexpr int64_t longest = 10000;                 // longer side / shorter side

// What is wrong with a picture of that size, "" if nothing.
std::string size_fault(int64_t height, int64_t width);

// Decodes the file at `path`. Grey becomes three equal channels, alpha is dropped, 16 bits lose
// their lower 8, CMYK is converted; a rotation in the EXIF data is ignored. Returns what is wrong,
// "" if nothing: a file that cannot be opened, is empty, of another kind, damaged, cut off (the
// decoder alone would fill up what is missing), larger than most_pixels, of a shape that no picture
// has, or with more pixels than a file of its length can hold.
// Any thread may call it.
std::string read_picture(const std::string& path, Picture& to);

// The same for the header alone, which is all that is read of the file.
std::string probe_picture(const std::string& path, int& height, int& width);

// InputError in a build without stb_image.
void check_can_read_pictures();

}  // namespace krait

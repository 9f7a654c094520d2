// CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their binary form. A file is a row of records: one
// label byte (CIFAR-100: coarse, then fine), then 3 x 32 x 32 bytes, channel by channel.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "engine/data/dataset.h"
#include "engine/data/tar.h"

namespace krait {
namespace {

namespace fs = std::filesystem;

struct Format {
  const char* name;
  const char* folder;  // what the archive unpacks to
  const char* archive;
  const char* get;                      // how to get it
  int label_bytes;                      // the last of them counts
  int64_t train_records, test_records;  // in each file
  std::vector<std::string> train, test;
};

constexpr int64_t picture_bytes = 3 * 32 * 32;

void check_size(const std::string& file, int64_t size, int64_t expected) {
  KRAIT_INPUT(size == expected, file, size < expected ? " is cut off: " : ": ", size,
              " bytes, expected ", expected);
}

// A file of another size is refused before it is read.
std::vector<uint8_t> read_file(const fs::path& path, int64_t size) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  KRAIT_INPUT(in, "cannot read ", path.string());
  check_size(path.string(), in.tellg(), size);
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(bytes.data()), size);
  KRAIT_INPUT(in, "cannot read ", path.string());
  return bytes;
}

// Adds the records of one file to `data`.
void parse(const Format& f, const std::string& file, const std::vector<uint8_t>& bytes,
           int64_t records, Dataset& data) {
  const int64_t record = f.label_bytes + picture_bytes;
  check_size(file, std::ssize(bytes), records * record);
  for (int64_t r = 0; r < records; ++r) {
    const uint8_t* at = bytes.data() + r * record;
    const int label = at[f.label_bytes - 1];
    KRAIT_INPUT(label < data.classes, file, ": record ", r, " has label ", label,
                ", the largest is ", data.classes - 1);
    data.labels.push_back(label);
    data.images.insert(data.images.end(), at + f.label_bytes, at + record);
  }
}

void load(const Format& f, const std::string& path, bool train, Dataset& data) {
  const auto& files = train ? f.train : f.test;
  const int64_t records = train ? f.train_records : f.test_records;
  const int64_t total = records * std::ssize(files);
  data.labels.reserve(total);
  data.images.reserve(total * picture_bytes);

  fs::path archive;
  std::string missing;
  if (fs::is_regular_file(path)) {
    archive = path;
  } else {
    for (const fs::path& folder : {fs::path(path), fs::path(path) / f.folder}) {
      std::string absent;
      int there = 0;
      for (const std::string& file : files)
        if (fs::is_regular_file(folder / file))
          ++there;
        else
          absent += (absent.empty() ? "" : ", ") + file;
      if (absent.empty()) {
        for (const std::string& file : files)
          parse(f, (folder / file).string(),
                read_file(folder / file, records * (f.label_bytes + picture_bytes)), records, data);
        return;
      }
      if (there) missing = folder.string() + " lacks " + absent;
    }
    if (fs::is_regular_file(fs::path(path) / f.archive)) archive = fs::path(path) / f.archive;
  }
  if (!archive.empty()) {
    auto found = read_tar(archive.string(), files);
    for (const std::string& file : files) {
      KRAIT_INPUT(found.count(file), "no ", file, " in ", archive.string());
      parse(f, archive.string() + ": " + file, found[file], records, data);
      found.erase(file);
    }
    return;
  }
  if (missing.empty()) {
    missing = fs::exists(path) ? cat("no ", f.name, " in ", path) : cat("there is no ", path);
    missing += cat(": looked for ", files.front(), files.size() > 1 ? " ... " + files.back() : "",
                   " there and in ", (fs::path(path) / f.folder).string(), ", and for ", f.archive);
  }
  throw InputError(cat(missing, " (", f.get, ")"));
}

const char* const cifar100_names =
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch "
    "crab "
    "crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo "
    "keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse "
    "mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy "
    "porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television "
    "tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm";

}  // namespace

Dataset describe_cifar10() {
  return Dataset{.name = "CIFAR10",
                 .classes = 10,
                 .class_names = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog",
                                 "horse", "ship", "truck"},
                 .images = {},
                 .labels = {},
                 .mean = {0.4914, 0.4822, 0.4465},
                 .stddev = {0.2470, 0.2435, 0.2616}};
}

Dataset load_cifar10(const std::string& path, bool train) {
  Dataset data = describe_cifar10();
  const Format format{"CIFAR-10",
                      "cifar-10-batches-bin",
                      "cifar-10-binary.tar.gz",
                      "tools/get_cifar10.sh DIR gets them",
                      1,
                      10000,
                      10000,
                      {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                       "data_batch_4.bin", "data_batch_5.bin"},
                      {"test_batch.bin"}};
  load(format, path, train, data);
  return data;
}

Dataset describe_cifar100() {
  Dataset data{.name = "CIFAR100",
               .classes = 100,
               .class_names = {},
               .images = {},
               .labels = {},
               .mean = {0.5071, 0.4867, 0.4408},
               .stddev = {0.2675, 0.2565, 0.2761}};
  std::istringstream names(cifar100_names);
  for (std::string name; names >> name;) data.class_names.push_back(name);
  return data;
}

Dataset load_cifar100(const std::string& path, bool train) {
  Dataset data = describe_cifar100();
  const Format format{"CIFAR-100",
                      "cifar-100-binary",
                      "cifar-100-binary.tar.gz",
                      "get it from https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                      2,
                      50000,
                      10000,
                      {"train.bin"},
                      {"test.bin"}};
  load(format, path, train, data);
  return data;
}

}  // namespace krait

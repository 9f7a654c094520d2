// Files as a whole.
#include "engine/io/file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/common/error.h"

namespace krait {
namespace {

// Calls read(2) or write(2) until everything is through.
template <class P, class F>
bool whole(P* p, size_t bytes, F&& call) {
  while (bytes > 0) {
    const ssize_t n = call(p, std::min(bytes, size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

File::~File() {
  if (fd_ >= 0) close(fd_);
}
bool File::read_all(void* to, size_t bytes) const {
  return whole(static_cast<char*>(to), bytes, [&](char* p, size_t n) { return ::read(fd_, p, n); });
}
bool File::write_all(const void* from, size_t bytes) const {
  return whole(static_cast<const char*>(from), bytes,
               [&](const char* p, size_t n) { return ::write(fd_, p, n); });
}

int open_to_read(const std::string& path, uint64_t& bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  KRAIT_INPUT(fd >= 0, path, ": cannot be read: ", std::strerror(errno));
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    throw InputError(cat(path, ": is not a file"));
  }
  bytes = static_cast<uint64_t>(info.st_size);
  return fd;
}

Bytes read_file(const std::string& path) {
  uint64_t bytes = 0;
  const File file(open_to_read(path, bytes));
  Bytes content(bytes);
  KRAIT_INPUT(file.read_all(content.data(), content.size()), path, ": cannot be read");
  return content;
}

void write_file(const std::string& path, const std::function<bool(const File&)>& write,
                const std::function<void(const std::string&)>& whole) {
  const std::string temporary = path + ".tmp";
  auto give_up = [&](const char* what) {
    const std::string why = std::strerror(errno);
    unlink(temporary.c_str());
    throw InputError(cat(path, ": cannot be ", what, ": ", why));
  };
  {
    // What an interrupted write left is not written over: it may be good, and have a second name.
    unlink(temporary.c_str());
    const File file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    KRAIT_INPUT(file.fd() >= 0, path, ": cannot be written: ", std::strerror(errno));
    if (!write(file) || fsync(file.fd()) != 0) give_up("written");
  }
  try {
    if (whole) whole(temporary);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) give_up("replaced");
  // The rename itself lasts only once the folder is on disk.
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const File directory(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot flush a folder: EINVAL.
  KRAIT_INPUT(directory.fd() < 0 || fsync(directory.fd()) == 0 || errno == EINVAL, path,
              ": cannot be flushed to disk: ", std::strerror(errno));
}

bool give_name(const std::string& file, const std::string& name) {
  const std::string temporary = name + ".tmp";
  unlink(temporary.c_str());
  if (link(file.c_str(), temporary.c_str()) != 0) return false;
  // Where both names are the same file already, rename() does nothing and leaves both.
  const bool done = rename(temporary.c_str(), name.c_str()) == 0;
  unlink(temporary.c_str());  // or whoever writes to it would write to the file
  return done;
}

std::string printable(const std::string& text) {
  std::string s = text.substr(0, 100);
  for (char& c : s)
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = '?';
  return s.size() < text.size() ? s + "..." : s;
}

}  // namespace krait

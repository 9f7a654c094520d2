// Files read and written as a whole, in binary; and names out of a file made fit for a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace krait {

using Bytes = std::vector<std::byte>;

class File {  // closes itself
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  ~File();
  int fd() const { return fd_; }
  bool read_all(void* to, size_t bytes) const;  // false: an error, or the file ended before
  bool write_all(const void* from, size_t bytes) const;

 private:
  int fd_;
};

// Opens a regular file and tells its size. InputError with its name if it is none.
int open_to_read(const std::string& path, uint64_t& bytes);
Bytes read_file(const std::string& path);

// To a temporary file beside it, flushed to disk, then renamed, and the folder is flushed: an
// interrupted write loses nothing. `write` returns whether all its writes worked. `whole`, if there
// is one, is called with the temporary file's name once that is on disk, before it gets its own.
// InputError with the file's name if something fails.
void write_file(const std::string& path, const std::function<bool(const File&)>& write,
                const std::function<void(const std::string&)>& whole = {});
// Gives a file a second name (a hard link), replacing what had it. False where that cannot be done.
bool give_name(const std::string& file, const std::string& name);

// A text out of a file that may be garbage, fit for one line: at most 100 bytes, no control codes.
std::string printable(const std::string& text);

}  // namespace krait

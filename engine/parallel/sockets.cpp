// Two connections from every rank to rank 0: one for data, and one that only tells how a process
// ended, which a thread of its own waits for.
#include "engine/parallel/sockets.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <mutex>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace krait {
namespace {

using Clock = std::chrono::steady_clock;

// What a process says of its end on the second connection. Silence: it died.
constexpr char bye = 'b', failed = 'f';

struct Hello {
  char magic[8] = {'k', 'r', 'a', 'i', 't', ' ', '1', 0};
  int32_t rank = 0, size = 0, watches = 0;  // watches: the second connection
};

class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  Socket(Socket&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Socket& operator=(Socket&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  // False: the other side is gone.
  bool write(const void* data, size_t bytes) const {
    for (const char* p = static_cast<const char*>(data); bytes > 0;) {
      const ssize_t n = send(fd_, p, bytes, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      p += n;
      bytes -= static_cast<size_t>(n);
    }
    return true;
  }
  bool read(void* data, size_t bytes) const {
    for (char* p = static_cast<char*>(data); bytes > 0;) {
      const ssize_t n = recv(fd_, p, bytes, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      p += n;
      bytes -= static_cast<size_t>(n);
    }
    return true;
  }
  void set(int level, int name, int value) const {
    setsockopt(fd_, level, name, &value, sizeof value);
  }
  // Small messages at once; a machine that is gone is noticed after 10 + 2 x 5 s.
  void tune() const {
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set(IPPROTO_TCP, TCP_KEEPCNT, 2);
  }
  void wait_at_most(int seconds) const {  // for data; 0: for ever
    const timeval t{seconds, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  }

 private:
  int fd_;
};

Socket listen_at(int port) {
  Socket s(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const bool six = bool(s);
  if (!six) s = Socket(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  s.set(SOL_SOCKET, SO_REUSEADDR, 1);
  sockaddr_in6 a6{};
  sockaddr_in a4{};
  a6.sin6_family = AF_INET6, a6.sin6_addr = in6addr_any, a6.sin6_port = htons(port);
  a4.sin_family = AF_INET, a4.sin_port = htons(port);
  if (six) s.set(IPPROTO_IPV6, IPV6_V6ONLY, 0);
  const int status = six ? bind(s.fd(), reinterpret_cast<sockaddr*>(&a6), sizeof a6)
                         : bind(s.fd(), reinterpret_cast<sockaddr*>(&a4), sizeof a4);
  KRAIT_INPUT(status == 0 && listen(s.fd(), 1024) == 0, "rank 0 cannot listen at port ", port,
              " (MASTER_PORT): ", std::strerror(errno));
  return s;
}

// Empty if nobody listens there yet.
Socket connect_to(const std::string& address, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const int status = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
  KRAIT_INPUT(status == 0 || status == EAI_AGAIN, "MASTER_ADDR is '", address,
              "': ", gai_strerror(status));
  Socket connected;
  for (const addrinfo* a = found; a && !connected; a = a->ai_next) {
    Socket s(socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol));
    if (s && connect(s.fd(), a->ai_addr, a->ai_addrlen) == 0) connected = std::move(s);
  }
  if (found) freeaddrinfo(found);
  if (connected) connected.tune();
  return connected;
}

class SocketRanks : public Ranks {
 public:
  SocketRanks(int rank, int size, int local_rank, const std::string& address, int port,
              DeviceSum device_sum, double seconds)
      : Ranks(rank, size, local_rank),
        device_sum_(std::move(device_sum)),
        data_(rank == 0 ? size : 1),
        watched_(data_.size()) {
    const auto until =
        Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(1000 * seconds));
    if (rank == 0)
      accept_all(port, until);
    else
      for (int watches : {0, 1}) call(address, port, watches, until);
    watch_ = std::thread([this] { this->rank() == 0 ? watch_all() : watch_first(); });
  }
  ~SocketRanks() override {
    for (const Socket& s : data_)
      if (s) shutdown(s.fd(), SHUT_WR);  // who still waits for data learns that none will come
    tell(bye);
    watch_.join();  // until all have said so
  }

  std::string name() const override { return "TCP"; }
  void all_gather(const void* mine, void* all, size_t bytes) override {
    char* const out = static_cast<char*>(all);
    std::memcpy(out + rank() * bytes, mine, bytes);
    if (rank() > 0) {
      put(0, mine, bytes);
      return get(0, all, bytes * size());
    }
    for (int r = 1; r < size(); ++r) get(r, out + r * bytes, bytes);
    for (int r = 1; r < size(); ++r) put(r, all, bytes * size());
  }
  void broadcast(void* data, size_t bytes, int root) override {
    if (rank() == root && root > 0) put(0, data, bytes);
    if (rank() == 0 && root > 0) get(root, data, bytes);
    if (rank() > 0 && rank() != root) get(0, data, bytes);
    for (int r = 1; r < size() && rank() == 0; ++r)
      if (r != root) put(r, data, bytes);
  }
  std::unique_ptr<Sum> make_sum(Context& ctx) override;
  [[noreturn]] void end_all(int status) override {
    tell(failed);
    std::_Exit(status);
  }
  // In order of rank, at rank 0.
  void sum(float* values, int64_t n) {
    const size_t bytes = n * sizeof(float);
    if (rank() > 0) {
      put(0, values, bytes);
      return get(0, values, bytes);
    }
    received_.resize(n);
    for (int r = 1; r < size(); ++r) {
      get(r, received_.data(), bytes);
      for (int64_t i = 0; i < n; ++i) values[i] += received_[i];
    }
    for (int r = 1; r < size(); ++r) put(r, values, bytes);
  }

 private:
  void accept_all(int port, Clock::time_point until) {
    if (size() == 1) return;
    const Socket listener = listen_at(port);
    for (int missing = 2 * (size() - 1); missing > 0;) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
      pollfd p{listener.fd(), POLLIN, 0};
      KRAIT_INPUT(left.count() > 0 && poll(&p, 1, static_cast<int>(left.count())) > 0,
                  size() - 1 - (missing + 1) / 2, " of ", size() - 1, " other ranks came to port ",
                  port, " in time");
      Socket s(accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC));
      Hello hello;
      const Hello expected;
      if (!s) continue;
      s.wait_at_most(5);
      if (!s.read(&hello, sizeof hello) ||
          std::memcmp(hello.magic, expected.magic, sizeof hello.magic) != 0)
        continue;  // a stranger
      KRAIT_INPUT(hello.size == size() && hello.rank > 0 && hello.rank < size(), "rank ",
                  hello.rank, " of ", hello.size, " came to a training of ", size());
      Socket& place = (hello.watches ? watched_ : data_)[hello.rank];
      KRAIT_INPUT(!place, "rank ", hello.rank, " came twice");
      s.wait_at_most(0);
      s.tune();
      place = std::move(s);
      --missing;
    }
  }
  void call(const std::string& address, int port, int watches, Clock::time_point until) {
    Socket s = connect_to(address, port);
    while (!s) {
      KRAIT_INPUT(Clock::now() < until, "rank ", rank(), ": nobody answers at ", address, ", port ",
                  port);
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      s = connect_to(address, port);
    }
    Hello hello;
    hello.rank = rank(), hello.size = size(), hello.watches = watches;
    s.write(&hello, sizeof hello);
    (watches ? watched_ : data_)[0] = std::move(s);
  }

  void put(int to, const void* data, size_t bytes) const {
    if (!data_[to].write(data, bytes)) lost(to);
  }
  void get(int from, void* data, size_t bytes) const {
    if (!data_[from].read(data, bytes)) lost(from);
  }
  // The thread that watches knows it too: it ends this process. If not, the caller's error does.
  [[noreturn]] void lost(int who) const {
    std::this_thread::sleep_for(std::chrono::seconds(10));
    throw Error(cat("rank ", who, " is lost"));
  }

  void tell(char what) const {
    const std::lock_guard lock(telling_);
    for (const Socket& s : watched_)
      if (s) s.write(&what, 1);
  }
  [[noreturn]] void end(int who) const {
    if (who >= 0)
      fmt::print(stderr, "rank {} is lost: all others end; --resume goes on from the checkpoint\n",
                 who);
    if (rank() == 0) tell(failed);
    std::_Exit(1);
  }
  void watch_all() const {
    std::vector<pollfd> open(size());
    for (int r = 0; r < size(); ++r) open[r] = {watched_[r].fd(), POLLIN, 0};
    for (int left = size() - 1; left > 0;) {
      if (poll(open.data(), open.size(), -1) < 0) continue;
      for (int r = 1; r < size(); ++r) {
        if (open[r].fd < 0 || !open[r].revents) continue;
        char what = 0;
        const bool said = watched_[r].read(&what, 1);
        if (!said || what != bye) end(said ? -1 : r);
        open[r].fd = -1;
        --left;
      }
    }
  }
  void watch_first() const {
    char what = 0;
    const bool said = watched_[0].read(&what, 1);
    if (said && what == bye) return;
    end(!said && rank() == 1 ? 0 : -1);  // one of them speaks for all
  }

  DeviceSum device_sum_;
  std::vector<Socket> data_, watched_;  // rank 0: of each rank; others: one
  std::vector<float> received_;
  mutable std::mutex telling_;
  std::thread watch_;
};

class SocketSum : public Sum {
 public:
  explicit SocketSum(SocketRanks& ranks) : ranks_(ranks) {}
  std::string name() const override { return "TCP"; }
  void start(float* values, int64_t n) override { begun_.emplace_back(values, n); }
  void finish() override {
    for (const auto& [values, n] : begun_) ranks_.sum(values, n);
    begun_.clear();
  }

 private:
  SocketRanks& ranks_;
  std::vector<std::pair<float*, int64_t>> begun_;
};

std::unique_ptr<Sum> SocketRanks::make_sum(Context& ctx) {
  if (!ctx.stream()) return std::make_unique<SocketSum>(*this);
  if (size() == 1 && !device_sum_) return nullptr;
  KRAIT_INPUT(device_sum_, "this build has no NCCL, which several GPUs need (or --device cpu)");
  return device_sum_(ctx, *this);
}

}  // namespace

std::unique_ptr<Ranks> socket_ranks(int rank, int size, int local_rank, const std::string& address,
                                    int port, DeviceSum device_sum, double seconds) {
  return std::make_unique<SocketRanks>(rank, size, local_rank, address, port, std::move(device_sum),
                                       seconds);
}

}  // namespace krait

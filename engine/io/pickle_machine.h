// The machine inside read_pickle. Opcodes are in pickle.cpp, what may be constructed is in
// pickle_names.cpp.
#pragma once

#include <unordered_map>

#include "engine/io/pickle.h"

namespace krait::pickle {

using Kind = PthValue::Kind;
using Ref = uint32_t;  // a node: its place in Machine::nodes

// A value under construction. Values can be shared and circular, so they refer by number.
struct Node {
  Kind kind = Kind::none;
  bool name = false;  // a class or function, named by `text`; nothing has been constructed
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<Ref> items;
  std::shared_ptr<const PthTensor> tensor;
  std::shared_ptr<const PthStorage> storage;  // of a persistent id; text: its type
};

using Refs = std::vector<Ref>;

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, size_t at, const PickleOptions& options)
      : bytes_(bytes), at_(at), options_(options), left_(16 * bytes.size() + 4096) {}
  PthValue run();
  size_t at() const { return at_; }

  // For the constructors.
  Ref add(Node node);
  Ref add(Kind kind, std::string text = {}, Refs items = {});
  Ref add_integer(int64_t v, Kind kind = Kind::integer);
  Ref add_real(double v);
  Node& operator[](Ref r) { return nodes_[r]; }
  [[noreturn]] void refuse(const std::string& what) const;
  // Copied memory counts: a short pickle must not fill it by copying the same things over and over.
  void spend(uint64_t bytes);
  const PickleOptions& options() const { return options_; }

 private:
  void step(uint8_t opcode);
  void push_number(uint8_t opcode);
  bool push_text(uint8_t opcode);
  void collect(uint8_t opcode);
  void long_integer(uint64_t bytes);

  std::span<const std::byte> take(uint64_t bytes);
  uint64_t number(int bytes);
  std::string line();
  std::string string(uint64_t bytes);
  void push(Ref r) { stack_.push_back(r); }
  Ref pop();
  Refs pop_to_mark();
  Ref top();
  void memoize(uint64_t index);
  void recall(uint64_t index);
  void extend(Ref to, const Refs& items, Kind a, Kind b);

  PthValue tree(Ref root);

  std::span<const std::byte> bytes_;
  size_t at_;
  const PickleOptions& options_;
  uint64_t left_;  // bytes that may still be spent
  std::vector<Node> nodes_;
  Refs stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Ref> memo_;
};

// What opcodes GLOBAL, REDUCE, NEWOBJ, BUILD and BINPERSID do.
Ref find_name(Machine& m, const std::string& module, const std::string& name);
Ref construct(Machine& m, Ref name, const Refs& arguments);
void build(Machine& m, Ref object, Ref state);
Ref persistent(Machine& m, Ref id);

}  // namespace krait::pickle

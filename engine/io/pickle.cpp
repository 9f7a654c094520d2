// A pickle is a program for a small stack machine; this one reads it as data.
//
//   80 02              PROTO 2
//   7d                 EMPTY_DICT                 push {}
//   58 05 00 00 00 ..  BINUNICODE "epoch"         push a text
//   4b 07              BININT1 7                  push a number
//   73                 SETITEM                    pop both, put them into the dict below
//   63 .. 0a .. 0a     GLOBAL "torch._utils" "_rebuild_tensor_v2"      push a function, by name
//   28 .. 74           MARK .. TUPLE              pop all since the mark, push them as a tuple
//   51                 BINPERSID                  pop ('storage', FloatStorage, '0', 'cpu', 96),
//                                                 push that storage: file data/0 of the archive
//   52                 REDUCE                     pop arguments and function, push what it returns
//   71 05 / 68 05      BINPUT 5 / BINGET 5        keep the top as number 5 / push it again
//   2e                 STOP                       the top is the result
//
// In Python a pickle can call any function of any module. Here GLOBAL finds the few names in
// pickle_names.cpp that checkpoints need, and REDUCE builds the value that such a call would
// return; every other name is an error. (Python: Lib/pickletools.py describes every opcode.)
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <set>

#include "engine/io/pickle_machine.h"

namespace krait {
namespace pickle {
namespace {

constexpr size_t most_nodes = 4'000'000;  // a checkpoint of 100 M parameters has some thousands
constexpr size_t most_arguments = 64;     // of one call
constexpr int deepest = 200;              // dicts in dicts in lists ...

enum Op : uint8_t {
  MARK = '(',
  STOP = '.',
  POP = '0',
  POP_MARK = '1',
  DUP = '2',
  FLOAT = 'F',
  BINFLOAT = 'G',
  INT = 'I',
  BININT = 'J',
  BININT1 = 'K',
  LONG = 'L',
  BININT2 = 'M',
  NONE = 'N',
  BINPERSID = 'Q',
  REDUCE = 'R',
  BINSTRING = 'T',
  SHORT_BINSTRING = 'U',
  BINUNICODE = 'X',
  BINBYTES = 'B',
  SHORT_BINBYTES = 'C',
  APPEND = 'a',
  BUILD = 'b',
  GLOBAL = 'c',
  DICT = 'd',
  APPENDS = 'e',
  BINGET = 'h',
  LONG_BINGET = 'j',
  LIST = 'l',
  BINPUT = 'q',
  LONG_BINPUT = 'r',
  SETITEM = 's',
  TUPLE = 't',
  SETITEMS = 'u',
  EMPTY_TUPLE = ')',
  EMPTY_LIST = ']',
  EMPTY_DICT = '}',
  PROTO = 0x80,
  NEWOBJ = 0x81,
  TUPLE1 = 0x85,
  TUPLE2 = 0x86,
  TUPLE3 = 0x87,
  NEWTRUE = 0x88,
  NEWFALSE = 0x89,
  LONG1 = 0x8a,
  LONG4 = 0x8b,
  SHORT_BINUNICODE = 0x8c,
  BINUNICODE8 = 0x8d,
  BINBYTES8 = 0x8e,
  EMPTY_SET = 0x8f,
  ADDITEMS = 0x90,
  FROZENSET = 0x91,
  NEWOBJ_EX = 0x92,
  STACK_GLOBAL = 0x93,
  MEMOIZE = 0x94,
  FRAME = 0x95,
  BYTEARRAY8 = 0x96,
};

std::string hex(std::span<const std::byte> little_endian) {
  std::string s = "0x";
  for (auto b = little_endian.rbegin(); b != little_endian.rend(); ++b)
    for (const int digit : {int(*b) >> 4, int(*b) & 15}) s += "0123456789abcdef"[digit];
  return s;
}

}  // namespace

void Machine::refuse(const std::string& what) const {
  throw InputError(cat(options_.path, ": ", what));
}

Ref Machine::add(Node node) {
  if (nodes_.size() >= most_nodes) refuse(cat("holds more than ", most_nodes, " values"));
  spend(node.text.size() + node.items.size() * sizeof(Ref));
  nodes_.push_back(std::move(node));
  return static_cast<Ref>(nodes_.size() - 1);
}
void Machine::spend(uint64_t bytes) {
  if (bytes > left_) refuse("asks for far more memory than its size explains");
  left_ -= bytes;
}
Ref Machine::add(Kind kind, std::string text, Refs items) {
  Node n;
  n.kind = kind;
  n.text = std::move(text);
  n.items = std::move(items);
  return add(std::move(n));
}
Ref Machine::add_integer(int64_t v, Kind kind) {
  Node n;
  n.kind = kind;
  n.integer = v;
  return add(std::move(n));
}
Ref Machine::add_real(double v) {
  Node n;
  n.kind = Kind::real;
  n.real = v;
  return add(std::move(n));
}

std::span<const std::byte> Machine::take(uint64_t bytes) {
  if (bytes > bytes_.size() - at_) refuse("is cut off or damaged: its pickle ends too early");
  at_ += bytes;
  return bytes_.subspan(at_ - bytes, bytes);
}
uint64_t Machine::number(int bytes) {
  uint64_t v = 0;
  const auto raw = take(bytes);
  for (int i = bytes - 1; i >= 0; --i) v = v << 8 | static_cast<uint64_t>(raw[i]);
  return v;
}
std::string Machine::string(uint64_t bytes) {
  const auto raw = take(bytes);
  return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}
std::string Machine::line() {
  std::string s;
  for (char c; (c = static_cast<char>(take(1)[0])) != '\n'; s += c)
    if (s.size() > 1000) refuse("is damaged: a name in its pickle does not end");
  return s;
}

Ref Machine::pop() {
  const Ref r = top();
  stack_.pop_back();
  return r;
}
Ref Machine::top() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back()))
    refuse("is damaged: its pickle takes more values than there are");
  return stack_.back();
}
Refs Machine::pop_to_mark() {
  if (marks_.empty()) refuse("is damaged: its pickle has no mark where one is needed");
  const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  Refs all(from, stack_.end());
  stack_.erase(from, stack_.end());
  marks_.pop_back();
  return all;
}
void Machine::memoize(uint64_t index) {
  memo_[index] = top();
}
void Machine::recall(uint64_t index) {
  const auto it = memo_.find(index);
  if (it == memo_.end()) refuse("is damaged: its pickle uses a value that it did not keep");
  push(it->second);
}

void Machine::long_integer(uint64_t bytes) {
  const auto raw = take(bytes);
  if (bytes > 8) {  // kept as it is: only a magic number and random states are that large
    push(add(Kind::object, "int", {add(Kind::text, "value"), add(Kind::text, hex(raw))}));
    return;
  }
  uint64_t v = bytes && (raw.back() & std::byte{0x80}) != std::byte{0} ? ~uint64_t{0} : 0;
  for (size_t i = bytes; i-- > 0;) v = v << 8 | static_cast<uint64_t>(raw[i]);
  push(add_integer(static_cast<int64_t>(v)));
}

void Machine::push_number(uint8_t op) {
  switch (op) {
    case BININT1:
      return push(add_integer(static_cast<int64_t>(number(1))));
    case BININT2:
      return push(add_integer(static_cast<int64_t>(number(2))));
    case BININT:
      return push(add_integer(static_cast<int32_t>(number(4))));
    case LONG1:
      return long_integer(number(1));
    case LONG4:
      return long_integer(number(4));
    case BINFLOAT: {  // big-endian, unlike everything else
      uint64_t v = 0;
      for (const std::byte b : take(8)) v = v << 8 | static_cast<uint64_t>(b);
      return push(add_real(std::bit_cast<double>(v)));
    }
    default:
      break;
  }
  std::string s = line();  // INT, LONG, FLOAT: as text
  if (op == INT && (s == "00" || s == "01")) return push(add_integer(s == "01", Kind::boolean));
  if (op == LONG && s.ends_with('L')) s.pop_back();
  char* end = nullptr;
  errno = 0;
  if (op == FLOAT)
    push(add_real(std::strtod(s.c_str(), &end)));
  else
    push(add_integer(std::strtoll(s.c_str(), &end, 10)));
  if (s.empty() || *end || (errno && op != FLOAT))
    refuse(cat("is damaged: '", printable(s), "' is not a number"));
}

bool Machine::push_text(uint8_t op) {
  switch (op) {
    case SHORT_BINUNICODE:
      push(add(Kind::text, string(number(1))));
      return true;
    case BINUNICODE:
      push(add(Kind::text, string(number(4))));
      return true;
    case BINUNICODE8:
      push(add(Kind::text, string(number(8))));
      return true;
    case SHORT_BINSTRING:
      push(add(Kind::text, string(number(1))));
      return true;  // of Python 2
    case BINSTRING:
      push(add(Kind::text, string(number(4))));
      return true;
    case SHORT_BINBYTES:
      push(add(Kind::bytes, string(number(1))));
      return true;
    case BINBYTES:
      push(add(Kind::bytes, string(number(4))));
      return true;
    case BINBYTES8:
    case BYTEARRAY8:
      push(add(Kind::bytes, string(number(8))));
      return true;
    default:
      return false;
  }
}

// Adds items to a list or set (of kind a or b), or keys and values to a dict.
void Machine::extend(Ref to, const Refs& items, Kind a, Kind b) {
  Node& n = nodes_[to];
  if (n.name || (n.kind != a && n.kind != b))
    refuse("is damaged: its pickle adds items to something that has none");
  if (a == Kind::dict && items.size() % 2) refuse("is damaged: a dict has a key without a value");
  n.items.insert(n.items.end(), items.begin(), items.end());
}

void Machine::collect(uint8_t op) {
  switch (op) {
    case EMPTY_TUPLE:
      return push(add(Kind::tuple));
    case EMPTY_LIST:
      return push(add(Kind::list));
    case EMPTY_DICT:
      return push(add(Kind::dict));
    case EMPTY_SET:
      return push(add(Kind::set));
    case TUPLE:
      return push(add(Kind::tuple, {}, pop_to_mark()));
    case LIST:
      return push(add(Kind::list, {}, pop_to_mark()));
    case FROZENSET:
      return push(add(Kind::set, {}, pop_to_mark()));
    case TUPLE1:
    case TUPLE2:
    case TUPLE3: {
      Refs items(op - TUPLE1 + 1);
      for (size_t i = items.size(); i-- > 0;) items[i] = pop();
      return push(add(Kind::tuple, {}, std::move(items)));
    }
    case DICT: {
      const Refs items = pop_to_mark();
      push(add(Kind::dict));
      return extend(top(), items, Kind::dict, Kind::dict);
    }
    case APPEND: {
      const Ref item = pop();
      return extend(top(), {item}, Kind::list, Kind::list);
    }
    case SETITEM: {
      const Ref value = pop(), key = pop();
      return extend(top(), {key, value}, Kind::dict, Kind::dict);
    }
    default:
      break;
  }
  const Refs items = pop_to_mark();  // APPENDS, ADDITEMS, SETITEMS
  if (op == SETITEMS)
    extend(top(), items, Kind::dict, Kind::dict);
  else
    extend(top(), items, Kind::list, Kind::set);
}

void Machine::step(uint8_t op) {
  if (push_text(op)) return;
  switch (op) {
    case PROTO:
      if (const auto v = number(1); v > 5) refuse(cat("is a pickle of the unknown protocol ", v));
      return;
    case FRAME:
      number(8);
      return;  // a hint for reading ahead
    case NONE:
      return push(add(Kind::none));
    case NEWTRUE:
      return push(add_integer(1, Kind::boolean));
    case NEWFALSE:
      return push(add_integer(0, Kind::boolean));
    case MARK:
      marks_.push_back(stack_.size());
      return;
    case POP:
      pop();
      return;
    case POP_MARK:
      pop_to_mark();
      return;
    case DUP:
      return push(top());
    case BINPUT:
      return memoize(number(1));
    case LONG_BINPUT:
      return memoize(number(4));
    case MEMOIZE:
      return memoize(memo_.size());
    case BINGET:
      return recall(number(1));
    case LONG_BINGET:
      return recall(number(4));
    case GLOBAL: {
      const std::string module = line();
      return push(find_name(*this, module, line()));
    }
    case STACK_GLOBAL: {
      const Ref name = pop(), module = pop();
      if (nodes_[name].kind != Kind::text || nodes_[module].kind != Kind::text)
        refuse("is damaged: a name in its pickle is not a text");
      return push(find_name(*this, nodes_[module].text, nodes_[name].text));
    }
    case REDUCE:
    case NEWOBJ:
    case NEWOBJ_EX: {
      if (op == NEWOBJ_EX)
        if (const Ref named = pop();
            nodes_[named].kind != Kind::dict || !nodes_[named].items.empty())
          refuse("constructs an object with named arguments, which checkpoints do not");
      const Ref arguments = pop(), name = pop();
      if (nodes_[arguments].kind != Kind::tuple || !nodes_[name].name)
        refuse("is damaged: its pickle calls something that is no function");
      if (nodes_[arguments].items.size() > most_arguments)
        refuse(cat("calls ", nodes_[name].text, " with too many arguments"));
      return push(construct(*this, name, Refs(nodes_[arguments].items)));
    }
    case BUILD: {
      const Ref state = pop();
      return build(*this, top(), state);
    }
    case BINPERSID:
      return push(persistent(*this, pop()));
    default:
      break;
  }
  switch (op) {
    case BININT:
    case BININT1:
    case BININT2:
    case LONG1:
    case LONG4:
    case BINFLOAT:
    case INT:
    case LONG:
    case FLOAT:
      return push_number(op);
    case EMPTY_TUPLE:
    case EMPTY_LIST:
    case EMPTY_DICT:
    case EMPTY_SET:
    case TUPLE:
    case TUPLE1:
    case TUPLE2:
    case TUPLE3:
    case LIST:
    case DICT:
    case FROZENSET:
    case APPEND:
    case APPENDS:
    case SETITEM:
    case SETITEMS:
    case ADDITEMS:
      return collect(op);
    default:
      break;
  }
  const std::byte code{op};
  refuse(cat("is damaged, or no checkpoint: its pickle has the opcode ", hex({&code, 1}),
             ", which torch.save does not write"));
}

PthValue Machine::run() {
  for (;;) {
    const auto op = static_cast<uint8_t>(take(1)[0]);
    if (op == STOP) break;
    step(op);
  }
  return tree(pop());
}

// Values by number -> a tree. What is referred to twice is copied; few values must not become many
// that way, and none may lie within itself.
PthValue Machine::tree(Ref root) {
  size_t left = most_nodes, text_left = 16 * bytes_.size() + 4096;
  auto copy = [&](auto& self, Ref r, int depth) -> PthValue {
    const Node& n = nodes_[r];
    if (depth > deepest) refuse("holds values nested too deep, or within themselves");
    if (n.items.size() > left || n.text.size() > text_left)
      refuse("holds too many values by referring to the same ones again and again");
    left -= n.items.size();
    text_left -= n.text.size();
    PthValue v;
    v.kind = n.kind;
    v.integer = n.integer;
    v.real = n.real;
    v.text = n.text;
    v.tensor = n.tensor;
    v.items.reserve(n.items.size());
    for (const Ref item : n.items) v.items.push_back(self(self, item, depth + 1));
    if (n.kind != Kind::dict && n.kind != Kind::object) return v;
    std::set<std::string_view> keys;
    for (size_t i = 0; i < v.items.size(); i += 2)
      if (v.items[i].is(Kind::text) && !keys.insert(v.items[i].text).second)
        refuse(cat("is damaged: a dict has the key '", printable(v.items[i].text), "' twice"));
    return v;
  };
  return copy(copy, root, 0);
}

}  // namespace pickle

PthValue read_pickle(std::span<const std::byte> bytes, size_t& at, const PickleOptions& options) {
  KRAIT_CHECK(at <= bytes.size(), "a pickle behind the end");
  pickle::Machine machine(bytes, at, options);
  PthValue value = machine.run();
  at = machine.at();
  return value;
}

}  // namespace krait

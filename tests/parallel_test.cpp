// Several ranks that train together, here as threads that talk through TCP: what each has of a
// batch, when gradients are sent, and that the training is the one of a single process.
#include <algorithm>
#include <cstring>
#include <doctest/doctest.h>
#include <exception>
#include <map>
#include <omp.h>
#include <set>
#include <thread>

#include "apps/train_cifar/trainer.h"
#include "engine/parallel/gradient_sum.h"
#include "engine/parallel/launch.h"
#include "engine/parallel/sockets.h"
#include "tests/files.h"
#include "tests/image_files.h"
#include "tests/support.h"

using namespace krait;

namespace {

using Role = ParamStore::Role;

// f(ranks) on each of `size` ranks; what it returns, in order of rank.
template <class F>
auto in_ranks(int size, F&& f) {
  static int used = 0;
  const int port = 20000 + (getpid() * 16 + used++) % 12000;
  std::vector<decltype(f(alone()))> results(size);
  std::vector<std::exception_ptr> errors(size);
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r)
    threads.emplace_back([&, r] {
      omp_set_num_threads(1);
      try {
        const auto ranks = socket_ranks(r, size, r, "127.0.0.1", port, {}, 20);
        results[r] = f(*ranks);
      } catch (...) {
        errors[r] = std::current_exception();
      }
    });
  for (std::thread& t : threads) t.join();
  for (const auto& e : errors)
    if (e) std::rethrow_exception(e);
  return results;
}

TrainOptions small() {
  TrainOptions o;
  o.model = "vim_micro_patch4_32";
  o.model_given = true;
  o.data_set = "SYNTHETIC";
  o.train_fraction = 0.016;  // 160 pictures: 5 steps of 32
  o.depth = 2;
  o.embed_dim = 16;
  o.patch_size = 16;
  o.drop_path = 0.2;
  o.drop = 0.1;
  o.mixup = 0.8;
  o.cutmix = 1;
  o.model_ema = true;
  o.model_ema_decay = 0.9;
  o.batch_size = 32;
  o.epochs = 10;
  o.lr = 4e-2;
  o.device = "cpu";
  o.precision = "fp32";
  o.eval_every = 10;
  o.print_every = 1000000;
  o.bucket_mb = 0.004;  // 1000 floats: ten buckets
  return o;
}

struct Run {
  std::vector<double> losses;  // of each step
  std::vector<std::vector<float>> bits;
  Evaluation model, average;
};

// Steps `from` .. `to`, one at a time.
Run train(TrainOptions o, Ranks& ranks, uint64_t to = 50) {
  o.batch_size /= ranks.size();
  Trainer t(o, ranks);
  Run run;
  for (uint64_t step = t.steps_done(); step < to;) {
    t.train(++step);
    run.losses.push_back(t.last_train_loss());
  }
  for (Role role : {Role::master, Role::moment1, Role::moment2, Role::ema})
    if (const Tensor& block = t.params().flat(role))
      run.bits.push_back(t.context().download<float>(block));
  run.model = t.evaluate();
  if (const auto a = t.evaluate_average()) run.average = *a;
  return run;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double d = 0;
  for (size_t i = 0; i < a.size(); ++i) d = std::max(d, std::abs(a[i] - b[i]));
  return d;
}

void check_alike(const Run& a, const Run& b) {
  CHECK(largest_difference(a.losses, b.losses) < 1e-5);
  for (auto [x, y] : {std::pair{&a.model, &b.model}, {&a.average, &b.average}}) {
    CHECK(std::abs(x->loss - y->loss) < 1e-5);
    REQUIRE(x->predictions.size() == y->predictions.size());
    for (size_t i = 0; i < x->predictions.size(); ++i)
      REQUIRE(std::abs(x->predictions[i].loss - y->predictions[i].loss) < 1e-3);
  }
  CHECK(a.model.acc1 == doctest::Approx(b.model.acc1).epsilon(0.01));
}

// Notes what it is given to add up, and finds out whether that was written to later.
struct Note {
  int sent = 0, changed = 0, early = 0;
  const ParamStore* params = nullptr;
};
class NotingSum : public Sum {
 public:
  explicit NotingSum(Note& note) : note_(note) {}
  std::string name() const override { return "notes"; }
  void start(float* values, int64_t n) override {
    begun_.emplace_back(values, std::vector<float>(values, values + n));
    blocks_.push_back(block());
  }
  void finish() override {
    const std::vector<float> end = block();
    for (const auto& [values, copy] : begun_)
      note_.changed += std::memcmp(values, copy.data(), copy.size() * sizeof(float)) != 0;
    for (const auto& b : blocks_) note_.early += b != end;  // others were still to be written
    note_.sent += static_cast<int>(begun_.size());
    begun_.clear();
    blocks_.clear();
  }

 private:
  std::vector<float> block() const {
    if (!note_.params) return {};
    const Tensor& g = note_.params->flat(Role::gradient);
    return {g.as<float>(), g.as<float>() + g.count()};
  }
  Note& note_;
  std::vector<std::pair<float*, std::vector<float>>> begun_;
  std::vector<std::vector<float>> blocks_;
};
class NotingRanks : public Ranks {
 public:
  Note note;
  std::unique_ptr<Sum> make_sum(Context&) override { return std::make_unique<NotingSum>(note); }
};

}  // namespace

TEST_CASE("parallel: the shares of a batch are the whole, once, and partners stay together") {
  for (int size : {1, 2, 3, 8})
    for (int64_t pictures : {1, 2, 5, 6}) {
      std::set<int64_t> places;
      for (int rank = 0; rank < size; ++rank) {
        const Share s = share_of(pictures, rank, size);
        for (int64_t i = 0; i < pictures; ++i) {
          places.insert(s.place(i));
          if (pictures % 2 == 0)
            CHECK(s.place(pictures - 1 - i) == pictures * size - 1 - s.place(i));
          if (size > 1)  // the batch twice
            CHECK(s.place(pictures + i) == pictures * size + s.place(i));
        }
      }
      CHECK(std::ssize(places) == pictures * size);
      CHECK(*places.begin() == 0);
      CHECK(*places.rbegin() == pictures * size - 1);
    }
  for (int64_t count : {0, 1, 7, 10000})
    for (int size : {1, 3, 16}) {
      int64_t end = 0;
      for (int rank = 0; rank < size; ++rank) {
        const auto [from, to] = part_of(count, rank, size);
        CHECK(from == end);
        CHECK(to >= from);
        CHECK(to - from <= count / size + 1);
        end = to;
      }
      CHECK(end == count);
    }
}

TEST_CASE("parallel: gradients are cut into buckets in the order in which they are ready") {
  const ParamStore params([](ParamStore& s) {
    for (const char* layer : {"a", "b", "c"}) {
      s.get(cat(layer, ".weight"), {10, 10}, {});  // 100 elements, at multiples of 64: 128
      s.get(cat(layer, ".bias"), {10}, {});        // 64
    }
  });
  REQUIRE(params.decayed() == 3 * 128);
  // In the order a.weight, a.bias, b.weight, ...
  const std::vector<int64_t> last = {9, 8, 5, 4, 2, 1};
  CHECK(make_buckets(params, last, 1) ==
        std::vector<Bucket>{
            {512, 64, 1}, {256, 128, 2}, {448, 64, 4}, {128, 128, 5}, {384, 64, 8}, {0, 128, 9}});
  CHECK(make_buckets(params, last, 256) ==
        std::vector<Bucket>{{256, 128, 2}, {384, 192, 8}, {0, 256, 9}});
  CHECK(make_buckets(params, last, 1 << 20) == std::vector<Bucket>{{384, 192, 8}, {0, 384, 9}});
  // Nobody writes to the biases, or to a.weight.
  CHECK(make_buckets(params, {-1, -1, 5, -1, 2, -1}, 1) ==
        std::vector<Bucket>{{256, 128, 2}, {128, 128, 5}});
}

TEST_CASE("parallel: a bucket is sent while the backward pass runs, after its last gradient") {
  struct Variant {
    const char* remake;
    std::vector<std::string> freeze;
    int64_t accumulate;
    bool cosub;
  };
  for (const Variant& v : {Variant{"off", {}, 1, false},
                           {"on", {}, 1, false},
                           {"off", {"layers.0.*"}, 2, false},
                           {"on", {"pos_embed"}, 1, true}}) {
    TrainOptions o = small();
    o.remake = v.remake;
    o.freeze = v.freeze;
    o.accumulate = v.accumulate;
    o.cosub = v.cosub;
    NotingRanks ranks;
    Trainer t(o, ranks);
    ranks.note.params = &t.params();
    t.train(3);
    CHECK(ranks.note.changed == 0);
    CHECK(ranks.note.early > 3 * 5);
    // The loss of every part, and the buckets of every step.
    CHECK((ranks.note.sent - 3 * v.accumulate) % 3 == 0);
    CHECK(ranks.note.sent >= 3 * (v.accumulate + 7));
    Trainer plain(o);
    plain.train(3);
    CHECK(plain.context().download<float>(plain.params().flat(Role::master)) ==
          t.context().download<float>(t.params().flat(Role::master)));
  }
}

TEST_CASE("parallel: the environment says who a process is") {
  using Variables = std::map<std::string, std::string>;
  const auto placed = [](const Variables& v) {
    const auto p = placement_of([&](const char* name) -> const char* {
      const auto at = v.find(name);
      return at == v.end() ? nullptr : at->second.c_str();
    });
    return p ? cat(p->launcher, p->way == Placement::Way::mpi ? " MPI " : " TCP ", p->rank, "/",
                   p->size, " ", p->local_rank)
             : "alone";
  };
  Variables slurm = {{"SLURM_PROCID", "9"}, {"SLURM_NTASKS", "16"}, {"SLURM_LOCALID", "1"}};
  CHECK(placed({}) == "alone");
  CHECK(placed({{"RANK", "1"}}) == "alone");
  CHECK(placed(slurm) == "alone");  // in a batch script, not in a step
  slurm["SLURM_STEP_NUM_TASKS"] = "16";
  CHECK(placed(slurm) == "srun TCP 9/16 1");
  slurm["PMIX_RANK"] = "9";
  CHECK(placed(slurm) == "srun MPI 9/16 1");
  slurm.insert({{"RANK", "3"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "0"}});
  CHECK(placed(slurm) == "torchrun TCP 3/4 0");
  slurm.insert({{"OMPI_COMM_WORLD_RANK", "2"},
                {"OMPI_COMM_WORLD_SIZE", "4"},
                {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}});
  CHECK(placed(slurm) == "mpirun MPI 2/4 1");
  CHECK(placed({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}) == "mpirun MPI 0/2 0");
  CHECK_THROWS_WITH_AS(placed({{"RANK", "x"}, {"WORLD_SIZE", "4"}}),
                       "RANK is 'x', which is not a number of processes", InputError);
  CHECK_THROWS_WITH_AS(placed({{"RANK", "4"}, {"WORLD_SIZE", "4"}}),
                       "RANK is 4 and WORLD_SIZE is 4", InputError);
}

TEST_CASE("parallel: what ranks say to each other through TCP") {
  const auto said = in_ranks(3, [](Ranks& r) {
    std::string s = cat(r.rank(), "/", r.size(), " ", r.name());
    for (int v : r.gather(10 * r.rank())) s += cat(" ", v);
    for (int root : {0, 2}) {
      int v = 7 * r.rank();
      r.broadcast(&v, sizeof v, root);
      s += cat(" ", v);
    }
    s += cat(" ", r.any(r.rank() == 1), r.any(false), " ", r.smallest(5 - r.rank()));
    s += " " + r.first_text(r.rank() ? cat("I am ", r.rank()) : "") + r.first_text("");
    r.check_same("a hat", "a hat");
    try {
      r.check_same("a hat", r.rank() == 2 ? "none" : "a hat");
    } catch (const InputError& e) {
      s += cat(" ", e.what());
    }
    return s;
  });
  for (int r = 0; r < 3; ++r)
    CHECK(said[r] == cat(r,
                         "/3 TCP 0 10 20 0 14 10 3 I am 1 rank 2 has a hat that rank 0 does not "
                         "have"));
  const auto sums = in_ranks(4, [](Ranks& r) {
    Context ctx(Backend::cpu);
    const auto sum = r.make_sum(ctx);
    std::vector<float> v(1001), one = {1e8f * (r.rank() == 1) - 1e8f * (r.rank() == 2) + 1};
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i) + r.rank();
    sum->start(one.data(), 1);
    sum->start(v.data(), 1001);
    sum->finish();
    v.push_back(one[0]);
    return v;
  });
  for (const auto& v : sums) {
    CHECK(v == sums[0]);
    CHECK(v[1000] == 4006);
    CHECK(v[1001] == ((1.0f + (1e8f + 1)) + (-1e8f + 1)) + 1);  // in order of rank
  }
  CHECK_THROWS_WITH_AS(socket_ranks(0, 3, 0, "127.0.0.1", 19999, {}, 0.2),
                       "0 of 2 other ranks came to port 19999 in time", InputError);
  CHECK_THROWS_WITH_AS(socket_ranks(1, 3, 0, "127.0.0.1", 19998, {}, 0.2),
                       "rank 1: nobody answers at 127.0.0.1, port 19998", InputError);
}

TEST_CASE("parallel: 2 and 4 ranks train as one process does, with the same bits in every run") {
  const TrainOptions o = small();
  const Run one = train(o, alone());
  CHECK(one.losses.front() != one.losses.back());
  for (int size : {2, 4}) {
    const auto runs = in_ranks(size, [&](Ranks& r) { return train(o, r); });
    check_alike(one, runs[0]);
    for (const Run& run : runs) CHECK(run.bits == runs[0].bits);
    CHECK(runs[0].bits != one.bits);  // or nothing was added up
    const auto again = in_ranks(size, [&](Ranks& r) { return train(o, r); });
    CHECK(again[0].bits == runs[0].bits);
    CHECK(again[0].losses == runs[0].losses);
  }
}

TEST_CASE("parallel: every way of mixing, losses, parts of a batch, frozen and re-made layers") {
  std::map<std::string, TrainOptions> all;
  for (const char* name : {"pair", "elem", "parts", "cosub", "odd"}) all[name] = small();
  for (const char* mode : {"pair", "elem"}) {
    all[mode].mixup_mode = mode;
    all[mode].reprob = 0.5;
    all[mode].aa = "rand-m9-mstd0.5-inc1";
    all[mode].remake = "on";
  }
  all["parts"].accumulate = 4;
  all["parts"].opt = "sgd";
  all["parts"].freeze = {"layers.1.*"};
  all["cosub"].cosub = true;
  all["cosub"].repeated_aug = true;
  all["odd"].batch_size = 30;  // 15 on each of two
  all["odd"].mixup = all["odd"].cutmix = 0;
  for (const auto& [name, options] : all) {
    CAPTURE_BOUND(name);
    const TrainOptions& o = options;
    const Run one = train(o, alone(), 8);
    const auto two = in_ranks(2, [&](Ranks& r) { return train(o, r, 8); });
    check_alike(one, two[0]);
    CHECK(two[0].bits == two[1].bits);
  }
}

TEST_CASE("parallel: a training of four ranks goes on with two, and with one") {
  const TemporaryFolder folder;
  TrainOptions o = small();
  const auto whole = in_ranks(4, [&](Ranks& r) { return train(o, r, 20); });
  o.output_dir = folder / "run";
  in_ranks(4, [&](Ranks& r) { return train(o, r, 8); });  // in the middle of an epoch
  o.resume = o.output_dir + "/checkpoint.safetensors";
  o.output_dir.clear();
  const std::vector<double> rest(whole[0].losses.begin() + 8, whole[0].losses.end());
  for (int size : {4, 2, 1}) {
    const auto runs = in_ranks(size, [&](Ranks& r) { return train(o, r, 20); });
    CHECK(largest_difference(runs[0].losses, rest) < 1e-5);
    if (size == 4) CHECK(runs[0].bits == whole[0].bits);
  }
  // With a batch of half the size, step 8 of 5 a epoch is step 16 of 10: as far in the epoch.
  o.batch_size = 16;
  Trainer half(o);
  CHECK(half.steps_done() == 16);
}

TEST_CASE("parallel: pictures from files are shared as those in memory are") {
  try {
    check_can_read_pictures();
  } catch (const InputError&) {
    MESSAGE("skipped: built without stb_image");
    return;
  }
  const TempFolder temp("parallel_folder");
  uint32_t number = 0;
  for (const char* part : {"train", "val"})
    for (const char* name : {"cat", "ant"})
      for (int i = 0; i < (part[0] == 't' ? 13 : 7); ++i, ++number)
        write_bytes((temp.path / part / name / cat("p", i, ".png")).string(),
                    png_bytes(drawn_picture(20 + static_cast<int>(number % 9), 24, number)));
  TrainOptions o = small();
  o.data_set = "IMAGE_FOLDER";
  o.data_path = temp.path.string();
  o.train_fraction = 1;
  o.num_workers = 2;
  o.batch_size = 12;  // 2 steps, two of 26 pictures are left
  const Run one = train(o, alone(), 7);
  const auto two = in_ranks(2, [&](Ranks& r) { return train(o, r, 7); });
  check_alike(one, two[0]);
  o.accumulate = 3;
  check_alike(train(o, alone(), 5), in_ranks(2, [&](Ranks& r) { return train(o, r, 5); })[0]);
}

TEST_CASE("parallel: what does not fit is said by every rank") {
  TrainOptions o = small();
  const auto error = [&](const TrainOptions& options) {
    return in_ranks(2, [&](Ranks& r) { return input_error([&] { Trainer(options, r); }); })[1];
  };
  o.world_size = 4;
  o.given = {"world_size"};
  CHECK(error(o) ==
        "--world_size is 4, and 2 processes were started (by mpirun -n, srun -n or torchrun "
        "--nproc-per-node)");
  o.given.clear();
  o.batch_size = 100;
  CHECK(error(o) == "--batch-size is 100 on each of 2 ranks; SYNTHETIC has 160 training pictures");
  const auto other = in_ranks(2, [](Ranks& r) {
    TrainOptions p = small();
    p.seed = r.rank();
    return input_error([&] { Trainer(p, r); });
  });
  CHECK(other[0] == "rank 1 has other options than rank 0: seed 0 -> 1");
  CHECK(other[1] == other[0]);
}

TEST_CASE("parallel: a loss that is not finite on one rank is named by all") {
  TrainOptions o = small();
  o.lr = 1e30;
  o.clip_grad = {};
  const auto errors = in_ranks(2, [&](Ranks& r) -> std::string {
    try {
      train(o, r, 20);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  });
  CHECK(errors[0].find("the loss is not finite at step ") == 0);
  CHECK(errors[1].substr(0, 60) == errors[0].substr(0, 60));
}

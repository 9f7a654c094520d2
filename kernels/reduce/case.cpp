// Sizes at which add_bias and column_sum are verified and measured.
#include "kernels/common/case.h"

#include "kernels/reduce/reduce.h"

namespace krait {
namespace {

void add(CaseList& list, DType t, int64_t rows, int64_t D, int64_t row, bool small) {
  const double read = static_cast<double>(rows * D * size_of(t));
  CaseInfo info{.size = cat("rows=", rows, " D=", D, " row=", row), .dtype = t, .small = small};
  info.cost = {2 * read, static_cast<double>(rows * D)};
  list.push_back(make_case<AddBias>(info, [=](CaseMemory& m) {
    return AddBias{
        m.dtype(), rows, D, row, m.in_accum("b", D, -1, 1), m.inout("y", rows * row, -1, 1)};
  }));
  info.cost = {read, static_cast<double>(rows * D)};
  list.push_back(make_case<ColumnSum>(info, [=](CaseMemory& m) {
    return ColumnSum{
        m.dtype(), rows, D, row, m.in("x", rows * row, -1, 1), m.inout_accum("sum", D, -1, 1)};
  }));
}

}  // namespace

void add_reduce_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, 1, 1, 1, true);
    add(list, t, 31, 7, 7, true);
    add(list, t, 65, 33, 40, true);
    add(list, t, 1001, 192, 224, true);
    add(list, t, 3, 1000, 1000, true);
    add(list, t, 128 * 64, 384, 768, false);
  }
}

void add_reduce_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    add_repeated(list, elements / (31 * 200) + 1,
                 [=](CaseList& to, int64_t times) { add(to, t, 31 * times, 192, 200, true); });
}

}  // namespace krait

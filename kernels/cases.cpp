// Every case of every kernel: one line per kernel folder.
#include "kernels/common/case.h"

namespace krait {

void add_elementwise_cases(CaseList&);
void add_fill_cases(CaseList&);
void add_reduce_cases(CaseList&);
void add_matmul_cases(CaseList&);
void add_selective_scan_cases(CaseList&);

CaseList all_cases() {
  CaseList list;
  add_elementwise_cases(list);
  add_fill_cases(list);
  add_reduce_cases(list);
  add_matmul_cases(list);
  add_selective_scan_cases(list);
  return list;
}

}  // namespace krait

// Every case of every kernel: one line per kernel folder.
#include "kernels/common/case.h"

namespace krait {

void add_elementwise_cases(CaseList&);
void add_fill_cases(CaseList&);
void add_conv1d_cases(CaseList&);
void add_patch_embed_cases(CaseList&);
void add_tokens_cases(CaseList&);
void add_reduce_cases(CaseList&);
void add_cross_entropy_cases(CaseList&);
void add_drop_cases(CaseList&);
void add_rope_cases(CaseList&);
void add_norm_cases(CaseList&);
void add_matmul_cases(CaseList&);
void add_selective_scan_cases(CaseList&);
void add_augment_cases(CaseList&);
void add_adamw_cases(CaseList&);
void add_grad_norm_cases(CaseList&);

CaseList all_cases() {
  CaseList list;
  add_elementwise_cases(list);
  add_fill_cases(list);
  add_conv1d_cases(list);
  add_patch_embed_cases(list);
  add_tokens_cases(list);
  add_reduce_cases(list);
  add_cross_entropy_cases(list);
  add_drop_cases(list);
  add_rope_cases(list);
  add_norm_cases(list);
  add_matmul_cases(list);
  add_selective_scan_cases(list);
  add_augment_cases(list);
  add_adamw_cases(list);
  add_grad_norm_cases(list);
  return list;
}

}  // namespace krait

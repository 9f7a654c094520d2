// Every case of every kernel: one line per kernel folder.
#include "kernels/common/case.h"

namespace krait {

void add_elementwise_cases(CaseList&);
void add_fill_cases(CaseList&);
void add_conv1d_cases(CaseList&);
void add_conv2d_cases(CaseList&);
void add_depthwise_conv2d_cases(CaseList&);
void add_patch_embed_cases(CaseList&);
void add_attention_cases(CaseList&);
void add_tokens_cases(CaseList&);
void add_transpose_cases(CaseList&);
void add_reduce_cases(CaseList&);
void add_cross_entropy_cases(CaseList&);
void add_bce_cases(CaseList&);
void add_distill_cases(CaseList&);
void add_drop_cases(CaseList&);
void add_rope_cases(CaseList&);
void add_norm_cases(CaseList&);
void add_matmul_cases(CaseList&);
void add_selective_scan_cases(CaseList&);
void add_augment_cases(CaseList&);
void add_adamw_cases(CaseList&);
void add_sgd_cases(CaseList&);
void add_grad_norm_cases(CaseList&);

// For kernels that can be measured at a user's own sizes.
void add_conv1d_size(CaseList&, UserSizes&);
void add_attention_size(CaseList&, UserSizes&);
void add_matmul_size(CaseList&, UserSizes&);
void add_selective_scan_size(CaseList&, UserSizes&);

// Of more elements than 32 bits can count.
void add_elementwise_huge(CaseList&, int64_t elements);
void add_conv1d_huge(CaseList&, int64_t elements);
void add_conv2d_huge(CaseList&, int64_t elements);
void add_depthwise_conv2d_huge(CaseList&, int64_t elements);
void add_patch_embed_huge(CaseList&, int64_t elements);
void add_attention_huge(CaseList&, int64_t elements);
void add_tokens_huge(CaseList&, int64_t elements);
void add_transpose_huge(CaseList&, int64_t elements);
void add_reduce_huge(CaseList&, int64_t elements);
void add_cross_entropy_huge(CaseList&, int64_t elements);
void add_rope_huge(CaseList&, int64_t elements);
void add_norm_huge(CaseList&, int64_t elements);
void add_matmul_huge(CaseList&, int64_t elements);
void add_selective_scan_huge(CaseList&, int64_t elements);

namespace {

struct Folder {
  const char* name;
  void (*add_cases)(CaseList&);
  void (*add_huge)(CaseList&, int64_t) = nullptr;
  void (*add_size)(CaseList&, UserSizes&) = nullptr;
};
constexpr Folder folders[] = {
    {"elementwise", add_elementwise_cases, add_elementwise_huge},
    {"fill", add_fill_cases},
    {"conv1d", add_conv1d_cases, add_conv1d_huge, add_conv1d_size},
    {"conv2d", add_conv2d_cases, add_conv2d_huge},
    {"depthwise_conv2d", add_depthwise_conv2d_cases, add_depthwise_conv2d_huge},
    {"patch_embed", add_patch_embed_cases, add_patch_embed_huge},
    {"tokens", add_tokens_cases, add_tokens_huge},
    {"transpose", add_transpose_cases, add_transpose_huge},
    {"reduce", add_reduce_cases, add_reduce_huge},
    {"cross_entropy", add_cross_entropy_cases, add_cross_entropy_huge},
    {"bce", add_bce_cases},
    {"distill", add_distill_cases},
    {"drop", add_drop_cases},
    {"rope", add_rope_cases, add_rope_huge},
    {"norm", add_norm_cases, add_norm_huge},
    {"attention", add_attention_cases, add_attention_huge, add_attention_size},
    {"matmul", add_matmul_cases, add_matmul_huge, add_matmul_size},
    {"selective_scan", add_selective_scan_cases, add_selective_scan_huge, add_selective_scan_size},
    {"augment", add_augment_cases},
    {"adamw", add_adamw_cases},
    {"sgd", add_sgd_cases},
    {"grad_norm", add_grad_norm_cases},
};

}  // namespace

CaseList all_cases() {
  CaseList list;
  for (const Folder& folder : folders) {
    const size_t before = list.size();
    folder.add_cases(list);
    for (size_t i = before; i < list.size(); ++i) list[i]->set_folder(folder.name);
  }
  return list;
}

CaseList huge_cases(int64_t elements) {
  CaseList list;
  for (const Folder& folder : folders) {
    const size_t before = list.size();
    if (folder.add_huge) folder.add_huge(list, elements);
    for (size_t i = before; i < list.size(); ++i) list[i]->set_folder(folder.name);
  }
  return list;
}

CaseList cases_of_size(const std::string& kernel, const UserSizes& sizes) {
  CaseList list;
  std::string able;
  for (const Folder& folder : folders) {
    if (!folder.add_size) continue;
    able += (able.empty() ? "" : ", ") + std::string(folder.name);
    CaseList usual, chosen;
    UserSizes none({}), copy = sizes;
    folder.add_size(usual, none);
    bool wanted = false;
    for (auto& c : usual) wanted |= std::string(c->kernel()).find(kernel) != std::string::npos;
    if (!wanted) continue;
    folder.add_size(chosen, copy);
    copy.check_all_taken(folder.name);
    for (auto& c : chosen) {
      if (std::string(c->kernel()).find(kernel) == std::string::npos) continue;
      c->set_folder(folder.name);
      list.push_back(std::move(c));
    }
  }
  KRAIT_INPUT(!list.empty(), "--shape: no kernel called '", kernel,
              "' takes sizes; these do: ", able);
  return list;
}

}  // namespace krait

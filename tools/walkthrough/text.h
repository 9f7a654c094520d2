// The walk-through as text for a terminal, at most 100 columns wide, and as a page.
#pragma once

#include "tools/walkthrough/stages.h"

namespace krait::walk {

// "h_{t-1}" as a terminal shows it: with Unicode's small letters where it has them.
std::string plain_equation(const std::string& equation);
std::string text_of(const Stage& stage, bool colour);
// What is looked at: model, picture, classes.
std::string introduction(const Subject& subject, const View& view);
// The last line: how many checks there were, and the largest error.
std::string summary(const std::vector<Stage>& stages);
bool all_agree(const std::vector<Stage>& stages);

// A self-contained page (page.cpp): the stages, and pictures beside them. It asks the network for
// nothing.
std::string page_of(const Subject& subject, const View& view, const std::vector<Stage>& stages);

}  // namespace krait::walk

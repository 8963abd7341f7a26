#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/grammar.hpp"

// Follows a typed line through all grammars at once, word by word.

namespace sluice::control {

struct Word {
    std::string text;        // without quotes
    std::size_t column = 0;  // in the line, of the quote if quoted
    std::size_t length = 0;  // in the line, quotes included
    bool quoted = false;     // a quoted word is never a literal
};

struct Line {
    std::string_view text;  // without the comment
    std::vector<Word> words;
    bool unterminated = false;  // the last word lacks its closing quote
};

constexpr std::size_t kLineBytesMax = 64 * 1024;

Line split_line(std::string_view text);

// A place in one command's grammar.
struct MatchState {
    std::size_t command = 0;  // its index in the table
    const Grammar* grammar = nullptr;
    std::size_t element = 0;
    std::uint64_t used = 0;  // which groups of this element were taken
    int group = -1;          // inside this one of them, or -1
    std::size_t group_pos = 0;
    ArgsBuilder args;

    bool accepts() const noexcept;
};

// One choice that the next word can be from, and the state behind it (the word not yet in args).
struct Branch {
    const Choice* choice;
    MatchState after;
    bool positional;
};

std::vector<Branch> branches(const MatchState& state);

struct Match {
    enum class Failure : unsigned char { none, unknown, ambiguous, excess };

    std::vector<MatchState> states;  // before the offending word if there is one
    Failure failure = Failure::none;
    std::size_t word = 0;                 // the offending one
    std::vector<std::string> candidates;  // of an ambiguous one

    const MatchState* accepted() const noexcept;
    // What the next word may be; pointers into the grammars.
    std::vector<const Atom*> expected() const;
};

Match match_words(std::vector<MatchState> start, const Line& line, std::size_t count);

void add_once(std::vector<std::string>& to, std::string item);
// "a, b or c".
std::string join_or(const std::vector<std::string>& items);
// The line and, below it, a caret under the word; long lines are cut around it.
std::string point_at(std::string_view line, std::size_t column, std::size_t length);
// One line without control characters.
std::string one_line(std::string_view text);

}  // namespace sluice::control

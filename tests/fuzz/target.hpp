#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace sluice::fuzz {

// What libFuzzer drives, and what the replay drives in every build. A violation aborts. It says
// whether the bytes were understood, or the story came to what it is about: if no file of a corpus
// does, it tests nothing.
struct Target {
    std::string_view name;  // of its corpus
    bool (*run)(std::span<const std::byte>);
};

// Of this executable; each table of targets defines it.
std::span<const Target> targets() noexcept;

}  // namespace sluice::fuzz

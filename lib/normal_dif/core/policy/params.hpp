#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

// What the policies of a DIF are given by name: keys and values, as the configuration has them.
namespace sluice::policy {

struct Param {
    std::string_view key;
    std::string_view value;
};

// Reads the parameters of one policy. A factory asks for what it knows, in any order, and calls
// finish() at the end: the first thing that was wrong is its error, and so is a key that nobody
// asked for. Numbers may end in k, M or G (powers of 1000).
class Params {
  public:
    // `what` begins every error: "scheduler wrr".
    Params(std::string what, std::span<const Param> given);

    std::uint64_t number(std::string_view key, std::uint64_t otherwise, std::uint64_t low,
                         std::uint64_t high);
    // "1:4:16"; at least one, each within its bounds.
    std::vector<std::uint64_t> numbers(std::string_view key, std::vector<std::uint64_t> otherwise,
                                       std::uint64_t low, std::uint64_t high,
                                       std::size_t count_max);
    // Those that are named PREFIX.N, with N: "cube.3" has 3. In the order given.
    struct Numbered {
        std::uint64_t number;
        std::string_view key;
        std::string_view value;
    };
    std::vector<Numbered> numbered(std::string_view prefix, std::uint64_t high);

    // For what this class does not check itself. The first call counts.
    void refuse(std::string_view key, std::string_view why);

    const std::string& what() const noexcept { return what_; }
    Result<> finish() const;

  private:
    struct Entry {
        Param param;
        bool asked = false;
    };
    const Param* find(std::string_view key);

    std::string what_;
    std::vector<Entry> entries_;
    std::vector<std::string> known_;
    std::string error_;
};

// "1500", "10k", "2M"; nothing else.
bool parse_number(std::string_view text, std::uint64_t& out) noexcept;

// "fifo, pfifo, wrr": for errors.
std::string join(std::span<const std::string> names);

}  // namespace sluice::policy

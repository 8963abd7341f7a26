#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

// What the policies of a DIF are given by name: keys and values, as the configuration has them.
namespace sluice::policy {

struct Param {
    std::string_view key;
    std::string_view value;
};

// A policy that somebody chose, with the parameters that are not as they come.
struct Choice {
    Choice() = default;
    Choice(std::string policy) : name(std::move(policy)) {}
    Choice(const char* policy) : name(policy) {}

    // Of this, for factories; not longer than this.
    std::vector<Param> given() const;
    // An empty value takes the parameter back.
    void set(std::string_view key, std::string_view value);

    std::string name;
    std::vector<std::pair<std::string, std::string>> params;
};

// What a factory asked for, for people to see.
struct Known {
    std::string key;    // "route.N" stands for any number in the place of N
    std::string value;  // in force; empty where there is none
    std::string range;
    std::string help;
};

// A parameter of something that runs, as people see it.
struct ParameterView {
    std::string component;  // "routing"
    std::string policy;     // that it is a parameter of; empty: whatever the policy is
    std::string name;
    std::string value;
    std::string_view unit;
    std::string range;
    std::string help;
    bool is_live = false;  // may be changed while it runs
};

// "ms" of "nack_wait_ms"; empty where the name does not say it.
std::string_view unit_of(std::string_view key) noexcept;
// "0 or 1", "1 to 60000"
std::string range_of(std::uint64_t low, std::uint64_t high);

// Reads the parameters of one policy. A factory asks for what it knows, in any order, and calls
// finish() at the end: the first thing that was wrong is its error, and so is a key that nobody
// asked for. Numbers may end in k, M or G (powers of 1000). What it asks for is all that anybody
// needs to say about a parameter: known() tells it to people.
class Params {
  public:
    // `what` begins every error: "scheduler wrr".
    Params(std::string what, std::span<const Param> given);

    std::uint64_t number(std::string_view key, std::uint64_t otherwise, std::uint64_t low,
                         std::uint64_t high, std::string_view help = {});
    // "1:4:16"; at least one, each within its bounds.
    std::vector<std::uint64_t> numbers(std::string_view key, std::vector<std::uint64_t> otherwise,
                                       std::uint64_t low, std::uint64_t high,
                                       std::size_t count_max, std::string_view help = {});
    // Those that are named PREFIX.N, with N: "cube.3" has 3. In the order given.
    struct Numbered {
        std::uint64_t number;
        std::string_view key;
        std::string_view value;
    };
    std::vector<Numbered> numbered(std::string_view prefix, std::uint64_t high,
                                   std::string_view help = {});

    // For what this class does not check itself. The first call counts.
    void refuse(std::string_view key, std::string_view why);

    const std::string& what() const noexcept { return what_; }
    const std::vector<Known>& known() const noexcept { return known_; }
    Result<> finish() const;

  private:
    struct Entry {
        Param param;
        bool asked = false;
    };
    const Param* find(std::string_view key);
    void note(std::string_view key, std::string value, std::string range, std::string_view help);

    std::string what_;
    std::vector<Entry> entries_;
    std::vector<Known> known_;
    std::string error_;
};

// "1500", "10k", "2M"; nothing else.
bool parse_number(std::string_view text, std::uint64_t& out) noexcept;

// "fifo, pfifo, wrr": for errors.
std::string join(std::span<const std::string> names);

}  // namespace sluice::policy

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/instant.hpp"

namespace sluice::control {

// What the words of a command line, or the params of a JSON-RPC call, said. Names are those of the
// grammar ("PORT", "all", "size"). Asking for a variable that was not given, or by another type
// than the grammar's, is a programmer's error; has() and the optional_ forms ask first.
class Args {
  public:
    // A variable that was given, or a literal that was chosen or stands as an optional keyword.
    bool has(std::string_view name) const noexcept;

    // As typed, for variables of every type.
    const std::string& str(std::string_view name) const;
    std::uint64_t uint(std::string_view name) const;
    std::int64_t integer(std::string_view name) const;
    double real(std::string_view name) const;   // <P:real> and <P:share>
    std::uint64_t rate(std::string_view name) const;
    std::uint64_t size(std::string_view name) const;
    Duration duration(std::string_view name) const;

    std::optional<std::string> optional_str(std::string_view name) const;
    std::optional<std::uint64_t> optional_uint(std::string_view name) const;
    std::optional<std::int64_t> optional_integer(std::string_view name) const;
    std::optional<double> optional_real(std::string_view name) const;
    std::optional<std::uint64_t> optional_rate(std::string_view name) const;
    std::optional<std::uint64_t> optional_size(std::string_view name) const;
    std::optional<Duration> optional_duration(std::string_view name) const;

    // The word at position i of the grammar, optional groups not counted: for
    // "show port info|stats (all|PORT)", word(2) is "info" or "stats" in full, however short it was
    // typed, and word(3) is "all" or the port as typed.
    const std::string& word(std::size_t i) const;
    std::size_t words() const noexcept { return words_.size(); }

  private:
    friend class ArgsBuilder;
    using Typed = std::variant<std::monostate, std::uint64_t, std::int64_t, double, Duration>;
    struct Variable {
        std::string name;
        std::string text;
        Typed typed;
    };
    const Variable* find(std::string_view name) const noexcept;
    template <typename T>
    T typed(std::string_view name) const;

    std::vector<Variable> variables_;
    std::vector<std::string> literals_;
    std::vector<std::string> words_;
};

}  // namespace sluice::control

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/args.hpp"

// The compiled form of a command's grammar string; command.hpp describes the notation.

namespace sluice::control {

enum class VariableType : unsigned char {
    str, uint, integer, real, share, rate, size, duration, path, rest,
};

std::string_view to_string(VariableType type) noexcept;

// A literal word or a variable.
struct Atom {
    bool is_variable = false;
    std::string text;  // the literal, or the variable's name in capitals
    VariableType type = VariableType::str;

    // "port", "PORT", "N (a whole number)".
    std::string label() const;
    // The name in JSON-RPC params.
    std::string param() const;
};

// What one word may be; at most one variable among the atoms.
struct Choice {
    std::vector<Atom> atoms;

    bool literals_only() const noexcept;
    const Atom* variable() const noexcept;
    const Atom* literal(std::string_view word) const noexcept;
};

// [a B]: a flag, a keyword and what follows it, or a single choice.
struct Group {
    std::vector<Choice> choices;
};

// One mandatory word, or a run of neighbouring optional groups.
struct Element {
    Choice choice;
    std::vector<Group> groups;

    bool optional() const noexcept { return !groups.empty(); }
};

struct Grammar {
    std::vector<Element> elements;

    static Result<Grammar> parse(std::string_view text);

    // The names under which call() takes its params.
    struct Param {
        std::string name;
        std::string type;  // "uint", "flag", "one of tap, vhost"
        bool required;
    };
    std::vector<Param> params() const;
    // All ways to join the mandatory literals by dots: {"show.port.info", "show.port.stats"}.
    std::vector<std::string> methods() const;
    // Starts with two mandatory literals, so that they may be swapped.
    bool has_noun() const noexcept;
};

// Fills Args; the only one who may.
class ArgsBuilder {
  public:
    static bool fits(VariableType type, std::string_view text);

    void literal(const Atom& atom) { args_.literals_.push_back(atom.text); }
    // `text` must fit the variable's type.
    void variable(const Atom& atom, std::string_view text);
    // The next positional word.
    void word(std::string_view text) { args_.words_.emplace_back(text); }

    const Args& args() const noexcept { return args_; }

  private:
    static bool parse(VariableType type, std::string_view text, Args::Typed& typed);
    Args args_;
};

}  // namespace sluice::control

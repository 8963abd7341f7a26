#include "control/grammar.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <optional>
#include <set>

#include "base/check.hpp"
#include "control/units.hpp"

namespace sluice::control {
namespace {

struct TypeName {
    std::string_view name;
    VariableType type;
    std::string_view explanation;  // for people; empty if the variable's name says it all
};

constexpr TypeName kTypeNames[] = {
    {"str", VariableType::str, ""},
    {"uint", VariableType::uint, "a whole number"},
    {"int", VariableType::integer, "a whole number"},
    {"real", VariableType::real, "a number"},
    {"share", VariableType::share, "0 to 1, or like 1%"},
    {"rate", VariableType::rate, "like 800, 10M, 2.5G"},
    {"size", VariableType::size, "like 1500, 2K, 1M"},
    {"duration", VariableType::duration, "like 10s, 5ms, 2us"},
    {"path", VariableType::path, "a file"},
    {"rest", VariableType::rest, ""},
};

const TypeName& name_of(VariableType type) noexcept {
    for (const TypeName& entry : kTypeNames)
        if (entry.type == type) return entry;
    return kTypeNames[0];
}

bool is_literal_char(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool is_variable_char(char c) noexcept {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// A recursive descent over the grammar string, one function a rule.
class Parser {
  public:
    explicit Parser(std::string_view text) : text_(text) {}

    Result<Grammar> grammar() {
        Grammar result;
        for (skip_spaces(); !at_end(); skip_spaces()) {
            if (peek() == '[') {
                SLUICE_TRY(Group group, this->group());
                if (result.elements.empty() || !result.elements.back().optional())
                    result.elements.emplace_back();
                result.elements.back().groups.push_back(std::move(group));
            } else {
                SLUICE_TRY(Choice choice, this->choice());
                result.elements.push_back({std::move(choice), {}});
            }
        }
        return result;
    }

  private:
    bool at_end() const noexcept { return at_ == text_.size(); }
    char peek() const noexcept { return at_end() ? '\0' : text_[at_]; }
    void skip_spaces() noexcept {
        while (peek() == ' ') ++at_;
    }
    bool take(char c) noexcept {
        if (peek() != c) return false;
        ++at_;
        return true;
    }
    tl::unexpected<Error> wrong(std::string_view what) const {
        return fail(EINVAL, "grammar '{}': {} at column {}", text_, what, at_);
    }

    Result<Group> group() {
        Group result;
        take('[');
        for (skip_spaces(); peek() != ']'; skip_spaces()) {
            if (at_end()) return wrong("']' is missing");
            SLUICE_TRY(Choice choice, this->choice());
            result.choices.push_back(std::move(choice));
        }
        take(']');
        if (result.choices.empty()) return wrong("an empty group");
        if (result.choices.size() > 1) {
            const Choice& first = result.choices[0];
            if (!first.literals_only() || first.atoms.size() != 1)
                return wrong("a group of several words must begin with one keyword");
            const auto pure = std::count_if(result.choices.begin() + 1, result.choices.end(),
                                            [](const Choice& c) { return c.literals_only(); });
            if (pure > 1) return wrong("a group has room for one choice of literals");
        }
        return result;
    }

    Result<Choice> choice() {
        Choice result;
        const bool parens = take('(');
        do {
            SLUICE_TRY(Atom atom, this->atom());
            if (atom.is_variable && result.variable() != nullptr)
                return wrong("a second variable in one choice");
            result.atoms.push_back(std::move(atom));
        } while (take('|'));
        if (parens && !take(')')) return wrong("')' is missing");
        return result;
    }

    Result<Atom> atom() {
        Atom result;
        if (take('<')) {
            result.is_variable = true;
            result.text = run_of(is_variable_char);
            if (!take(':')) return wrong("':' is missing");
            const std::string type = run_of(is_literal_char);
            const auto found = std::find_if(std::begin(kTypeNames), std::end(kTypeNames),
                                            [&](const TypeName& t) { return t.name == type; });
            if (found == std::end(kTypeNames)) return wrong("an unknown type");
            result.type = found->type;
            if (!take('>')) return wrong("'>' is missing");
        } else if (std::isupper(static_cast<unsigned char>(peek()))) {
            result.is_variable = true;
            result.text = run_of(is_variable_char);
        } else {
            result.text = run_of(is_literal_char);
        }
        if (result.text.empty()) return wrong("no word");
        return result;
    }

    std::string run_of(bool (*belongs)(char)) {
        const std::size_t start = at_;
        while (!at_end() && belongs(text_[at_])) ++at_;
        return std::string(text_.substr(start, at_ - start));
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

// What `rest` takes is gone for everything behind it.
bool rest_comes_last(const Grammar& grammar) {
    const auto is_rest = [](const Choice& choice) {
        return choice.variable() != nullptr && choice.variable()->type == VariableType::rest;
    };
    for (std::size_t i = 0; i < grammar.elements.size(); ++i) {
        const Element& element = grammar.elements[i];
        const bool last = i + 1 == grammar.elements.size();
        if (!element.optional() && is_rest(element.choice) && !last) return false;
        for (const Group& group : element.groups)
            for (std::size_t k = 0; k < group.choices.size(); ++k)
                if (is_rest(group.choices[k]) && !(last && k + 1 == group.choices.size()))
                    return false;
    }
    return true;
}

std::string join_literals(const Choice& choice) {
    std::string result;
    for (const Atom& atom : choice.atoms)
        if (!atom.is_variable) result += (result.empty() ? "" : ", ") + atom.text;
    return result;
}

std::string type_of(const Choice& choice) {
    const Atom* variable = choice.variable();
    if (variable == nullptr) return "one of " + join_literals(choice);
    const std::string literals = join_literals(choice);
    std::string type(to_string(variable->type));
    return literals.empty() ? type : type + ", or " + literals;
}

}  // namespace

std::string_view to_string(VariableType type) noexcept { return name_of(type).name; }

std::string Atom::label() const {
    const std::string_view explanation = is_variable ? name_of(type).explanation : "";
    return explanation.empty() ? text : fmt::format("{} ({})", text, explanation);
}

std::string Atom::param() const {
    std::string result = text;
    for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return result;
}

bool Choice::literals_only() const noexcept { return variable() == nullptr; }

const Atom* Choice::variable() const noexcept {
    for (const Atom& atom : atoms)
        if (atom.is_variable) return &atom;
    return nullptr;
}

const Atom* Choice::literal(std::string_view word) const noexcept {
    for (const Atom& atom : atoms)
        if (!atom.is_variable && atom.text == word) return &atom;
    return nullptr;
}

Result<Grammar> Grammar::parse(std::string_view text) {
    SLUICE_TRY(Grammar grammar, Parser(text).grammar());
    const auto& elements = grammar.elements;
    if (elements.empty() || elements[0].optional() || !elements[0].choice.literals_only())
        return fail(EINVAL, "grammar '{}': must begin with a literal word", text);
    for (const Element& element : elements)
        if (element.groups.size() > 64)
            return fail(EINVAL, "grammar '{}': more than 64 neighbouring groups", text);
    if (!rest_comes_last(grammar))
        return fail(EINVAL, "grammar '{}': something follows a variable of type rest", text);
    std::set<std::string> names;
    for (const Param& param : grammar.params())
        if (!names.insert(param.name).second)
            return fail(EINVAL, "grammar '{}': two variables named '{}'", text, param.name);
    return grammar;
}

std::vector<Grammar::Param> Grammar::params() const {
    std::vector<Param> result;
    const auto add = [&](const Choice& choice, bool required) {
        if (choice.variable() != nullptr)
            result.push_back({choice.variable()->param(), type_of(choice), required});
    };
    for (const Element& element : elements) {
        if (!element.optional()) add(element.choice, true);
        for (const Group& group : element.groups) {
            const Choice& first = group.choices[0];
            if (group.choices.size() == 1 && first.literals_only()) {
                for (const Atom& atom : first.atoms)
                    result.push_back({atom.text, "flag", false});
                continue;
            }
            for (std::size_t i = 0; i < group.choices.size(); ++i) {
                if (i > 0 && group.choices[i].literals_only())
                    result.push_back({first.atoms[0].text, type_of(group.choices[i]), false});
                add(group.choices[i], false);
            }
        }
    }
    return result;
}

std::vector<std::string> Grammar::methods() const {
    std::vector<std::string> result{""};
    for (const Element& element : elements) {
        if (element.optional() || !element.choice.literals_only()) continue;
        std::vector<std::string> longer;
        for (const std::string& prefix : result)
            for (const Atom& atom : element.choice.atoms)
                longer.push_back(prefix.empty() ? atom.text : prefix + "." + atom.text);
        result = std::move(longer);
    }
    return result;
}

bool Grammar::has_noun() const noexcept {
    return elements.size() >= 2 && !elements[1].optional() && elements[1].choice.literals_only();
}

bool ArgsBuilder::parse(VariableType type, std::string_view text, Args::Typed& typed) {
    const auto keep = [&](const auto& parsed) {
        if (parsed) typed = *parsed;
        return parsed.has_value();
    };
    switch (type) {
        case VariableType::str:
        case VariableType::path:
        case VariableType::rest: return true;
        case VariableType::uint: return keep(parse_uint(text));
        case VariableType::integer: return keep(parse_int(text));
        case VariableType::real: return keep(parse_real(text));
        case VariableType::share: return keep(parse_share(text));
        case VariableType::rate: return keep(parse_rate(text));
        case VariableType::size: return keep(parse_size(text));
        case VariableType::duration: return keep(parse_duration(text));
    }
    return false;
}

bool ArgsBuilder::fits(VariableType type, std::string_view text) {
    Args::Typed ignored;
    return parse(type, text, ignored);
}

void ArgsBuilder::variable(const Atom& atom, std::string_view text) {
    Args::Typed typed;
    SLUICE_CHECK(parse(atom.type, text, typed));
    args_.variables_.push_back({atom.text, std::string(text), typed});
}

}  // namespace sluice::control

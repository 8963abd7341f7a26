#include "control/bind_params.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "control/matcher.hpp"

// Like SLUICE_TRY_VOID, for CommandError.
#define SLUICE_TRY_COMMAND(...)                                              \
    do {                                                                     \
        auto sluice_try_result = (__VA_ARGS__);                              \
        if (!sluice_try_result)                                              \
            return tl::unexpected<CommandError>(std::move(sluice_try_result.error())); \
    } while (false)

namespace sluice::control {
namespace {

tl::unexpected<CommandError> invalid(std::string message, std::vector<std::string> expected) {
    if (!expected.empty()) message += "; expected: " + join_or(expected);
    return tl::unexpected<CommandError>(CommandError{
        CommandError::kInvalidParams, EINVAL, std::move(message), std::move(expected), 0});
}

std::vector<std::string> labels(const Choice& choice) {
    std::vector<std::string> result;
    for (const Atom& atom : choice.atoms) result.push_back(atom.label());
    return result;
}

// The value as it would have been typed; nothing for objects and arrays.
std::optional<std::string> as_text(const Value& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_number() || value.is_boolean()) return value.dump();
    return std::nullopt;
}

class Binder {
  public:
    Binder(const Grammar& grammar, const Value& params) : grammar_(grammar), params_(params) {}

    CommandResult<Args> run(const std::vector<const Atom*>& chosen) {
        SLUICE_TRY_COMMAND(check_names());
        std::size_t literal = 0;
        for (const Element& element : grammar_.elements) {
            if (element.optional()) {
                for (const Group& group : element.groups) SLUICE_TRY_COMMAND(bind_group(group));
            } else if (element.choice.literals_only()) {
                builder_.literal(*chosen[literal]);
                builder_.word(chosen[literal]->text);
                ++literal;
            } else {
                SLUICE_TRY_COMMAND(bind_choice(element.choice, name_of(element.choice), true));
            }
        }
        return builder_.args();
    }

  private:
    static std::string name_of(const Choice& choice) { return choice.variable()->param(); }

    const Value* find(const std::string& name) const {
        if (!params_.is_object()) return nullptr;
        const auto found = params_.find(name);
        return found == params_.end() || found->is_null() ? nullptr : &*found;
    }

    CommandResult<void> check_names() const {
        if (params_.is_null()) return {};
        std::vector<std::string> names;
        for (const auto& param : grammar_.params()) names.push_back(param.name);
        if (!params_.is_object())
            return invalid("params must be an object", std::move(names));
        for (const auto& [name, value] : params_.items())
            if (std::find(names.begin(), names.end(), name) == names.end())
                return invalid(fmt::format("unknown param '{}'", one_line(name)),
                               names.empty() ? std::vector<std::string>{"no params"} : names);
        return {};
    }

    CommandResult<void> bind_choice(const Choice& choice, const std::string& name,
                                    bool positional) {
        const Value* value = find(name);
        if (value == nullptr)
            return invalid(fmt::format("param '{}' is missing", name), labels(choice));
        const auto text = as_text(*value);
        if (!text) return invalid(fmt::format("param '{}' must be a string or a number", name), {});
        if (const Atom* literal = choice.literal(*text)) {
            builder_.literal(*literal);
        } else if (const Atom* variable = choice.variable();
                   variable != nullptr && ArgsBuilder::fits(variable->type, *text)) {
            builder_.variable(*variable, *text);
        } else {
            return invalid(
                fmt::format("param '{}' cannot be '{}'", name, one_line(text->substr(0, 80))),
                labels(choice));
        }
        if (positional) builder_.word(*text);
        return {};
    }

    CommandResult<void> bind_group(const Group& group) {
        const Choice& first = group.choices[0];
        if (group.choices.size() == 1)
            return first.literals_only() ? bind_flags(first) : bind_if_given(first);
        bool given = false;
        for (std::size_t i = 1; i < group.choices.size(); ++i)
            given = given || find(param_of(group, i)) != nullptr;
        if (!given) return {};
        builder_.literal(first.atoms[0]);
        for (std::size_t i = 1; i < group.choices.size(); ++i)
            SLUICE_TRY_COMMAND(bind_choice(group.choices[i], param_of(group, i), false));
        return {};
    }

    static std::string param_of(const Group& group, std::size_t i) {
        return group.choices[i].literals_only() ? group.choices[0].atoms[0].text
                                                : name_of(group.choices[i]);
    }

    CommandResult<void> bind_if_given(const Choice& choice) {
        if (find(name_of(choice)) == nullptr) return {};
        return bind_choice(choice, name_of(choice), false);
    }

    // [promisc], or [on|off] of which one may be true.
    CommandResult<void> bind_flags(const Choice& choice) {
        const Atom* taken = nullptr;
        for (const Atom& atom : choice.atoms) {
            const Value* value = find(atom.text);
            if (value == nullptr) continue;
            if (!value->is_boolean())
                return invalid(fmt::format("param '{}' must be true or false", atom.text), {});
            if (!value->get<bool>()) continue;
            if (taken != nullptr)
                return invalid(fmt::format("params '{}' and '{}' exclude each other", taken->text,
                                           atom.text), {});
            taken = &atom;
        }
        if (taken != nullptr) builder_.literal(*taken);
        return {};
    }

    const Grammar& grammar_;
    const Value& params_;
    ArgsBuilder builder_;
};

}  // namespace

bool match_method(const Grammar& grammar, std::string_view method,
                  std::vector<const Atom*>& chosen) {
    chosen.clear();
    bool more = true;
    for (const Element& element : grammar.elements) {
        if (element.optional() || !element.choice.literals_only()) continue;
        if (!more) return false;
        const std::size_t dot = method.find('.');
        const Atom* literal = element.choice.literal(method.substr(0, dot));
        if (literal == nullptr) return false;
        chosen.push_back(literal);
        more = dot != std::string_view::npos;
        method = more ? method.substr(dot + 1) : std::string_view();
    }
    return !more;
}

CommandResult<Args> bind_params(const Grammar& grammar, const std::vector<const Atom*>& chosen,
                                const Value& params) {
    return Binder(grammar, params).run(chosen);
}

}  // namespace sluice::control

#include "control/args.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace sluice::control {

const Args::Variable* Args::find(std::string_view name) const noexcept {
    for (const Variable& variable : variables_)
        if (variable.name == name) return &variable;
    return nullptr;
}

bool Args::has(std::string_view name) const noexcept {
    return find(name) != nullptr ||
           std::find(literals_.begin(), literals_.end(), name) != literals_.end();
}

const std::string& Args::str(std::string_view name) const {
    const Variable* variable = find(name);
    SLUICE_CHECK(variable != nullptr);
    return variable->text;
}

template <typename T>
T Args::typed(std::string_view name) const {
    const Variable* variable = find(name);
    SLUICE_CHECK(variable != nullptr);
    const T* value = std::get_if<T>(&variable->typed);
    SLUICE_CHECK(value != nullptr);
    return *value;
}

std::uint64_t Args::uint(std::string_view name) const { return typed<std::uint64_t>(name); }
std::int64_t Args::integer(std::string_view name) const { return typed<std::int64_t>(name); }
double Args::real(std::string_view name) const { return typed<double>(name); }
std::uint64_t Args::rate(std::string_view name) const { return typed<std::uint64_t>(name); }
std::uint64_t Args::size(std::string_view name) const { return typed<std::uint64_t>(name); }
Duration Args::duration(std::string_view name) const { return typed<Duration>(name); }

std::optional<std::string> Args::optional_str(std::string_view name) const {
    return find(name) ? std::optional(str(name)) : std::nullopt;
}
std::optional<std::uint64_t> Args::optional_uint(std::string_view name) const {
    return find(name) ? std::optional(uint(name)) : std::nullopt;
}
std::optional<std::int64_t> Args::optional_integer(std::string_view name) const {
    return find(name) ? std::optional(integer(name)) : std::nullopt;
}
std::optional<double> Args::optional_real(std::string_view name) const {
    return find(name) ? std::optional(real(name)) : std::nullopt;
}
std::optional<std::uint64_t> Args::optional_rate(std::string_view name) const {
    return find(name) ? std::optional(rate(name)) : std::nullopt;
}
std::optional<std::uint64_t> Args::optional_size(std::string_view name) const {
    return find(name) ? std::optional(size(name)) : std::nullopt;
}
std::optional<Duration> Args::optional_duration(std::string_view name) const {
    return find(name) ? std::optional(duration(name)) : std::nullopt;
}

const std::string& Args::word(std::size_t i) const {
    SLUICE_CHECK(i < words_.size());
    return words_[i];
}

}  // namespace sluice::control

#include "normal_dif/core/policy/params.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

namespace sluice::policy {

bool parse_number(std::string_view text, std::uint64_t& out) noexcept {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{}) return false;
    std::uint64_t unit = 1;
    if (at != end) {
        if (at + 1 != end) return false;
        switch (*at) {
            case 'k': unit = 1000; break;
            case 'M': unit = 1000000; break;
            case 'G': unit = 1000000000; break;
            default: return false;
        }
    }
    if (value > std::numeric_limits<std::uint64_t>::max() / unit) return false;
    out = value * unit;
    return true;
}

std::string join(std::span<const std::string> names) {
    std::string all;
    for (const std::string& name : names) {
        if (!all.empty()) all += ", ";
        all += name;
    }
    return all;
}

Params::Params(std::string what, std::span<const Param> given) : what_(std::move(what)) {
    for (const Param& param : given) {
        if (std::any_of(entries_.begin(), entries_.end(),
                        [&](const Entry& e) { return e.param.key == param.key; }))
            refuse(param.key, "is given twice, expected once");
        entries_.push_back({param});
    }
}

void Params::refuse(std::string_view key, std::string_view why) {
    if (error_.empty()) error_ = fmt::format("{}: parameter '{}' {}", what_, key, why);
}

const Param* Params::find(std::string_view key) {
    known_.emplace_back(key);
    for (Entry& entry : entries_) {
        if (entry.param.key != key) continue;
        entry.asked = true;
        return &entry.param;
    }
    return nullptr;
}

std::uint64_t Params::number(std::string_view key, std::uint64_t otherwise, std::uint64_t low,
                             std::uint64_t high) {
    const Param* const param = find(key);
    if (param == nullptr) return otherwise;
    std::uint64_t value = 0;
    if (parse_number(param->value, value) && value >= low && value <= high) return value;
    refuse(key, fmt::format("is '{}', expected a number from {} to {}", param->value, low, high));
    return otherwise;
}

std::vector<std::uint64_t> Params::numbers(std::string_view key,
                                           std::vector<std::uint64_t> otherwise, std::uint64_t low,
                                           std::uint64_t high, std::size_t count_max) {
    const Param* const param = find(key);
    if (param == nullptr) return otherwise;
    std::vector<std::uint64_t> values;
    std::string_view rest = param->value;
    for (bool more = true; more;) {
        const std::size_t colon = rest.find(':');
        more = colon != std::string_view::npos;
        std::uint64_t value = 0;
        if (!parse_number(rest.substr(0, colon), value) || value < low || value > high ||
            values.size() == count_max) {
            refuse(key, fmt::format("is '{}', expected up to {} numbers from {} to {} with colons "
                                    "between them",
                                    param->value, count_max, low, high));
            return otherwise;
        }
        values.push_back(value);
        if (more) rest.remove_prefix(colon + 1);
    }
    return values;
}

std::vector<Params::Numbered> Params::numbered(std::string_view prefix, std::uint64_t high) {
    known_.push_back(fmt::format("{}.N", prefix));
    std::vector<Numbered> found;
    for (Entry& entry : entries_) {
        const std::string_view key = entry.param.key;
        if (!key.starts_with(prefix) || key.size() <= prefix.size() || key[prefix.size()] != '.')
            continue;
        entry.asked = true;
        std::uint64_t number = 0;
        if (!parse_number(key.substr(prefix.size() + 1), number) || number > high)
            refuse(key, fmt::format("is not known, expected '{}.' and a number up to {}", prefix,
                                    high));
        else
            found.push_back({number, key, entry.param.value});
    }
    return found;
}

Result<> Params::finish() const {
    if (!error_.empty()) return fail(EINVAL, "{}", error_);
    for (const Entry& entry : entries_) {
        if (entry.asked) continue;
        if (known_.empty())
            return fail(EINVAL, "{}: parameter '{}' is not known, expected none", what_,
                        entry.param.key);
        return fail(EINVAL, "{}: parameter '{}' is not known, expected one of {}", what_,
                    entry.param.key, join(known_));
    }
    return {};
}

}  // namespace sluice::policy

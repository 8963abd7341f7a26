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

std::vector<Param> Choice::given() const {
    std::vector<Param> out;
    for (const auto& [key, value] : params) out.push_back({key, value});
    return out;
}

void Choice::set(std::string_view key, std::string_view value) {
    const auto at = std::find_if(params.begin(), params.end(),
                                 [&](const auto& param) { return param.first == key; });
    if (value.empty()) {
        if (at != params.end()) params.erase(at);
    } else if (at != params.end()) {
        at->second = value;
    } else {
        params.emplace_back(key, value);
    }
}

std::string_view unit_of(std::string_view key) noexcept {
    constexpr std::pair<std::string_view, std::string_view> kUnits[] = {
        {"_us", "us"}, {"_ms", "ms"}, {"_s", "s"}, {"_bps", "bit/s"}, {"_bytes", "bytes"}};
    for (const auto& [end, unit] : kUnits)
        if (key.ends_with(end)) return unit;
    return {};
}

std::string range_of(std::uint64_t low, std::uint64_t high) {
    if (low == 0 && high == 1) return "0 or 1";
    return fmt::format("{} to {}", low, high);
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
    for (Entry& entry : entries_) {
        if (entry.param.key != key) continue;
        entry.asked = true;
        return &entry.param;
    }
    return nullptr;
}

void Params::note(std::string_view key, std::string value, std::string range,
                  std::string_view help) {
    known_.push_back({std::string(key), std::move(value), std::move(range), std::string(help)});
}

std::uint64_t Params::number(std::string_view key, std::uint64_t otherwise, std::uint64_t low,
                             std::uint64_t high, std::string_view help) {
    std::uint64_t value = otherwise;
    if (const Param* const param = find(key)) {
        if (!parse_number(param->value, value) || value < low || value > high) {
            refuse(key, fmt::format("is '{}', expected a number from {} to {}", param->value, low,
                                    high));
            value = otherwise;
        }
    }
    note(key, std::to_string(value), range_of(low, high), help);
    return value;
}

std::vector<std::uint64_t> Params::numbers(std::string_view key,
                                           std::vector<std::uint64_t> otherwise, std::uint64_t low,
                                           std::uint64_t high, std::size_t count_max,
                                           std::string_view help) {
    const std::string expected = fmt::format(
        "up to {} numbers from {} to {} with colons between them", count_max, low, high);
    const Param* const param = find(key);
    note(key,
         param != nullptr ? std::string(param->value)
                          : fmt::format("{}", fmt::join(otherwise, ":")),
         expected, help);
    if (param == nullptr) return otherwise;
    std::vector<std::uint64_t> values;
    std::string_view rest = param->value;
    for (bool more = true; more;) {
        const std::size_t colon = rest.find(':');
        more = colon != std::string_view::npos;
        std::uint64_t value = 0;
        if (!parse_number(rest.substr(0, colon), value) || value < low || value > high ||
            values.size() == count_max) {
            refuse(key, fmt::format("is '{}', expected {}", param->value, expected));
            return otherwise;
        }
        values.push_back(value);
        if (more) rest.remove_prefix(colon + 1);
    }
    return values;
}

std::vector<Params::Numbered> Params::numbered(std::string_view prefix, std::uint64_t high,
                                               std::string_view help) {
    const std::string range = fmt::format("N up to {}", high);
    note(fmt::format("{}.N", prefix), {}, range, help);
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
        note(key, std::string(entry.param.value), range, help);
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
        std::vector<std::string> keys;
        for (const Known& known : known_) keys.push_back(known.key);
        return fail(EINVAL, "{}: parameter '{}' is not known, expected one of {}", what_,
                    entry.param.key, join(keys));
    }
    return {};
}

}  // namespace sluice::policy

#include "stages/params.hpp"

#include <optional>

#include "base/check.hpp"
#include "base/rng.hpp"

namespace sluice::stages {

namespace {

// "1.5M" exactly, or nothing.
std::optional<std::uint64_t> number_of(std::string_view text) {
    std::uint64_t factor = 1;
    switch (text.empty() ? '0' : text.back()) {
        case 'k':
        case 'K': factor = 1'000; break;
        case 'M': factor = 1'000'000; break;
        case 'G': factor = 1'000'000'000; break;
        case 'T': factor = 1'000'000'000'000; break;
        default: break;
    }
    if (factor != 1) text.remove_suffix(1);
    if (text.empty() || text.front() == '.' || text.back() == '.') return std::nullopt;
    Uint128 digits = 0;
    Uint128 divisor = 1;
    bool fraction = false;
    for (const char c : text) {
        if (c == '.' && !fraction) {
            fraction = true;
            continue;
        }
        // More digits than this are no sensible setting, and they would overflow.
        if (c < '0' || c > '9' || digits > ~std::uint64_t{0} / 10) return std::nullopt;
        digits = digits * 10 + static_cast<unsigned>(c - '0');
        if (fraction) divisor *= 10;
    }
    const Uint128 product = digits * factor;
    if (product % divisor != 0 || product / divisor > ~std::uint64_t{0}) return std::nullopt;
    return static_cast<std::uint64_t>(product / divisor);
}

std::optional<RateValue> rate_of(std::string_view text) {
    if (text == "max") return RateValue{};
    RateValue rate;
    if (text.ends_with("bps")) {
        rate.unit = RateValue::Unit::bits;
    } else if (!text.ends_with("pps")) {
        return std::nullopt;
    }
    text.remove_suffix(3);
    const auto value = number_of(text);
    constexpr std::uint64_t kMax = 10'000'000'000'000;
    if (!value || *value == 0 || *value > kMax) return std::nullopt;
    rate.per_second = *value;
    return rate;
}

std::optional<std::uint64_t> mac_of(std::string_view text) {
    if (text.size() != 17) return std::nullopt;
    std::uint64_t mac = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (i % 3 == 2) {
            if (c != ':') return std::nullopt;
            continue;
        }
        unsigned digit = 0;
        if (c >= '0' && c <= '9') {
            digit = static_cast<unsigned>(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = static_cast<unsigned>(c - 'a') + 10;
        } else if (c >= 'A' && c <= 'F') {
            digit = static_cast<unsigned>(c - 'A') + 10;
        } else {
            return std::nullopt;
        }
        mac = mac << 4 | digit;
    }
    return mac;
}

bool one_of(std::string_view text, std::string_view choices) {
    for (;;) {
        const std::size_t bar = choices.find('|');
        if (text == choices.substr(0, bar)) return true;
        if (bar == choices.npos) return false;
        choices.remove_prefix(bar + 1);
    }
}

std::string keys_of(std::span<const ParamDesc> params) {
    if (params.empty()) return "it has no parameters";
    std::string text = "expected ";
    for (std::size_t i = 0; i < params.size(); ++i) {
        if (i > 0) text += i + 1 == params.size() ? " or " : ", ";
        text += params[i].key;
    }
    return text;
}

}  // namespace

std::string place_of(const dp::NodeSpec& node) {
    return fmt::format("{}{}stage {} ({}): ", node.where, node.where.empty() ? "" : ": ",
                       node.name, node.kind);
}

Result<Values::Value> Values::parse(const ParamDesc& d, const std::string& text) {
    Value v;
    v.type = d.type;
    v.text = text;
    switch (d.type) {
        case ParamType::number: {
            const auto n = number_of(text);
            if (!n || *n < d.min || *n > d.max) {
                if (d.max == ~std::uint64_t{0}) {
                    return fail(EINVAL, "{} = '{}' is not a number from {} on", d.key, text,
                                d.min);
                }
                return fail(EINVAL, "{} = '{}' is not a number from {} to {}", d.key, text, d.min,
                            d.max);
            }
            v.number = *n;
            break;
        }
        case ParamType::flag:
            if (!one_of(text, "yes|no|true|false|on|off")) {
                return fail(EINVAL, "{} = '{}' is neither yes nor no", d.key, text);
            }
            v.number = one_of(text, "yes|true|on") ? 1 : 0;
            break;
        case ParamType::rate: {
            const auto r = rate_of(text);
            if (!r) {
                return fail(EINVAL,
                            "{} = '{}' is not a rate such as 1.5Mpps, 10Gbps (up to 10T) or max",
                            d.key, text);
            }
            v.rate = *r;
            break;
        }
        case ParamType::mac: {
            const auto m = mac_of(text);
            if (!m) {
                return fail(EINVAL, "{} = '{}' is not a MAC address such as 02:00:00:00:00:01",
                            d.key, text);
            }
            v.number = *m;
            break;
        }
        case ParamType::path:
            if (text.empty()) return fail(EINVAL, "{} is empty, expected a path", d.key);
            break;
        case ParamType::choice:
            if (!one_of(text, d.choices)) {
                return fail(EINVAL, "{} = '{}' is not one of {}", d.key, text, d.choices);
            }
            break;
    }
    return v;
}

Result<Values> resolve(const dp::NodeSpec& node, std::span<const ParamDesc> params) {
    for (const auto& [key, text] : node.params) {
        bool known = false;
        for (const ParamDesc& d : params) known |= d.key == key;
        if (!known) {
            return fail(EINVAL, "{}parameter '{}' is not known; {}", place_of(node), key,
                        keys_of(params));
        }
    }
    Values values;
    for (const ParamDesc& d : params) {
        const auto given = node.params.find(d.key);
        if (given == node.params.end() && d.required()) {
            return fail(EINVAL, "{}{} is missing: {}", place_of(node), d.key, d.help);
        }
        auto value = Values::parse(
            d, given == node.params.end() ? std::string(d.def) : given->second);
        if (!value) {
            return fail(value.error().code, "{}{}", place_of(node), value.error().message);
        }
        values.values_.emplace(d.key, std::move(*value));
    }
    return values;
}

const Values::Value& Values::get(std::string_view key, ParamType type) const {
    const auto found = values_.find(key);
    SLUICE_CHECK(found != values_.end() && found->second.type == type);
    return found->second;
}

std::uint64_t Values::number(std::string_view key) const {
    return get(key, ParamType::number).number;
}
bool Values::flag(std::string_view key) const { return get(key, ParamType::flag).number != 0; }
RateValue Values::rate(std::string_view key) const { return get(key, ParamType::rate).rate; }
std::uint64_t Values::mac(std::string_view key) const { return get(key, ParamType::mac).number; }
const std::string& Values::text(std::string_view key) const {
    const auto found = values_.find(key);
    SLUICE_CHECK(found != values_.end());
    SLUICE_CHECK(found->second.type == ParamType::path || found->second.type == ParamType::choice);
    return found->second.text;
}

}  // namespace sluice::stages

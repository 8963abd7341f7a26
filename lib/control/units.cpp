#include "control/units.hpp"

#include <charconv>
#include <cmath>
#include <limits>

namespace sluice::control {
namespace {

constexpr double kUint64Limit = 18446744073709551616.0;  // 2^64

struct Number {
    double value;
    std::optional<std::uint64_t> whole;  // exact when it was written without a fraction
    std::string_view suffix;
};

// Digits with an optional fraction, then whatever follows. No sign, no exponent: in front of a
// suffix both only hide mistakes.
std::optional<Number> leading_number(std::string_view text) noexcept {
    std::size_t digits = 0;
    std::size_t dots = 0;
    std::size_t end = 0;
    for (; end < text.size(); ++end) {
        if (text[end] >= '0' && text[end] <= '9')
            ++digits;
        else if (text[end] == '.' && dots == 0 && digits > 0)
            ++dots;
        else
            break;
    }
    if (digits == 0 || text[end - 1] == '.') return std::nullopt;

    Number number{0, std::nullopt, text.substr(end)};
    const char* const last = text.data() + end;
    if (dots == 0) {
        std::uint64_t whole = 0;
        const auto [stop, error] = std::from_chars(text.data(), last, whole);
        if (error != std::errc() || stop != last) return std::nullopt;
        number.whole = whole;
    }
    const auto [stop, error] = std::from_chars(text.data(), last, number.value);
    if (error != std::errc() || stop != last) return std::nullopt;
    return number;
}

std::optional<std::uint64_t> scaled(const Number& number, std::uint64_t factor) noexcept {
    if (number.whole) {
        std::uint64_t product = 0;
        if (__builtin_mul_overflow(*number.whole, factor, &product)) return std::nullopt;
        return product;
    }
    // 2.5G is exact; 0.3K of 1024 is not a number of bytes, and is rounded.
    const double product = std::nearbyint(number.value * static_cast<double>(factor));
    if (product >= kUint64Limit) return std::nullopt;
    return static_cast<std::uint64_t>(product);
}

// k, M, G, T in either case as an exponent of 1000 or 1024.
std::optional<unsigned> exponent(char suffix) noexcept {
    switch (suffix) {
        case 'k':
        case 'K': return 1;
        case 'm':
        case 'M': return 2;
        case 'g':
        case 'G': return 3;
        case 't':
        case 'T': return 4;
        default: return std::nullopt;
    }
}

std::uint64_t power(std::uint64_t base, unsigned n) noexcept {
    std::uint64_t result = 1;
    while (n-- > 0) result *= base;
    return result;
}

}  // namespace

std::optional<std::uint64_t> parse_uint(std::string_view text) noexcept {
    int base = 10;
    if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text.remove_prefix(2);
    }
    std::uint64_t value = 0;
    const char* const last = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), last, value, base);
    if (error != std::errc() || stop != last) return std::nullopt;
    return value;
}

std::optional<std::int64_t> parse_int(std::string_view text) noexcept {
    std::int64_t value = 0;
    const char* const last = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), last, value);
    if (error != std::errc() || stop != last) return std::nullopt;
    return value;
}

std::optional<double> parse_real(std::string_view text) noexcept {
    double value = 0;
    const char* const last = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), last, value);
    if (error != std::errc() || stop != last || !std::isfinite(value)) return std::nullopt;
    return value;
}

std::optional<double> parse_share(std::string_view text) noexcept {
    const bool percent = !text.empty() && text.back() == '%';
    if (percent) text.remove_suffix(1);
    auto value = parse_real(text);
    if (!value) return std::nullopt;
    if (percent) *value /= 100;
    if (!(*value >= 0 && *value <= 1)) return std::nullopt;
    return value;
}

std::optional<std::uint64_t> parse_rate(std::string_view text) noexcept {
    const auto number = leading_number(text);
    if (!number) return std::nullopt;
    if (number->suffix.empty()) return number->whole;
    if (number->suffix.size() != 1) return std::nullopt;
    const auto n = exponent(number->suffix[0]);
    if (!n) return std::nullopt;
    return scaled(*number, power(1000, *n));
}

std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
    const auto number = leading_number(text);
    if (!number) return std::nullopt;
    if (number->suffix.empty() || number->suffix == "B") return number->whole;
    const std::string_view tail = number->suffix.substr(1);
    // "KB" is refused: half of the world means 1000 by it.
    if (!tail.empty() && tail != "iB") return std::nullopt;
    const auto n = exponent(number->suffix[0]);
    if (!n) return std::nullopt;
    return scaled(*number, power(1024, *n));
}

std::optional<Duration> parse_duration(std::string_view text) noexcept {
    const auto number = leading_number(text);
    if (!number) return std::nullopt;
    struct Unit {
        std::string_view suffix;
        std::uint64_t ns;
    };
    static constexpr Unit kUnits[] = {
        {"ns", 1},           {"us", 1000},           {"ms", 1000000},
        {"s", 1000000000},   {"min", 60000000000},   {"h", 3600000000000},
    };
    for (const Unit& unit : kUnits) {
        if (unit.suffix != number->suffix) continue;
        const auto ns = scaled(*number, unit.ns);
        if (!ns || *ns > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            return std::nullopt;
        return Duration{static_cast<std::int64_t>(*ns)};
    }
    if (number->suffix.empty() && number->value == 0) return Duration{};
    return std::nullopt;
}

}  // namespace sluice::control

#include "pcap_writer/name_pattern.hpp"

#include <fmt/chrono.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace sluice::pcap {
namespace {

constexpr std::size_t kCountDigits = 5;
constexpr std::size_t kAgainDigits = 2;
constexpr std::size_t kNumberDigitsMax = 19;  // of 64 bits
constexpr std::int64_t kSecond = 1'000'000'000;

// What a conversion of strftime gives: 9 a digit, e a digit or a blank, s a sign, + digits,
// a letters, Z the name of a time zone, and else the character itself.
struct Conversion {
    char letter;
    std::string_view shape;
};
constexpr Conversion kConversions[] = {
    {'Y', "9999"}, {'m', "99"},         {'d', "99"},       {'H', "99"},    {'M', "99"},
    {'S', "99"},   {'y', "99"},         {'U', "99"},       {'W', "99"},    {'V', "99"},
    {'I', "99"},   {'g', "99"},         {'C', "99"},       {'j', "999"},   {'G', "9999"},
    {'u', "9"},    {'w', "9"},          {'e', "e9"},       {'k', "e9"},    {'l', "e9"},
    {'s', "+"},    {'F', "9999-99-99"}, {'T', "99:99:99"}, {'R', "99:99"}, {'z', "s9999"},
    {'Z', "Z"},    {'b', "a"},          {'B', "a"},        {'h', "a"},     {'a', "a"},
    {'A', "a"},    {'p', "a"},          {'P', "a"},
};

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_letter(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||  // or of UTF-8
           static_cast<unsigned char>(c) >= 0x80;
}
bool is_zone(char c) noexcept { return is_letter(c) || is_digit(c) || c == '+' || c == '-'; }

// Where the extension of a name starts: ".pcap", but also ".pcap.zst" as a whole.
std::size_t extension_of(std::string_view name) noexcept {
    std::size_t at = name.rfind('.');
    if (at == std::string_view::npos || at == 0) return name.size();
    const std::string_view last = name.substr(at);
    if (last == ".zst" || last == ".lz4" || last == ".gz") {
        const std::size_t before = name.rfind('.', at - 1);
        if (before != std::string_view::npos && before != 0) at = before;
    }
    return at;
}

// The names of ports may be paths of devices.
std::string without_slashes(std::string_view text) {
    std::string s(text);
    std::replace(s.begin(), s.end(), '/', '_');
    return s;
}

Result<std::string> parse_folder(std::string_view folder, std::string_view port, unsigned queue) {
    std::string out;
    for (std::size_t i = 0; i < folder.size();) {
        const std::string_view rest = folder.substr(i);
        if (rest[0] != '%') {
            out += rest[0];
            ++i;
        } else if (rest.starts_with("%%")) {
            out += '%';
            i += 2;
        } else if (rest.starts_with("%{port}")) {
            out += without_slashes(port);
            i += 7;
        } else if (rest.starts_with("%{queue}")) {
            out += fmt::format("{}", queue);
            i += 8;
        } else {
            return fail(EINVAL, "the folder \"{}\" of a capture file may vary by %{{port}} and "
                        "%{{queue}} only, the time and the count belong into the file's name",
                        folder);
        }
    }
    return out;
}

}  // namespace

Result<NamePattern> NamePattern::parse(std::string_view path, std::string_view port, unsigned queue,
                                       bool numbered) {
    const std::size_t slash = path.rfind('/');
    const std::size_t start = slash == std::string_view::npos ? 0 : slash + 1;
    const std::string_view name = path.substr(start);
    if (name.empty() || name == "." || name == "..")
        return fail(EINVAL, "\"{}\" does not name a capture file, expected a path", path);
    NamePattern p;
    SLUICE_TRY(p.folder_, parse_folder(path.substr(0, start), port, queue));
    const std::size_t extension = extension_of(name);
    SLUICE_TRY_VOID(p.parse_name(name.substr(0, extension), port, queue));
    if (numbered && !p.varies()) {
        p.add_literal("_");
        p.add(Kind::count, Element::Kind::count);
        p.add_literal("_");
        SLUICE_TRY_VOID(p.parse_name("%Y%m%d%H%M%S", port, queue));
    }
    const auto part = static_cast<std::ptrdiff_t>(p.parts_.size());
    const auto element = static_cast<std::ptrdiff_t>(p.elements_.size());
    SLUICE_TRY_VOID(p.parse_name(name.substr(extension), port, queue));
    if (!p.has_count()) {
        p.parts_.insert(p.parts_.begin() + part, {Kind::again, {}});
        p.elements_.insert(p.elements_.begin() + element, {Element::Kind::again, '\0'});
    }
    return p;
}

Result<> NamePattern::parse_name(std::string_view text, std::string_view port, unsigned queue) {
    for (std::size_t i = 0; i < text.size();) {
        const std::string_view rest = text.substr(i);
        const std::size_t percent = std::min(rest.find('%'), rest.size());
        if (percent > 0) {
            add_literal(rest.substr(0, percent));
            i += percent;
            continue;
        }
        if (rest.starts_with("%%")) {
            add_literal("%");
            i += 2;
        } else if (rest.starts_with("%{port}")) {
            add_literal(without_slashes(port));
            i += 7;
        } else if (rest.starts_with("%{queue}")) {
            add_literal(fmt::format("{}", queue));
            i += 8;
        } else if (rest.starts_with("%{count}")) {
            add(Kind::count, Element::Kind::count);
            i += 8;
        } else {
            const char letter = rest.size() < 2 ? '\0' : rest[1];
            const auto* found = std::find_if(std::begin(kConversions), std::end(kConversions),
                                             [letter](auto& c) { return c.letter == letter; });
            if (found == std::end(kConversions)) {
                const std::size_t end = rest.starts_with("%{") ? rest.find('}') : 1;
                return fail(EINVAL, "\"{}\" in the name of a capture file is not known, expected "
                            "%{{port}}, %{{queue}}, %{{count}}, %% or a conversion of strftime "
                            "such as %Y or %H that gives no blanks or slashes",
                            rest.substr(0, end == std::string_view::npos ? end : end + 1));
            }
            add_time(letter, found->shape);
            i += 2;
        }
    }
    return {};
}

void NamePattern::add_literal(std::string_view text) {
    parts_.push_back({Kind::literal, std::string(text)});
    for (const char c : text) elements_.push_back({Element::Kind::character, c});
}

void NamePattern::add_time(char conversion, std::string_view shape) {
    parts_.push_back({Kind::time, {'%', conversion}});
    for (const char c : shape) {
        switch (c) {
            case '9': elements_.push_back({Element::Kind::digit, '\0'}); break;
            case 'e': elements_.push_back({Element::Kind::digit_or_space, '\0'}); break;
            case 's': elements_.push_back({Element::Kind::sign, '\0'}); break;
            case '+': elements_.push_back({Element::Kind::digits, '\0'}); break;
            case 'a': elements_.push_back({Element::Kind::letters, '\0'}); break;
            case 'Z': elements_.push_back({Element::Kind::zone, '\0'}); break;
            default: elements_.push_back({Element::Kind::character, c}); break;
        }
    }
}

void NamePattern::add(Kind kind, Element::Kind element) {
    parts_.push_back({kind, {}});
    elements_.push_back({element, '\0'});
}

bool NamePattern::varies() const noexcept {
    return std::any_of(parts_.begin(), parts_.end(), [](const Part& p) {
        return p.kind == Kind::time || p.kind == Kind::count;
    });
}

bool NamePattern::has_count() const noexcept {
    return std::any_of(parts_.begin(), parts_.end(),
                       [](const Part& p) { return p.kind == Kind::count; });
}

bool NamePattern::overlaps(const NamePattern& other) const {
    if (folder_ != other.folder_) return false;
    if (elements_ == other.elements_) return true;
    return (!varies() && other.match(name(0, 0))) || (!other.varies() && match(other.name(0, 0)));
}

std::string NamePattern::name(std::int64_t wall_ns, std::uint64_t count,
                              std::uint64_t again) const {
    const std::time_t seconds = wall_ns / kSecond - (wall_ns % kSecond < 0 ? 1 : 0);
    std::tm tm{};
    ::localtime_r(&seconds, &tm);
    std::string out;
    for (const Part& part : parts_) {
        switch (part.kind) {
            case Kind::literal: out += part.text; break;
            case Kind::count: out += fmt::format("{:0{}}", count, kCountDigits); break;
            case Kind::again:
                if (again != 0) out += fmt::format("_{:0{}}", again, kAgainDigits);
                break;
            case Kind::time: {
                std::array<char, 64> text{};
                out.append(text.data(),
                           std::strftime(text.data(), text.size(), part.text.c_str(), &tm));
                break;
            }
        }
    }
    return out;
}

std::size_t NamePattern::shortest(Element::Kind kind) noexcept {
    switch (kind) {
        case Element::Kind::again:
        case Element::Kind::zone:
        case Element::Kind::letters: return 0;  // some languages have no word for "am"
        case Element::Kind::count: return kCountDigits;
        default: return 1;
    }
}

// How many characters of `rest` the element could take.
std::size_t NamePattern::longest(const Element& element, std::string_view rest) noexcept {
    const auto run = [rest](auto fits, std::size_t from = 0) {
        std::size_t n = from;
        while (n < rest.size() && fits(rest[n])) ++n;
        return n;
    };
    const char first = rest.empty() ? '\0' : rest[0];
    switch (element.kind) {
        case Element::Kind::character: return !rest.empty() && first == element.character ? 1 : 0;
        case Element::Kind::digit: return is_digit(first) ? 1 : 0;
        case Element::Kind::digit_or_space: return is_digit(first) || first == ' ' ? 1 : 0;
        case Element::Kind::sign: return first == '+' || first == '-' ? 1 : 0;
        case Element::Kind::digits: return std::min(run(is_digit), kNumberDigitsMax);
        case Element::Kind::letters: return run(is_letter);
        case Element::Kind::zone: return run(is_zone);
        case Element::Kind::count: {
            // More digits than it is filled up to have no zero in front: so a name of queue 10 is
            // never taken for one of queue 1.
            const std::size_t n = std::min(run(is_digit), kNumberDigitsMax);
            return n > kCountDigits && first == '0' ? kCountDigits : n;
        }
        case Element::Kind::again: {
            if (first != '_') return 0;
            const std::size_t n = run(is_digit, 1);
            return n > kAgainDigits ? n : 0;
        }
    }
    return 0;
}

bool NamePattern::match_from(std::size_t element, std::string_view rest,
                             std::uint64_t& count) const {
    if (element == elements_.size()) return rest.empty();
    const Element& e = elements_[element];
    const std::size_t least = shortest(e.kind);
    const std::size_t most = longest(e, rest);
    if (e.kind == Element::Kind::again)  // all of it, or nothing
        return match_from(element + 1, rest.substr(most), count) ||
               (most > 0 && match_from(element + 1, rest, count));
    for (std::size_t n = most + 1; n-- > least;) {
        if (!match_from(element + 1, rest.substr(n), count)) continue;
        if (e.kind == Element::Kind::count)
            std::from_chars(rest.data(), rest.data() + n, count);
        return true;
    }
    return false;
}

std::optional<std::uint64_t> NamePattern::match(std::string_view name) const {
    std::uint64_t count = 0;
    if (!match_from(0, name, count)) return std::nullopt;
    return count;
}

}  // namespace sluice::pcap

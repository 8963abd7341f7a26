#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace sluice::pcap {

// The name of a capture file with %{port}, %{queue}, %{count} and conversions of strftime in it;
// makes names, and tells which names could have been made by it.
class NamePattern {
  public:
    // `path` may have %{port} and %{queue} in its folders, the rest only in its last part. A name
    // that would be the same every time gets the count and the time in front of its extension if
    // it is to be `numbered`: stem_00001_20260131235959.ext.
    static Result<NamePattern> parse(std::string_view path, std::string_view port, unsigned queue,
                                     bool numbered);

    const std::string& folder() const noexcept { return folder_; }  // "" or ends in '/'
    bool varies() const noexcept;     // more than one name comes out
    bool has_count() const noexcept;  // so that no name comes twice
    // Some name comes out of both.
    bool overlaps(const NamePattern& other) const;

    // Local time. `again`: 0, or a number to tell names apart that would be the same.
    std::string name(std::int64_t wall_ns, std::uint64_t count, std::uint64_t again = 0) const;

    // Whether name() could have made this one; the answer is its count, 0 if it has none.
    std::optional<std::uint64_t> match(std::string_view name) const;

  private:
    enum class Kind : std::uint8_t { literal, time, count, again };
    struct Part {
        Kind kind = Kind::literal;
        std::string text;  // literal, or the conversion with its %
    };
    // What one character, or some, of a name must be.
    struct Element {
        enum class Kind : std::uint8_t {
            character, digit, digit_or_space, sign, digits, letters, zone, count, again
        };
        Kind kind = Kind::character;
        char character = '\0';

        bool operator==(const Element&) const noexcept = default;
    };

    Result<> parse_name(std::string_view text, std::string_view port, unsigned queue);
    void add_literal(std::string_view text);
    void add_time(char conversion, std::string_view shape);
    void add(Kind kind, Element::Kind element);
    bool match_from(std::size_t element, std::string_view rest, std::uint64_t& count) const;
    static std::size_t shortest(Element::Kind kind) noexcept;
    static std::size_t longest(const Element& element, std::string_view rest) noexcept;

    std::string folder_;
    std::vector<Part> parts_;
    std::vector<Element> elements_;
};

}  // namespace sluice::pcap

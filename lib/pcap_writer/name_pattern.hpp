#pragma once

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
    // `path` may have %{port} and %{queue} in its folders, the rest only in its last part.
    static Result<NamePattern> parse(std::string_view path, std::string_view port, unsigned queue);
    // With the count and the time in front of the extension: stem_00001_20260131235959.ext.
    static Result<NamePattern> parse_numbered(std::string_view path);

    const std::string& folder() const noexcept { return folder_; }  // "" or ends in '/'
    bool varies() const noexcept;     // more than one name comes out
    bool has_count() const noexcept;  // so that no name comes twice
    // Two patterns of one shape make the same names.
    std::string shape() const;

    // Local time. `again`: 0, or a number to tell names apart that would be the same.
    std::string name(std::int64_t wall_ns, std::uint64_t count, std::uint64_t again = 0) const;

    struct Match {
        std::uint64_t count = 0;
    };
    std::optional<Match> match(std::string_view name) const;

  private:
    enum class Kind : std::uint8_t { literal, time, count };
    struct Part {
        Kind kind = Kind::literal;
        std::string text;   // literal, or the conversion with its %
        std::string shape;  // of a time: one letter per character, see kShapes
    };

    Result<> parse_name(std::string_view name, std::string_view port, unsigned queue);
    void add_literal(std::string_view text);
    void add_time(std::string_view conversion, std::string_view shape);
    std::string flat_shape() const;

    std::string folder_;
    std::vector<Part> parts_;
    std::size_t extension_at_ = 0;  // the part of which `again` stands in front
};

}  // namespace sluice::pcap

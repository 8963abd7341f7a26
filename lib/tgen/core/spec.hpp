#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "tgen/core/session.hpp"

namespace sluice::tgen {

// What an operator asks for in words such as
//   size=1500  sweep=0:4000:250  rate=1Mpps  rate=10Gbps  rate=max  count=1M  duration=10s
//   bytes=1G  burst=64  file=PATH  mode=plain
struct Spec {
    SizeRange sizes = SizeRange::constant(1500);
    Rate rate{};
    std::uint64_t burst = 0;  // SDUs; 0: chosen
    std::uint64_t count = 0;
    Duration duration{};
    std::uint64_t bytes = 0;
    std::string file;  // not empty: raw mode, the file once

    bool plain = false;  // SDUs are counted, and nothing else

    Mode mode() const noexcept {
        return !file.empty() ? Mode::raw : plain ? Mode::plain : Mode::stamped;
    }
    bool operator==(const Spec&) const = default;
};

// One error names the word and what was expected instead.
Result<Spec> parse_spec(std::span<const std::string> words);

// Numbers with units, as in the words above.
Result<std::uint64_t> parse_number(std::string_view text);  // 1000, 64k, 1M, 2G (decimal)
Result<Rate> parse_rate(std::string_view text);             // 1.5Mpps, 10Gbps, max
Result<Duration> parse_duration(std::string_view text);     // 500us, 10s, 2min

// The rest of the settings (nonce, clock, the file's bytes) is the caller's to fill in.
ClientSettings settings_of(const Spec& spec) noexcept;

// A name and a value for whatever renders it: a table, JSON, a metric.
struct Field {
    std::string_view name;  // snake_case, unit last
    std::variant<std::monostate, bool, std::uint64_t, double, std::string> value;
};

std::vector<Field> fields_of(const Report& report, Mode mode);
std::vector<Field> fields_of(const ClientSession& client);
std::vector<Field> fields_of(const ServerSession& server);

}  // namespace sluice::tgen

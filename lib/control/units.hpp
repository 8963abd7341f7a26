#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/instant.hpp"

// Numbers the way operators write them, the same on the console, in JSON-RPC and in TOML. Nothing
// is guessed: what does not parse completely, or does not fit, is no number.

namespace sluice::control {

// "42", "0x2a".
std::optional<std::uint64_t> parse_uint(std::string_view text) noexcept;
// "-42".
std::optional<std::int64_t> parse_int(std::string_view text) noexcept;
// "0.01", "1e-3"; finite only.
std::optional<double> parse_real(std::string_view text) noexcept;
// A share between 0 and 1: "0.01" or "1%".
std::optional<double> parse_share(std::string_view text) noexcept;
// Per second, powers of 1000: "800", "1k", "10M", "2.5G". Bits or packets is the asker's business.
std::optional<std::uint64_t> parse_rate(std::string_view text) noexcept;
// Bytes, powers of 1024: "1500", "2K", "64KiB", "1M", "1.5G".
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;
// "10s", "5ms", "2us", "100ns", "1.5s", "2min", "1h", "0". A bare number but 0 has no unit and is
// refused. Never negative.
std::optional<Duration> parse_duration(std::string_view text) noexcept;

}  // namespace sluice::control

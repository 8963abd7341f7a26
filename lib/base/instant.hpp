#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <string>

namespace sluice {

// A span of time in nanoseconds. Signed, so that differences of instants are safe to take.
struct Duration {
    std::int64_t ns = 0;

    static constexpr Duration nanoseconds(std::int64_t n) noexcept { return {n}; }
    static constexpr Duration microseconds(std::int64_t n) noexcept { return {n * 1000}; }
    static constexpr Duration milliseconds(std::int64_t n) noexcept { return {n * 1000000}; }
    static constexpr Duration seconds(std::int64_t n) noexcept { return {n * 1000000000}; }

    constexpr double to_seconds() const noexcept { return static_cast<double>(ns) * 1e-9; }
    constexpr auto operator<=>(const Duration&) const noexcept = default;
    constexpr Duration operator+(Duration o) const noexcept { return {ns + o.ns}; }
    constexpr Duration operator-(Duration o) const noexcept { return {ns - o.ns}; }
    constexpr Duration operator*(std::int64_t k) const noexcept { return {ns * k}; }
    constexpr Duration operator/(std::int64_t k) const noexcept { return {ns / k}; }
};

// A point on a monotonic time line that starts anywhere: the lcore loop's TSC time in the
// dataplane, virtual time in the simulation. Cores are handed it and never read a clock.
struct Instant {
    std::int64_t ns = 0;

    static constexpr Instant never() noexcept {
        return {std::numeric_limits<std::int64_t>::max()};
    }
    static constexpr Instant zero() noexcept { return {0}; }

    constexpr bool is_never() const noexcept { return *this == never(); }
    constexpr auto operator<=>(const Instant&) const noexcept = default;
    constexpr Instant operator+(Duration d) const noexcept { return {ns + d.ns}; }
    constexpr Instant operator-(Duration d) const noexcept { return {ns - d.ns}; }
    constexpr Duration operator-(Instant o) const noexcept { return {ns - o.ns}; }
};

constexpr Instant earlier(Instant a, Instant b) noexcept { return a < b ? a : b; }

// "1.5 ms", for people.
std::string to_string(Duration d);

}  // namespace sluice

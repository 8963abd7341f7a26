#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

// The messages of rlite's rinaperf, byte for byte: all numbers little-endian, nothing between them.
// A client has a flow for control and another for data. It says on the first what it wants and is
// given a ticket, shows the ticket on the second, and says on the first how many it has sent.

namespace sluice::tools {

inline constexpr char kPerfServer[] = "rinaperf-data|server";
inline constexpr char kPerfClient[] = "rinaperf-data|client";

enum class Opcode : std::uint32_t { ping = 0, rr = 1, perf = 2, data = 3, stop = 4 };

struct PerfConfig {
    std::uint64_t count = 0;  // 0: until stopped
    Opcode opcode = Opcode::ping;
    std::uint32_t ticket = 0;
    std::uint32_t size = 0;
};

struct PerfResult {
    std::uint64_t count = 0;
    std::uint64_t sdus_per_second = 0;
    std::uint64_t bits_per_second = 0;
    std::uint64_t latency_ns = 0;
};

inline constexpr std::size_t kConfigBytes = 20;
inline constexpr std::size_t kTicketBytes = 4;
inline constexpr std::size_t kResultBytes = 32;

// Long enough for each of them.
using PerfBuffer = std::array<std::uint8_t, 64>;

std::size_t encode(const PerfConfig& config, PerfBuffer& buffer);
std::size_t encode(std::uint32_t ticket, PerfBuffer& buffer);
std::size_t encode(const PerfResult& result, PerfBuffer& buffer);

// False if it has not that size, or an opcode that there is not.
bool decode(const PerfBuffer& buffer, std::size_t size, PerfConfig& config);
bool decode(const PerfBuffer& buffer, std::size_t size, std::uint32_t& ticket);
bool decode(const PerfBuffer& buffer, std::size_t size, PerfResult& result);

// Waits for one of them and reads it: its size, 0 if the peer has gone or says nothing for so long.
std::size_t read_message(int fd, PerfBuffer& buffer, int milliseconds);
bool write_message(int fd, const PerfBuffer& buffer, std::size_t size);

inline constexpr int kTicketMs = 10000;
inline constexpr int kDataFlowMs = 5000;
inline constexpr int kResultMs = 5000;
inline constexpr int kSilenceMs = 10000;

}  // namespace sluice::tools

#include "perf_protocol.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "flow_options.hpp"

namespace sluice::tools {
namespace {

void put(PerfBuffer& buffer, std::size_t at, std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i)
        buffer[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
}

std::uint64_t get(const PerfBuffer& buffer, std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = size; i-- > 0;) value = value << 8 | buffer[at + i];
    return value;
}

}  // namespace

std::size_t encode(const PerfConfig& config, PerfBuffer& buffer) {
    put(buffer, 0, config.count, 8);
    put(buffer, 8, static_cast<std::uint32_t>(config.opcode), 4);
    put(buffer, 12, config.ticket, 4);
    put(buffer, 16, config.size, 4);
    return kConfigBytes;
}

std::size_t encode(std::uint32_t ticket, PerfBuffer& buffer) {
    put(buffer, 0, ticket, 4);
    return kTicketBytes;
}

std::size_t encode(const PerfResult& result, PerfBuffer& buffer) {
    put(buffer, 0, result.count, 8);
    put(buffer, 8, result.sdus_per_second, 8);
    put(buffer, 16, result.bits_per_second, 8);
    put(buffer, 24, result.latency_ns, 8);
    return kResultBytes;
}

bool decode(const PerfBuffer& buffer, std::size_t size, PerfConfig& config) {
    if (size != kConfigBytes) return false;
    const std::uint64_t opcode = get(buffer, 8, 4);
    if (opcode > static_cast<std::uint32_t>(Opcode::stop)) return false;
    config.count = get(buffer, 0, 8);
    config.opcode = static_cast<Opcode>(opcode);
    config.ticket = static_cast<std::uint32_t>(get(buffer, 12, 4));
    config.size = static_cast<std::uint32_t>(get(buffer, 16, 4));
    return true;
}

bool decode(const PerfBuffer& buffer, std::size_t size, std::uint32_t& ticket) {
    if (size != kTicketBytes) return false;
    ticket = static_cast<std::uint32_t>(get(buffer, 0, 4));
    return true;
}

bool decode(const PerfBuffer& buffer, std::size_t size, PerfResult& result) {
    if (size != kResultBytes) return false;
    result.count = get(buffer, 0, 8);
    result.sdus_per_second = get(buffer, 8, 8);
    result.bits_per_second = get(buffer, 16, 8);
    result.latency_ns = get(buffer, 24, 8);
    return true;
}

std::size_t read_message(int fd, PerfBuffer& buffer, int milliseconds) {
    if (!wait_for(fd, POLLIN, milliseconds)) return 0;
    const ssize_t size = ::read(fd, buffer.data(), buffer.size());
    return size < 0 ? 0 : static_cast<std::size_t>(size);
}

bool write_message(int fd, const PerfBuffer& buffer, std::size_t size) {
    if (!wait_for(fd, POLLOUT, kSilenceMs)) return false;
    return ::write(fd, buffer.data(), size) == static_cast<ssize_t>(size);
}

}  // namespace sluice::tools

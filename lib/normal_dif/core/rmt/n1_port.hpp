#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/types.hpp"

namespace sluice::rmt {

// A flow of an underlying DIF as the relay sees it: a small number that the IPC process gave it,
// counted from 0 and used again, so that it can be an index.
using N1PortId = StrongId<struct N1PortIdTag, std::uint16_t>;

inline constexpr std::size_t kN1PortsMax = 4096;
inline constexpr N1PortId kNoN1Port{0xffff};
constexpr bool is_n1_port(N1PortId port) noexcept { return port.value < kN1PortsMax; }

// Which N-1 ports are up. It changes at once, where a new forwarding table takes a routing
// computation, and so it is beside the table and not in it. One owner.
class N1PortSet {
  public:
    void set(N1PortId port, bool up) noexcept {
        if (!is_n1_port(port)) return;
        const std::uint64_t bit = std::uint64_t{1} << (port.value % 64);
        std::uint64_t& word = words_[port.value / 64];
        word = up ? word | bit : word & ~bit;
    }
    void set_all(bool up) noexcept { words_.fill(up ? ~std::uint64_t{0} : 0); }
    // False for what is no port.
    bool test(N1PortId port) const noexcept {
        return is_n1_port(port) && (words_[port.value / 64] >> (port.value % 64) & 1) != 0;
    }

  private:
    std::array<std::uint64_t, kN1PortsMax / 64> words_{};
};

}  // namespace sluice::rmt

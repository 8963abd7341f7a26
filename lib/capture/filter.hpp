#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "pcap_writer/pcap.hpp"

struct rte_mbuf;

namespace sluice::capture {

// A capture filter in libpcap's language (pcap-filter(7)), compiled once and then read only, so
// that any number of lcores may run one and a new one may replace it between two bursts.
//
// Frames in one or two VLAN tags (802.1Q, 802.1ad, 0x9100) are judged by what is inside of the
// tags: "udp port 53" is also DNS in a VLAN, and "not udp port 53" leaves that out as well. An
// expression that itself asks for tags ("vlan 5", "ether proto 0x8100") is taken literally, as
// libpcap does. Tags that the NIC stripped are not put back: such frames count as untagged.
class Filter {
  public:
    // How the programs are run: as native code, or by libpcap's interpreter where that cannot
    // be. Both give the same verdicts.
    enum class Engine : std::uint8_t { native, libpcap };

    // snaplen: 0 is no limit. `best` leaves native code out, for tests and comparisons.
    static Result<std::unique_ptr<const Filter>> compile(const std::string& expression,
                                                         pcap::Linktype linktype,
                                                         std::uint32_t snaplen,
                                                         Engine best = Engine::native);
    ~Filter();
    Filter(const Filter&) = delete;
    Filter& operator=(const Filter&) = delete;

    // Writes the indices of the packets that match to `out` (room for `count`, at most 65536),
    // in order, and returns how many they are.
    unsigned match(rte_mbuf* const* packets, unsigned count, std::uint16_t* out) const noexcept;

    Engine engine() const noexcept { return engine_; }
    bool jitted() const noexcept { return engine_ == Engine::native; }
    bool looks_into_vlans() const noexcept { return looks_into_vlans_; }
    const std::string& expression() const noexcept { return expression_; }

  private:
    struct Programs;
    Filter(std::string expression, std::unique_ptr<const Programs> programs);

    template <typename Run>
    unsigned match_with(rte_mbuf* const* packets, unsigned count, std::uint16_t* out,
                        Run run) const noexcept;

    std::string expression_;
    std::unique_ptr<const Programs> programs_;
    Engine engine_ = Engine::libpcap;
    bool looks_into_vlans_ = false;
};

}  // namespace sluice::capture

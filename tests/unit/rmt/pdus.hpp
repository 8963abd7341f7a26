#pragma once

#include <cstddef>
#include <vector>

#include "normal_dif/core/rmt/rmt.hpp"
#include "rina/pci.hpp"

namespace sluice::test {

using Bytes = std::vector<std::byte>;

inline rina::Pci data_pci(std::uint64_t destination, std::uint64_t source = 7) {
    rina::Pci pci;
    pci.destination = rina::Address{destination};
    pci.source = rina::Address{source};
    pci.destination_cep = rina::CepId{3};
    pci.source_cep = rina::CepId{4};
    return pci;
}

// A PDU with a payload of this many bytes, 0xa5 all of them.
inline Bytes pdu_of(rina::Pci pci, std::size_t payload,
                    const rina::PciFormat& format = rina::kDefaultFormat) {
    Bytes pdu(format.bytes() + payload, std::byte{0xa5});
    pci.length = static_cast<std::uint32_t>(pdu.size());
    rina::write(pci, format, pdu.data());
    return pdu;
}

inline rmt::RxPdu rx(Bytes& frame, std::uint16_t arrival = 100) {
    rmt::RxPdu pdu;
    pdu.head = frame.data();
    pdu.head_bytes = static_cast<std::uint32_t>(std::min(frame.size(), rina::kPciBytesMax));
    pdu.frame_bytes = static_cast<std::uint32_t>(frame.size());
    pdu.arrival = rmt::N1PortId{arrival};
    return pdu;
}

inline rmt::Hops to_port(std::uint16_t port) { return {{{rmt::N1PortId{port}, 1}}, {}}; }
inline rmt::Hops to_port(std::uint16_t port, std::uint16_t alternate) {
    return {{{rmt::N1PortId{port}, 1}}, rmt::N1PortId{alternate}};
}
inline rmt::N1PortSet all_up() {
    rmt::N1PortSet up;
    up.set_all(true);
    return up;
}

}  // namespace sluice::test

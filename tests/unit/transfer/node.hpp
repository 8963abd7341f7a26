#pragma once

#include <catch2/catch.hpp>
#include <vector>

#include "normal_dif/core/transfer/data_transfer.hpp"

namespace sluice::transfer {

using rina::Address;
using rina::CepId;
using rmt::N1PortId;

inline constexpr Address kUs{1}, kThem{2}, kFar{3};
inline constexpr N1PortId kPort{5}, kOther{6};
inline const Instant kNow{1'000'000'000};

// One IPC process, and the buffers of what it is given.
struct Node {
    Node() : data(config()) {
        data.set_port(kPort, true);
        data.set_port(kOther, true);
        REQUIRE(data.set_routes({{kThem, {}, {{{kPort, 1}}, {}}},
                                 {kFar, {}, {{{kOther, 1}}, {}}}}));
    }
    static TransferConfig config() {
        TransferConfig c;
        c.rmt.own = kUs;
        c.early_max = 4;
        return c;
    }
    mgmt::Bind bind(std::uint32_t cep, std::optional<CepId> peer, bool reliable = false,
                    Address member = kThem) {
        mgmt::Bind b;
        b.port = PortId{cep + 100};
        b.cep = CepId{cep};
        b.peer_cep = peer;
        b.peer = member;
        b.terms.policies = reliable ? efcp::EfcpPolicies::sluice_reliable(64)
                                    : efcp::EfcpPolicies::best_effort();
        data.bind(kNow, b);
        return b;
    }
    PduToken arrive(Address source, Address destination, std::uint32_t to, std::uint32_t from,
                    std::uint64_t sequence, N1PortId port = kPort) {
        rina::Pci pci;
        pci.source = source;
        pci.destination = destination;
        pci.destination_cep = CepId{to};
        pci.source_cep = CepId{from};
        pci.sequence = sequence;
        if (sequence == 0) pci.flags = rina::pci_flag::kDrf;
        pci.length = 28 + 10;
        std::byte frame[38]{};
        rina::write(pci, rina::kDefaultFormat, frame);
        const auto token = static_cast<PduToken>(++last_token);
        const rmt::RxPdu pdu{token, frame, sizeof frame, sizeof frame, port};
        data.on_pdus(kNow, {&pdu, 1}, out);
        return token;
    }
    std::vector<PduToken> delivered() const {
        std::vector<PduToken> tokens;
        for (const auto& d : out.deliver) tokens.push_back(d.item.token);
        return tokens;
    }
    // Why the only one was dropped.
    DropReason dropped() const {
        REQUIRE(out.drop.size() == 1);
        return out.drop.front().reason;
    }

    DataTransfer data;
    TransferOutbox out;
    std::uintptr_t last_token = 0;
};

}  // namespace sluice::transfer

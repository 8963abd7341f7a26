// What EFCP costs: the cycles of sending a data PDU (from the user's submit to the outbox) and of
// receiving one in order, beside the copy of 64 bytes in the same run; and of delimiting. Prints
// one line of JSON.
#include <fmt/format.h>
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/efcp/delimiting.hpp"

namespace {

using namespace sluice;
using namespace sluice::efcp;

constexpr unsigned kBurst = 32;
constexpr unsigned kRounds = 20000;
constexpr unsigned kRepetitions = 7;

double ns_per_cycle() {
    using Clock = std::chrono::steady_clock;
    static const double value = [] {
        const auto start = Clock::now();
        const std::uint64_t begin = __rdtsc();
        while (Clock::now() - start < std::chrono::milliseconds(50)) {
        }
        const std::chrono::duration<double, std::nano> passed = Clock::now() - start;
        return passed.count() / static_cast<double>(__rdtsc() - begin);
    }();
    return value;
}

template <typename Work>
double cycles(Work&& work) {
    double best = 1e9;
    for (unsigned repetition = 0; repetition < kRepetitions; ++repetition) {
        const std::uint64_t begin = __rdtsc();
        for (unsigned round = 0; round < kRounds; ++round) work(round);
        best = std::min(best, static_cast<double>(__rdtsc() - begin) / kRounds / kBurst);
    }
    return best;
}

ConnectionIds ids_of(int end) {
    return {rina::Address{static_cast<std::uint64_t>(end + 1)},
            rina::Address{static_cast<std::uint64_t>(2 - end)},
            rina::CepId{static_cast<std::uint32_t>(end + 1)},
            rina::CepId{static_cast<std::uint32_t>(2 - end)}, rina::QosId{0}};
}

rina::Pci header_from(int end) {
    const ConnectionIds ids = ids_of(end);
    rina::Pci pci;
    pci.source = ids.local;
    pci.destination = ids.remote;
    pci.source_cep = ids.local_cep;
    pci.destination_cep = ids.remote_cep;
    return pci;
}

double send_cycles(const EfcpPolicies& policies, bool with_acks) {
    const auto connection =
        std::make_unique<Connection>(ids_of(0), policies, rina::kDefaultFormat);
    auto out = std::make_unique<Outbox>();
    std::array<TxItem, kBurst> items;
    for (unsigned i = 0; i < kBurst; ++i) items[i] = {static_cast<PduToken>(i), 64};
    std::array<std::byte, 64> bytes;
    Instant now{1'000'000'000};
    std::uint32_t control = 0;
    std::uint64_t spent = 0;
    std::uint64_t total = 0;
    double best = 1e9;
    for (unsigned repetition = 0; repetition < kRepetitions; ++repetition) {
        spent = total = 0;
        for (unsigned round = 0; round < kRounds; ++round) {
            now = now + Duration::microseconds(1);
            const std::uint64_t begin = __rdtsc();
            connection->submit(now, items, *out);
            spent += __rdtsc() - begin;
            out->clear();
            if (!policies.reliable()) continue;
            RxItem ack;
            ack.pci = header_from(1);
            ack.pci.type = static_cast<std::uint8_t>(rina::PduType::sack_flow_control);
            ack.pci.sequence = control++;
            const std::uint64_t next = connection->sender().next_sequence();
            rina::write_control({0, next, next + 100000, next, 0, 0}, rina::kDefaultFormat,
                                bytes.data());
            ack.bytes = std::span(bytes).first(rina::kDefaultFormat.control_bytes());
            const std::uint64_t from = __rdtsc();
            connection->on_burst(now + Duration::microseconds(1), {&ack, 1}, *out);
            total += __rdtsc() - from;
            out->clear();
        }
        const std::uint64_t all = with_acks ? spent + total : spent;
        best = std::min(best, static_cast<double>(all) / kRounds / kBurst);
    }
    return best;
}

double receive_cycles(const EfcpPolicies& policies) {
    const auto connection =
        std::make_unique<Connection>(ids_of(0), policies, rina::kDefaultFormat);
    auto out = std::make_unique<Outbox>();
    std::array<RxItem, kBurst> items;
    std::uint32_t seq = 0;
    Instant now{1'000'000'000};
    for (RxItem& item : items) item.pci = header_from(1);
    std::uint64_t delivered = 0;
    const double best = cycles([&](unsigned) {
        now = now + Duration::microseconds(1);
        for (RxItem& item : items) {
            item.pci.sequence = seq++;
            item.pci.flags = item.pci.sequence == 0 ? rina::pci_flag::kDrf : 0;
            item.pci.length = 92;
        }
        connection->on_burst(now, items, *out);
        delivered += out->deliver.size();
        connection->consumed(now, static_cast<std::uint32_t>(out->deliver.size()), *out);
        out->clear();
    });
    if (delivered != std::uint64_t{kBurst} * kRounds * kRepetitions) fmt::print(stderr, "lost\n");
    return best;
}

// Cycles a PDU of an SDU that needs 16 of them: cut, and put together again.
double fragment_cycles() {
    constexpr std::uint32_t kUserData = 1400;
    constexpr std::uint32_t kSdu = kBurst / 2 * (kUserData - delimiter::kFirstHeaderBytes);
    std::uint64_t pdus = 0;
    const double best = cycles([&](unsigned) {
        for (int sdu = 0; sdu < 2; ++sdu) {
            Fragmenter fragmenter(kSdu, kUserData);
            while (const auto fragment = fragmenter.next()) {
                asm volatile("" : : "r"(&*fragment) : "memory");
                ++pdus;
            }
        }
    });
    if (pdus != std::uint64_t{kBurst} * kRounds * kRepetitions) fmt::print(stderr, "not 16\n");
    return best;
}

double reassemble_cycles() {
    constexpr std::uint32_t kUserData = 1400;
    constexpr std::uint32_t kSdu = kBurst / 2 * (kUserData - delimiter::kFirstHeaderBytes);
    std::vector<Fragment> fragments;
    Fragmenter fragmenter(kSdu, kUserData);
    while (const auto fragment = fragmenter.next()) fragments.push_back(*fragment);
    Reassembler reassembler({});
    std::uint64_t sequence = 0;
    std::uint64_t pieces = 0;
    const double best = cycles([&](unsigned) {
        for (unsigned i = 0; i < kBurst; ++i) {
            const Fragment& fragment = fragments[i % fragments.size()];
            reassembler.on_pdu(sequence++, static_cast<PduToken>(i), fragment.header,
                               fragment.header_bytes + fragment.bytes);
            while (reassembler.take_piece()) ++pieces;
        }
    });
    if (pieces != std::uint64_t{kBurst} * kRounds * kRepetitions) fmt::print(stderr, "lost\n");
    return best;
}

// Cycles an SDU of 40 bytes, of 32 put into one PDU.
double concatenate_cycles() {
    std::array<std::byte, 1400> user_data;
    std::array<std::byte, 40> sdu{};
    return cycles([&](unsigned) {
        Concatenator concatenator(user_data);
        for (unsigned i = 0; i < kBurst; ++i) concatenator.add(sdu);
        asm volatile("" : : "r"(user_data.data()) : "memory");
    });
}

double copy_cycles() {
    std::vector<std::array<std::byte, 64>> from(4096), to(4096);
    return cycles([&](unsigned round) {
        for (unsigned i = 0; i < kBurst; ++i) {
            const unsigned at = (round * kBurst + i) % 4096;
            std::memcpy(&to[at], &from[at], 64);
            asm volatile("" ::: "memory");
        }
    });
}

}  // namespace

int main() {
    const double ns = ns_per_cycle();
    const EfcpPolicies best_effort = EfcpPolicies::best_effort();
    EfcpPolicies reliable = EfcpPolicies::sluice_reliable(100'000);
    reliable.congestion = Congestion::none;
    EfcpPolicies flow_control = EfcpPolicies::rlite_flow_control(100'000);
    flow_control.dialect = Dialect::sluice;
    const std::array<std::pair<const char*, double>, 11> costs = {{
        {"copy_64", copy_cycles()},
        {"send_best_effort", send_cycles(best_effort, false)},
        {"send_reliable", send_cycles(reliable, false)},
        {"send_reliable_with_acks", send_cycles(reliable, true)},
        {"receive_best_effort", receive_cycles(best_effort)},
        {"receive_flow_control", receive_cycles(flow_control)},
        {"receive_reliable", receive_cycles(reliable)},
        {"receive_rlite", receive_cycles(EfcpPolicies::rlite_reliable())},
        {"delimit_cut", fragment_cycles()},
        {"delimit_put_together", reassemble_cycles()},
        {"delimit_put_40_into_one", concatenate_cycles()},
    }};
    std::string rows;
    for (const auto& [name, spent] : costs)
        rows += fmt::format("{}{{\"what\": \"{}\", \"cycles\": {:.1f}, \"ns\": {:.2f}}}",
                            rows.empty() ? "" : ", ", name, spent, spent * ns);
    fmt::print("{{\"pdu\": [{}]}}\n", rows);
    return 0;
}

// What EFCP costs: sending a data PDU (from the user's submit to the outbox), receiving one in
// order, and delimiting.
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "micro.hpp"
#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/efcp/delimiting.hpp"

namespace sluice::bench {

namespace {

using namespace efcp;

constexpr unsigned kBurst = 32;
constexpr unsigned kBursts = 16;  // of an iteration
constexpr unsigned kPdus = kBursts * kBurst;
constexpr std::uint32_t kCredit = 100'000;
constexpr std::uint32_t kUserData = 1400;
constexpr std::uint32_t kSdu = kBurst / 2 * (kUserData - delimiter::kFirstHeaderBytes);

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

EfcpPolicies reliable() {
    EfcpPolicies policies = EfcpPolicies::sluice_reliable(kCredit);
    policies.congestion = Congestion::none;
    return policies;
}

EfcpPolicies flow_control() {
    EfcpPolicies policies = EfcpPolicies::rlite_flow_control(kCredit);
    policies.dialect = Dialect::sluice;
    return policies;
}

class Sending {
  public:
    explicit Sending(const EfcpPolicies& policies)
        : connection_(std::make_unique<Connection>(ids_of(0), policies, rina::kDefaultFormat)),
          out_(std::make_unique<Outbox>()) {
        for (unsigned i = 0; i < kBurst; ++i) items_[i] = {static_cast<PduToken>(i), 64};
        ack_.pci = header_from(1);
        ack_.pci.type = static_cast<std::uint8_t>(rina::PduType::sack_flow_control);
        ack_.bytes = std::span(bytes_).first(rina::kDefaultFormat.control_bytes());
    }
    void burst() {
        now_ = now_ + Duration::microseconds(1);
        connection_->submit(now_, items_, *out_);
        sent_ += out_->send.size();
        out_->clear();
    }
    // The peer acknowledges everything and moves the window on.
    void acknowledge() {
        const std::uint64_t next = connection_->sender().next_sequence();
        rina::write_control({0, next, next + kCredit, next, 0, 0}, rina::kDefaultFormat,
                            bytes_.data());
        connection_->on_burst(now_ + Duration::microseconds(1), {&ack_, 1}, *out_);
        ++ack_.pci.sequence;
        out_->clear();
    }
    // One outbox has not the room to give back what a whole round trip was kept for.
    void give_back() {
        now_ = now_ + Duration::microseconds(1);
        while (connection_->next_deadline() <= now_) {
            connection_->on_timeout(now_, *out_);
            out_->clear();
        }
    }
    std::uint64_t sent() const { return sent_; }

  private:
    std::unique_ptr<Connection> connection_;
    std::unique_ptr<Outbox> out_;
    std::array<TxItem, kBurst> items_;
    std::array<std::byte, 64> bytes_;
    RxItem ack_;
    Instant now_{1'000'000'000};
    std::uint64_t sent_ = 0;
};

void check_all(benchmark::State& state, std::uint64_t done, std::uint64_t each) {
    if (done != each * state.iterations()) state.SkipWithError("a PDU was lost or refused");
}

void send_best_effort(benchmark::State& state) {
    Sending sending(EfcpPolicies::best_effort());
    measure(state, kPdus, [&] {
        for (unsigned i = 0; i < kBursts; ++i) sending.burst();
    });
    check_all(state, sending.sent(), kPdus);
}

void send_with_acks(benchmark::State& state) {
    Sending sending(reliable());
    measure(state, kPdus, [&] {
        for (unsigned i = 0; i < kBursts; ++i) {
            sending.burst();
            sending.acknowledge();
        }
    });
    check_all(state, sending.sent(), kPdus);
}

// A round trip's PDUs at a time, acknowledged while the clock stands: to stop it takes half a
// microsecond.
void send_reliable(benchmark::State& state) {
    constexpr unsigned kRoundTrip = 64;
    Sending sending(reliable());
    Cycles cycles;
    for ([[maybe_unused]] const auto& iteration : state) {
        cycles.time([&] {
            for (unsigned i = 0; i < kRoundTrip; ++i) sending.burst();
        });
        state.PauseTiming();
        sending.acknowledge();
        sending.give_back();
        state.ResumeTiming();
    }
    count(state, kRoundTrip * kBurst, cycles);
    check_all(state, sending.sent(), kRoundTrip * kBurst);
}

void receive(benchmark::State& state, const EfcpPolicies& policies) {
    const auto connection =
        std::make_unique<Connection>(ids_of(0), policies, rina::kDefaultFormat);
    const auto out = std::make_unique<Outbox>();
    std::array<RxItem, kBurst> items;
    for (RxItem& item : items) {
        item.pci = header_from(1);
        item.pci.length = 92;
    }
    std::uint32_t sequence = 0;
    Instant now{1'000'000'000};
    std::uint64_t delivered = 0;
    const auto burst = [&] {
        now = now + Duration::microseconds(1);
        for (RxItem& item : items) {
            item.pci.sequence = sequence++;
            item.pci.flags = item.pci.sequence == 0 ? rina::pci_flag::kDrf : 0;
        }
        connection->on_burst(now, items, *out);
        delivered += out->deliver.size();
        connection->consumed(now, static_cast<std::uint32_t>(out->deliver.size()), *out);
        out->clear();
    };
    measure(state, kPdus, [&] {
        for (unsigned i = 0; i < kBursts; ++i) burst();
    });
    check_all(state, delivered, kPdus);
}

// A PDU of an SDU that needs 16 of them.
void cut(benchmark::State& state) {
    std::uint64_t pdus = 0;
    measure(state, kPdus, [&] {
        for (unsigned sdu = 0; sdu < 2 * kBursts; ++sdu) {
            Fragmenter fragmenter(kSdu, kUserData);
            while (const auto fragment = fragmenter.next()) {
                keep(*fragment);
                ++pdus;
            }
        }
    });
    check_all(state, pdus, kPdus);
}

void put_together(benchmark::State& state) {
    std::vector<Fragment> fragments;
    Fragmenter fragmenter(kSdu, kUserData);
    while (const auto fragment = fragmenter.next()) fragments.push_back(*fragment);
    Reassembler reassembler({});
    std::uint64_t sequence = 0;
    std::uint64_t pieces = 0;
    measure(state, kPdus, [&] {
        for (unsigned i = 0; i < kPdus; ++i) {
            const Fragment& fragment = fragments[i % fragments.size()];
            reassembler.on_pdu(sequence++, static_cast<PduToken>(i), fragment.header,
                               fragment.header_bytes + fragment.bytes);
            while (reassembler.take_piece()) ++pieces;
        }
    });
    check_all(state, pieces, kPdus);
}

void concatenate(benchmark::State& state) {
    std::array<std::byte, kUserData> user_data;
    std::array<std::byte, 40> sdu{};
    measure(state, kPdus, [&] {
        for (unsigned pdu = 0; pdu < kBursts; ++pdu) {
            Concatenator concatenator(user_data);
            for (unsigned i = 0; i < kBurst; ++i) concatenator.add(sdu);
            keep(user_data);
        }
    });
}

void copy(benchmark::State& state) {
    constexpr std::size_t kLines = 4096;
    std::vector<std::array<std::byte, 64>> from(kLines), to(kLines);
    std::size_t at = 0;
    measure(state, kPdus, [&] {
        for (unsigned i = 0; i < kPdus; ++i, ++at) {
            std::memcpy(&to[at % kLines], &from[at % kLines], 64);
            asm volatile("" ::: "memory");
        }
    });
}

}  // namespace

void register_efcp() {
    const auto add_receive = [](const char* name, EfcpPolicies policies) {
        benchmark::RegisterBenchmark(name, receive, policies);
    };
    benchmark::RegisterBenchmark("efcp/copy of 64 B", copy);
    benchmark::RegisterBenchmark("efcp/DTP send, best effort", send_best_effort);
    benchmark::RegisterBenchmark("efcp/DTP send, reliable", send_reliable);
    benchmark::RegisterBenchmark("efcp/DTP send, reliable, with an acknowledgement for each 32",
                                 send_with_acks);
    add_receive("efcp/DTP receive in order, best effort", EfcpPolicies::best_effort());
    add_receive("efcp/DTP receive in order, flow control", flow_control());
    add_receive("efcp/DTP receive in order, reliable", reliable());
    add_receive("efcp/DTP receive in order, rlite's dialect", EfcpPolicies::rlite_reliable());
    benchmark::RegisterBenchmark("efcp/delimiting, cut", cut);
    benchmark::RegisterBenchmark("efcp/delimiting, put together", put_together);
    benchmark::RegisterBenchmark("efcp/delimiting, 40 B put into a PDU", concatenate);
}

}  // namespace sluice::bench

#include <catch2/catch.hpp>
#include <initializer_list>
#include <variant>
#include <vector>

#include "normal_dif/core/efcp/congestion.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/efcp/delimiting.hpp"
#include "normal_dif/core/efcp/policies.hpp"
#include "single.hpp"

// The bounds of policies, at them and one beyond: what a FlowRequest says comes from elsewhere.

using namespace sluice;
using namespace sluice::efcp;
using sluice::efcp::test::Single;

namespace {

struct Case {
    void (*change)(EfcpPolicies&);
    const char* message;  // nothing: that is possible
};

constexpr Duration kMost = Duration::seconds(600);
constexpr Duration kMore = Duration::seconds(601);

void check_all(const EfcpPolicies& from, std::initializer_list<Case> cases) {
    for (const Case& c : cases) {
        EfcpPolicies policies = from;
        c.change(policies);
        const auto result = check(policies, rina::PciFormat{});
        CHECK((result ? "" : result.error().message) == c.message);
    }
}

}  // namespace

TEST_CASE("times and counts at their bounds, and beyond", "[policies]") {
    check_all(
        EfcpPolicies::sluice_reliable(512),
        {{[](auto& p) { p.max_sdu_gap = -1; }, ""},
         {[](auto& p) { p.a_timer = p.mpl = kMost; }, ""},
         {[](auto& p) { p.a_timer = kMore; }, "EFCP: A-timer of 601 s; expected 0 to 600 s"},
         {[](auto& p) { p.mpl = kMore; },
          "EFCP: maximum PDU lifetime of 601 s; expected more than 0, up to 600 s"},
         {[](auto& p) { p.window->closed_queue_max = kCreditMax; }, ""},
         {[](auto& p) { p.window->closed_queue_max = kCreditMax + 1; },
          "EFCP: send queue of 16777217 PDUs; expected 1 to 16777216"},
         {[](auto& p) { p.rate = RatePolicy{1, kMost}; }, ""},
         {[](auto& p) { p.rate = RatePolicy{1, kMore}; },
          "EFCP rate: 1 PDUs in 601 s; expected 1 or more PDUs in up to 600 s"}});
}

TEST_CASE("retransmission at its bounds, and beyond", "[policies]") {
    check_all(
        EfcpPolicies::sluice_reliable(512),
        {{[](auto& p) { *p.retransmission = {kMost, 250, kMost}; }, ""},
         {[](auto& p) { p.retransmission->initial_timeout = kMore; },
          "EFCP retransmission: initial timeout of 601 s; expected up to 600 s"},
         {[](auto& p) { p.retransmission->retries_max = 251; },
          "EFCP retransmission: 251 retries; expected 1 to 250"},
         {[](auto& p) { p.retransmission->time_max = Duration{}; }, ""},
         {[](auto& p) { p.retransmission->time_max = kMore; },
          "EFCP retransmission: time limit of 601 s; expected 0 to 600 s"},
         {[](auto& p) { p.retransmission->time_max = Duration{-1}; },
          "EFCP retransmission: time limit of -1 ns; expected 0 to 600 s"}});
}

TEST_CASE("each part of DTCP needs DTCP", "[policies]") {
    const char* const kNeeds =
        "EFCP: flow control and retransmission need DTCP; expected dtcp_present";
    check_all(EfcpPolicies::best_effort(),
              {{[](auto& p) { p.window = WindowPolicy{}; }, kNeeds},
               {[](auto& p) { p.rate = RatePolicy{1, Duration::seconds(1)}; }, kNeeds},
               {[](auto& p) { p.retransmission = RetransmissionPolicy{}; }, kNeeds},
               {[](auto& p) {
                    p.dtcp_present = true;
                    p.rate = RatePolicy{1, Duration::seconds(1)};
                },
                ""}});
}

TEST_CASE("what rlite does not know, each by itself", "[policies]") {
    const char* const kUnknown =
        "EFCP: selective acknowledgement, large windows and delimiting are unknown to rlite; "
        "expected dialect sluice with them";
    check_all(EfcpPolicies::rlite_reliable(),
              {{[](auto& p) { p.sack = true; }, kUnknown},
               {[](auto& p) { p.large_windows = true; }, kUnknown},
               {[](auto& p) { p.delimiting = true; }, kUnknown},
               {[](auto& p) {
                    p.delimiting = p.large_windows = true;
                    p.dialect = Dialect::sluice;
                },
                ""}});
}

TEST_CASE("formats that cannot be are no formats for policies either", "[policies]") {
    rina::PciFormat odd;
    odd.sequence = 3;
    const auto result = check(EfcpPolicies::best_effort(), odd);
    REQUIRE_FALSE(result);
    CHECK(result.error().message ==
          "PCI format: sequence numbers of 3 bytes; expected 1, 2, 4 or 8");
}

TEST_CASE("without a time limit a flow is given up after its retries", "[policies]") {
    RetransmissionPolicy again;
    again.initial_timeout = Duration::seconds(2);
    again.retries_max = 3;
    CHECK(again.give_up() == Duration::seconds(6));
    again.time_max = Duration::seconds(5);
    CHECK(again.give_up() == Duration::seconds(5));
}

TEST_CASE("sixteen blocks are read, seventeen are none", "[policies]") {
    const rina::PciFormat format;
    std::vector<std::byte> pdu(control_bytes_max(format));
    const auto blocks = parse_sack(pdu, format);
    REQUIRE(blocks);
    CHECK(blocks->size() == kSackBlocksMax);
    pdu.resize(pdu.size() + 2 * format.sequence);
    CHECK_FALSE(parse_sack(pdu, format));
    pdu.resize(format.control_bytes() + 2 * format.sequence - 1);
    CHECK_FALSE(parse_sack(pdu, format));
    pdu.resize(format.control_bytes());
    REQUIRE(parse_sack(pdu, format));
    CHECK(parse_sack(pdu, format)->empty());
}

TEST_CASE("without congestion control nothing that happens is a limit", "[congestion]") {
    auto none = make_congestion(Congestion::none);
    AckSample sample;
    sample.delivered = 1;
    sample.lost = 100;
    sample.marked = sample.round_ended = true;
    std::visit([&](auto& policy) { policy.on_ack(sample); }, none);
    std::visit([](auto& policy) { policy.on_timeout(); }, none);
    const CongestionLimits limits =
        std::visit([](const auto& policy) { return policy.limits(); }, none);
    CHECK(limits.window == CongestionLimits::kAny);
    CHECK(limits.pdus_per_second == 0);
}

TEST_CASE("a connection knows its ends, its room, and whether it holds anything",
          "[connection]") {
    Single s(EfcpPolicies::sluice_reliable(16));
    CHECK(s.c.ids().local == s.item(0, 0, 0).pci.destination);
    CHECK(s.c.ids().remote_cep == s.item(0, 0, 0).pci.source_cep);
    CHECK(s.c.user_data_max() + s.format.bytes() == s.format.pdu_bytes_max());
    CHECK(s.c.holds_nothing());
    s.data(1);  // 0 is missing
    CHECK_FALSE(s.c.holds_nothing());
    s.data(0, rina::pci_flag::kDrf);
    CHECK(s.c.holds_nothing());
    s.submit(1);
    CHECK_FALSE(s.c.holds_nothing());
}

TEST_CASE("parts of an SDU are held until the last, or until the flow ends", "[delimiting]") {
    std::vector<std::byte> part(20);
    Reassembler reassembler({});
    CHECK(reassembler.held_bytes() == 0);
    part[0] = static_cast<std::byte>(delimiter::kFirst);
    rina::detail::store(part.data() + 1, std::uint32_t{1000});
    reassembler.on_pdu(0, PduToken{1}, part, 20);
    CHECK(reassembler.held_parts() == 1);
    CHECK(reassembler.held_bytes() == 20 - delimiter::kFirstHeaderBytes);
    CHECK_FALSE(reassembler.take_piece());
    reassembler.abandon();
    CHECK(reassembler.held_bytes() == 0);
    const auto dropped = reassembler.take_dropped();
    REQUIRE(dropped);
    CHECK(dropped->token == PduToken{1});
}

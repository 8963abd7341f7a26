#include <array>
#include <catch2/catch.hpp>

#include "normal_dif/core/rmt/rmt.hpp"
#include "pdus.hpp"
#include "rina/inet_checksum.hpp"

using namespace sluice;
using namespace sluice::rmt;
using rina::Address;
using rina::Pci;
using rina::PduType;
using test::all_up;
using test::Bytes;
using test::data_pci;
using test::pdu_of;
using test::rx;
using test::to_port;
using Kind = Decision::Kind;

namespace {

constexpr std::uint64_t kOwn = 2;

Pft small_table() {
    PftBuilder builder(1);
    REQUIRE(builder.add(Route{Address{5}, {}, to_port(11, 12)}));
    REQUIRE(builder.add(Route{Address{6}, {}, to_port(13)}));
    return std::move(*builder.build());
}

RmtParams params_of(const rina::PciFormat& format = rina::kDefaultFormat, bool inet = false) {
    RmtParams params;
    params.format = format;
    params.own = Address{kOwn};
    params.inet_checksum = inet;
    return params;
}

Decision decide(const Rmt& rmt, const RxPdu& pdu, const N1PortSet& up = all_up()) {
    static const Pft pft = small_table();
    std::array<Decision, 1> out;
    rmt.decide(std::span(&pdu, 1), pft, up, out);
    return out[0];
}

Pci of_type(Pci pci, PduType type) {
    pci.type = static_cast<std::uint8_t>(type);
    return pci;
}

Pci parsed(const Bytes& pdu, const rina::PciFormat& format = rina::kDefaultFormat) {
    Pci pci;
    REQUIRE(rina::parse(pdu, pdu.size(), format, pci) == rina::PciError::none);
    return pci;
}

}  // namespace

TEST_CASE("a PDU for somebody else is forwarded with a hop less, and else as it was") {
    for (const rina::PciFormat& format :
         {rina::kDefaultFormat, rina::kWideFormat, rina::PciFormat{1, 2, 2, 1, 1}}) {
        const Rmt rmt(params_of(format));
        Bytes frame = pdu_of(data_pci(5), 100, format);
        Bytes expected = frame;
        Pci pci = parsed(frame, format);
        --pci.ttl;
        rina::write(pci, format, expected.data());
        const Decision decision = decide(rmt, rx(frame));
        CHECK(decision.kind == Kind::forward);
        CHECK(decision.port == N1PortId{11});
        CHECK(decision.pci.length == frame.size());
        CHECK(frame == expected);
    }
}

TEST_CASE("the last hop") {
    const Rmt rmt(params_of());
    Pci pci = data_pci(5);
    pci.ttl = 1;
    Bytes frame = pdu_of(pci, 0);
    CHECK(decide(rmt, rx(frame)).kind == Kind::forward);
    CHECK(parsed(frame).ttl == 0);
    const Bytes before = frame;
    const Decision decision = decide(rmt, rx(frame));
    CHECK(decision.kind == Kind::drop);
    CHECK(decision.reason == DropReason::dif_ttl_expired);
    CHECK(frame == before);
    // At its destination it needs no hop any more.
    pci = data_pci(kOwn);
    pci.ttl = 0;
    frame = pdu_of(pci, 0);
    CHECK(decide(rmt, rx(frame)).kind == Kind::local);
}

TEST_CASE("what is for this IPC process") {
    const Rmt rmt(params_of());
    Bytes data = pdu_of(data_pci(kOwn), 10);
    const Bytes before = data;
    Decision decision = decide(rmt, rx(data));
    CHECK(decision.kind == Kind::local);
    CHECK(decision.pci == parsed(data));
    CHECK(data == before);

    Bytes control = pdu_of(of_type(data_pci(kOwn), PduType::ack_flow_control), 24);
    CHECK(decide(rmt, rx(control)).kind == Kind::local);

    for (const std::uint64_t destination : {kOwn, std::uint64_t{0}}) {
        Bytes management = pdu_of(of_type(data_pci(destination), PduType::management), 10);
        decision = decide(rmt, rx(management, 33));
        CHECK(decision.kind == Kind::management);
        CHECK(decision.port == N1PortId{33});
    }
    // Management for somebody else is relayed as data is.
    Bytes management = pdu_of(of_type(data_pci(5), PduType::management), 10);
    CHECK(decide(rmt, rx(management)).kind == Kind::forward);
}

TEST_CASE("address 0 is for management, and never routed") {
    PftBuilder builder(1);
    REQUIRE(builder.add(Route{kDefaultRoute, {}, to_port(1)}));
    const Pft pft = std::move(*builder.build());
    const Rmt rmt(params_of());
    for (const PduType type : {PduType::data, PduType::flow_control}) {
        Bytes frame = pdu_of(of_type(data_pci(0), type), 24);
        std::array<Decision, 1> out;
        const RxPdu pdu = rx(frame);
        rmt.decide(std::span(&pdu, 1), pft, all_up(), out);
        CHECK(out[0].kind == Kind::drop);
        CHECK(out[0].reason == DropReason::dif_no_destination);
    }
    CHECK(rmt.send(data_pci(0), pft, all_up()).reason == DropReason::dif_no_destination);
    const Pci management = of_type(data_pci(0), PduType::management);
    CHECK(rmt.send(management, pft, all_up()).kind == Kind::drop);
}

TEST_CASE("after a renumbering PDUs for the former address are somebody else's") {
    Rmt rmt(params_of());
    CHECK_FALSE(rmt.is_own(Address{0}));
    rmt.set_own(Address{9});
    Bytes frame = pdu_of(data_pci(9), 0);
    CHECK(decide(rmt, rx(frame)).kind == Kind::local);
    frame = pdu_of(data_pci(kOwn), 0);
    CHECK(decide(rmt, rx(frame)).reason == DropReason::dif_no_route);
    CHECK_FALSE(rmt.is_own(Address{0}));
}

TEST_CASE("a port may be for one source only, or for none") {
    Rmt rmt(params_of());
    REQUIRE(rmt.set_source(N1PortId{3}, Address{9}));
    REQUIRE(rmt.set_source(N1PortId{4}, kNoSource));
    CHECK(rmt.set_source(kNoN1Port, Address{9}).error().code == EINVAL);
    const auto look = [&](std::uint16_t port, std::uint64_t source, std::uint64_t destination,
                          PduType type = PduType::data) {
        Pci pci = of_type(data_pci(destination), type);
        pci.source = Address{source};
        Bytes frame = pdu_of(pci, 20);
        const Bytes before = frame;
        const Decision d = decide(rmt, rx(frame, port));
        if (d.kind == Kind::drop) {
            CHECK(d.reason == DropReason::dif_wrong_source);
            CHECK(frame == before);
        }
        return d.kind;
    };
    for (const std::uint64_t to : {std::uint64_t{5}, kOwn}) {
        const Kind goes = to == kOwn ? Kind::local : Kind::forward;
        CHECK(look(3, 9, to) == goes);
        CHECK(look(3, 8, to) == Kind::drop);
        CHECK(look(4, 9, to) == Kind::drop);
        CHECK(look(2, 8, to) == goes);  // nothing was said of it
        CHECK(look(5, 8, to) == goes);
        CHECK(look(kNoN1Port.value, 8, to) == goes);
    }
    CHECK(look(3, 8, kOwn, PduType::management) == Kind::drop);
    // Who joins has no address.
    CHECK(look(4, 0, 0, PduType::management) == Kind::management);
    REQUIRE(rmt.set_source(N1PortId{3}, kAnySource));
    CHECK(look(3, 8, 5) == Kind::forward);
}

TEST_CASE("lengths") {
    const Rmt rmt(params_of());
    Bytes frame = pdu_of(data_pci(5), 100);
    SECTION("padding is told by the PDU's length") {
        frame.resize(200);
        const Decision decision = decide(rmt, rx(frame));
        CHECK(decision.kind == Kind::forward);
        CHECK(decision.pci.length == 128);
    }
    SECTION("a frame that is cut off is dropped untouched") {
        frame.resize(127);
        const Bytes before = frame;
        const Decision decision = decide(rmt, rx(frame));
        CHECK(decision.kind == Kind::drop);
        CHECK(decision.reason == DropReason::dif_bad_length);
        CHECK(frame == before);
    }
    SECTION("less than a header, whatever is said of it") {
        for (std::size_t size = 0; size < 28; ++size) {
            Bytes part(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
            CHECK(decide(rmt, rx(part)).reason == DropReason::too_short);
            RxPdu pdu = rx(part);
            pdu.frame_bytes = 1000;
            CHECK(decide(rmt, pdu).reason == DropReason::too_short);
        }
        RxPdu pdu = rx(frame);
        pdu.frame_bytes = 27;
        CHECK(decide(rmt, pdu).reason == DropReason::too_short);
    }
    SECTION("a control PDU without its fields") {
        Bytes control = pdu_of(of_type(data_pci(kOwn), PduType::flow_control), 23);
        CHECK(decide(rmt, rx(control)).reason == DropReason::dif_bad_length);
    }
    SECTION("a type that is none") {
        frame[1] = std::byte{0x20};
        CHECK(decide(rmt, rx(frame)).reason == DropReason::dif_unknown_type);
    }
}

TEST_CASE("routes that lead nowhere") {
    const Rmt rmt(params_of());
    Bytes frame = pdu_of(data_pci(99), 0);
    CHECK(decide(rmt, rx(frame)).reason == DropReason::dif_no_route);
    frame = pdu_of(data_pci(5), 0);
    N1PortSet up = all_up();
    up.set(N1PortId{11}, false);
    CHECK(decide(rmt, rx(frame), up).port == N1PortId{12});
    up.set(N1PortId{12}, false);
    const Bytes before = frame;
    CHECK(decide(rmt, rx(frame), up).reason == DropReason::dif_n1_down);
    CHECK(frame == before);
}

TEST_CASE("a PDU does not go back where it came from, unless it may") {
    RmtParams params = params_of();
    Bytes frame = pdu_of(data_pci(5), 0);
    CHECK(decide(Rmt(params), rx(frame, 11)).reason == DropReason::dif_returning);
    CHECK(decide(Rmt(params), rx(frame, 12)).kind == Kind::forward);
    params.split_horizon = false;
    CHECK(decide(Rmt(params), rx(frame, 11)).kind == Kind::forward);
}

TEST_CASE("with an Internet checksum, what is forwarded has a true one") {
    const Rmt rmt(params_of(rina::kDefaultFormat, true));
    for (const int ttl : {1, 2, 63, 64, 255, 256, 257, 65535}) {
        for (std::size_t payload = 0; payload < 70; ++payload) {
            Pci pci = data_pci(5);
            pci.ttl = static_cast<std::uint16_t>(ttl);
            Bytes frame = pdu_of(pci, payload);
            rina::seal_inet_checksum(frame);
            REQUIRE(decide(rmt, rx(frame)).kind == Kind::forward);
            REQUIRE(parsed(frame).ttl == ttl - 1);
            REQUIRE(parsed(frame).checksum == rina::inet_checksum(frame));
            mark_congestion(frame.data(), true);
            REQUIRE((parsed(frame).flags & rina::pci_flag::kEcn) != 0);
            REQUIRE(parsed(frame).checksum == rina::inet_checksum(frame));
        }
    }
    // Without one the field is somebody else's.
    Bytes frame = pdu_of(data_pci(5), 0);
    decide(Rmt(params_of()), rx(frame));
    mark_congestion(frame.data(), false);
    CHECK(parsed(frame).checksum == 0);
    CHECK(parsed(frame).flags == rina::pci_flag::kEcn);
}

TEST_CASE("bursts longer than a pass keep their order") {
    const Rmt rmt(params_of());
    const Pft pft = small_table();
    std::vector<Bytes> frames;
    for (std::size_t i = 0; i < 100; ++i)
        frames.push_back(pdu_of(data_pci(i % 3 == 0 ? 5 : i % 3 == 1 ? kOwn : 99), i));
    std::vector<RxPdu> pdus;
    for (Bytes& frame : frames) pdus.push_back(rx(frame));
    std::vector<Decision> out(frames.size());
    rmt.decide(pdus, pft, all_up(), out);
    for (std::size_t i = 0; i < out.size(); ++i) {
        REQUIRE(out[i].kind == (i % 3 == 0   ? Kind::forward
                                : i % 3 == 1 ? Kind::local
                                             : Kind::drop));
        REQUIRE(out[i].pci.length == 28 + i);
        REQUIRE(parsed(frames[i]).ttl == (i % 3 == 0 ? 63 : 64));
    }
}

TEST_CASE("what this IPC process sends") {
    const Rmt rmt(params_of());
    const Pft pft = small_table();
    CHECK(rmt.send(data_pci(5), pft, all_up()).port == N1PortId{11});
    CHECK(rmt.send(data_pci(99), pft, all_up()).reason == DropReason::dif_no_route);
    CHECK(rmt.send(data_pci(5), pft, N1PortSet{}).reason == DropReason::dif_n1_down);
    SECTION("comes back if it is for itself") {
        CHECK(rmt.send(data_pci(kOwn), pft, all_up()).kind == Kind::local);
        const Pci management = of_type(data_pci(kOwn), PduType::management);
        CHECK(rmt.send(management, pft, all_up()).kind == Kind::management);
    }
    SECTION("a default entry changes nothing about that, an entry of its own does") {
        PftBuilder builder(1);
        REQUIRE(builder.add(Route{kDefaultRoute, {}, to_port(1)}));
        CHECK(rmt.send(data_pci(kOwn), *builder.build(), all_up()).kind == Kind::local);
        REQUIRE(builder.add(Route{Address{kOwn}, {}, to_port(2)}));
        const Decision decision = rmt.send(data_pci(kOwn), *builder.build(), all_up());
        CHECK(decision.kind == Kind::forward);
        CHECK(decision.port == N1PortId{2});
    }
}

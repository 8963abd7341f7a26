#include <array>
#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "normal_dif/core/rmt/policies.hpp"
#include "normal_dif/core/rmt/rmt.hpp"
#include "normal_dif/core/rmt/sched_qos.hpp"
#include "pdus.hpp"

// Tables that are larger than a cache, and parameters that are out of bounds.

using namespace sluice;
using namespace sluice::rmt;
using rina::Address;
using test::all_up;
using test::Bytes;
using test::data_pci;
using test::pdu_of;
using test::rx;
using test::to_port;

namespace {

constexpr std::uint64_t kOwn = 2;

RmtParams params_of(const rina::PciFormat& format) {
    RmtParams params;
    params.format = format;
    params.own = Address{kOwn};
    return params;
}
rina::PciFormat wide() {
    rina::PciFormat format;
    format.address = 8;
    return format;
}

// Members with addresses this far apart, each behind a port of its own number modulo 200.
Pft table_of(std::uint64_t apart) {
    PftBuilder builder(7);
    for (std::uint64_t i = 1; i <= 40'000; ++i)
        REQUIRE(builder.add(
            Route{Address{10 + i * apart}, {}, to_port(static_cast<std::uint16_t>(i % 200))}));
    return std::move(*builder.build());
}

}  // namespace

TEST_CASE("with a large table, what is decided is the same") {
    // An array, and tables of 32 and of 64 bits.
    const auto [apart, format] = GENERATE(table<std::uint64_t, rina::PciFormat>(
        {{1, rina::kDefaultFormat}, {100'003, rina::kDefaultFormat}, {1ull << 40, wide()}}));
    const Pft pft = table_of(apart);
    REQUIRE(pft.is_large());
    const Rmt rmt(params_of(format));
    struct Expected {
        Decision::Kind kind;
        std::uint16_t port;
    };
    std::vector<Bytes> frames;
    std::vector<Expected> expected;
    // More than two passes, with PDUs in between that go nowhere.
    for (std::uint64_t i = 1; i <= 100; ++i) {
        frames.push_back(pdu_of(data_pci(10 + i * 399 * apart), i, format));
        expected.push_back({Decision::Kind::forward, static_cast<std::uint16_t>(i * 399 % 200)});
        if (i % 3 == 0) {
            frames.push_back(pdu_of(data_pci(kOwn), i, format));
            expected.push_back({Decision::Kind::local, 0});
        }
        if (i % 5 == 0) {
            frames.push_back(pdu_of(data_pci(9), i, format));
            expected.push_back({Decision::Kind::drop, 0});
        }
        if (i % 7 == 0) {
            frames.emplace_back(5, std::byte{1});
            expected.push_back({Decision::Kind::drop, 0});
        }
    }
    std::vector<RxPdu> pdus;
    for (Bytes& frame : frames) pdus.push_back(rx(frame, 300));
    std::vector<Decision> out(pdus.size());
    rmt.decide(pdus, pft, all_up(), out);
    for (std::size_t i = 0; i < out.size(); ++i) {
        CAPTURE(i);
        REQUIRE(out[i].kind == expected[i].kind);
        if (out[i].kind == Decision::Kind::forward)
            REQUIRE(out[i].port == N1PortId{expected[i].port});
    }
    // Beyond all of them, and between two.
    CHECK(rmt.send(data_pci(10 + 40'001 * apart), pft, all_up()).reason ==
          DropReason::dif_no_route);
    if (apart > 1)
        CHECK(rmt.send(data_pci(11 + apart), pft, all_up()).reason == DropReason::dif_no_route);
}

TEST_CASE("an address of 64 bits is not that of its lower half") {
    const Pft pft = table_of(100'003);
    const Rmt rmt(params_of(wide()));
    const std::uint64_t known = 10 + 100'003;
    CHECK(rmt.send(data_pci(known), pft, all_up()).kind == Decision::Kind::forward);
    CHECK(rmt.send(data_pci(known + (1ull << 32)), pft, all_up()).reason ==
          DropReason::dif_no_route);
    CHECK(rmt.send(data_pci(known << 32), pft, all_up()).reason == DropReason::dif_no_route);
}

TEST_CASE("what was never said of a port need not be unsaid") {
    Rmt rmt(params_of(rina::kDefaultFormat));
    CHECK(rmt.set_source(N1PortId{5}, kAnySource));
    CHECK(rmt.set_source(N1PortId{3}, Address{7}));
    CHECK(rmt.set_source(N1PortId{2}, kAnySource));
    const auto bad = rmt.set_source(kNoN1Port, Address{7});
    REQUIRE_FALSE(bad);
    CHECK(bad.error().code == EINVAL);
    const Pft pft;
    Bytes frame = pdu_of(data_pci(kOwn, 8), 4);
    for (const auto& [port, kind] : std::map<std::uint16_t, Decision::Kind>{
             {2, Decision::Kind::local}, {3, Decision::Kind::drop}, {5, Decision::Kind::local}}) {
        CAPTURE(port);
        const RxPdu pdu = rx(frame, port);
        Decision out;
        rmt.decide({&pdu, 1}, pft, all_up(), {&out, 1});
        CHECK(out.kind == kind);
    }
}

TEST_CASE("QoS cubes that cannot be are refused, whoever makes them") {
    const auto refusal = [](auto change) -> std::string {
        QosScheduler::Params params;
        params.cubes.resize(2);
        params.cubes[1].id = rina::QosId{1};
        change(params);
        const auto made = QosScheduler::make(params);
        return made ? "" : made.error().message;
    };
    CHECK(refusal([](auto&) {}).empty());
    CHECK(refusal([](auto& p) { p.cubes.clear(); }) == "0 QoS cubes, expected 1 to 64");
    CHECK(refusal([](auto& p) { p.cubes.resize(65); }) == "65 QoS cubes, expected 1 to 64");
    CHECK(refusal([](auto& p) { p.otherwise = 2; }) ==
          "QoS cube number 2 is to take what no cube does, expected below 2");
    CHECK(refusal([](auto& p) { p.cubes[1].weight = 1000; }).empty());
    CHECK(refusal([](auto& p) { p.cubes[1].weight = 1001; }) ==
          "QoS cube 1: weight 1001, expected 1 to 1000");
    CHECK(refusal([](auto& p) { p.cubes[1].weight = 0; }) ==
          "QoS cube 1: weight 0, expected 1 to 1000");
    CHECK(refusal([](auto& p) { p.cubes[1].delay_class = 8; }) ==
          "QoS cube 1: delay class 8, expected 0 to 7");
    CHECK(refusal([](auto& p) { p.cubes[1].loss_class = 4; }) ==
          "QoS cube 1: loss class 4, expected 0 to 3");
    CHECK(refusal([](auto& p) { p.cubes[0].rate_bps = 7; }) ==
          "QoS cube 0: rate of 7 bit/s, expected 0 or 8 to 10000000000000");
    CHECK(refusal([](auto& p) { p.cubes[0].rate_bps = 10'000'000'000'001; }) ==
          "QoS cube 0: rate of 10000000000001 bit/s, expected 0 or 8 to 10000000000000");
    CHECK(refusal([](auto& p) { p.cubes[0].rate_bps = 8; }).empty());
    CHECK(refusal([](auto& p) { p.cubes[1].id = {}; }) ==
          "QoS cube 0 is given twice, expected once");
}

TEST_CASE("every policy counts what waits, in all and by queue") {
    for (const SchedulerPolicy& known : scheduler_policies()) {
        CAPTURE(known.name);
        auto scheduler = make_scheduler(known.name, {});
        REQUIRE(scheduler);
        const SchedItem items[] = {{PduToken{1}, 100, rina::QosId{0}},
                                   {PduToken{2}, 50, rina::QosId{1}},
                                   {PduToken{3}, 25, rina::QosId{60000}}};
        std::array<Enqueue, 3> results{};
        enqueue(*scheduler, Instant{}, items, results);
        const auto sum = [&] {
            Backlog all;
            for (std::size_t i = 0; i < queues(*scheduler); ++i) {
                all.pdus += queue_backlog(*scheduler, i).pdus;
                all.bytes += queue_backlog(*scheduler, i).bytes;
            }
            return all;
        };
        CHECK(backlog(*scheduler).pdus == 3);
        CHECK(backlog(*scheduler).bytes == 175);
        CHECK(sum().pdus == 3);
        CHECK(sum().bytes == 175);
        std::array<SchedItem, 1> first;
        REQUIRE(dequeue(*scheduler, Instant{}, 1500, first) == 1);
        CHECK(backlog(*scheduler).pdus == 2);
        CHECK(sum().bytes == backlog(*scheduler).bytes);
    }
}

#include <array>
#include <catch2/catch.hpp>
#include <vector>

#include "normal_dif/core/rmt/policies.hpp"

using namespace sluice;
using namespace sluice::rmt;
using policy::Param;
using rina::QosId;

namespace {

constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();

AnyScheduler made(std::string_view name, const std::vector<Param>& params = {}) {
    auto scheduler = make_scheduler(name, params);
    if (!scheduler) FAIL(scheduler.error().message);
    return std::move(*scheduler);
}

Enqueue put(AnyScheduler& scheduler, std::uintptr_t token, std::uint32_t bytes,
            std::uint16_t qos = 0, Instant now = {}) {
    const SchedItem item{PduToken{token}, bytes, QosId{qos}};
    std::array<Enqueue, 1> result{};
    enqueue(scheduler, now, std::span(&item, 1), result);
    return result[0];
}

std::vector<std::uintptr_t> take(AnyScheduler& scheduler, std::size_t count = 1000,
                                 std::uint64_t budget = kAll, Instant now = {}) {
    std::vector<SchedItem> out(count);
    out.resize(dequeue(scheduler, now, budget, out));
    std::vector<std::uintptr_t> tokens;
    for (const SchedItem& item : out) tokens.push_back(static_cast<std::uintptr_t>(item.token));
    return tokens;
}

using Tokens = std::vector<std::uintptr_t>;

Instant us(std::int64_t n) { return Instant{} + Duration::microseconds(n); }

}  // namespace

TEST_CASE("fifo") {
    AnyScheduler s = made("fifo", {{"queue_bytes", "1000"}, {"queue_pdus", "4"}});
    CHECK(take(s).empty());
    CHECK(put(s, 1, 400, 9) == Enqueue::accepted);
    CHECK(put(s, 2, 400, 0) == Enqueue::accepted);
    CHECK(put(s, 3, 201) == Enqueue::dropped);
    CHECK(put(s, 4, 199) == Enqueue::accepted);
    CHECK(put(s, 5, 1) == Enqueue::accepted);
    CHECK(put(s, 6, 0) == Enqueue::dropped);  // the fifth PDU
    CHECK(backlog(s) == Backlog{4, 1000});
    CHECK(take(s, 1) == Tokens{1});
    CHECK(take(s, 100, 598) == Tokens{2});  // not 5, which would fit, before 4
    CHECK(take(s, 100, 200) == Tokens{4, 5});
    CHECK(backlog(s) == Backlog{});
    const QueueStats& st = stats(s, 0);
    CHECK(st.pdus_in == 4);
    CHECK(st.bytes_in == 1000);
    CHECK(st.pdus_out == 4);
    CHECK(st.bytes_out == 1000);
    CHECK(st.pdus_dropped == 2);
    CHECK(st.bytes_dropped == 201);
    CHECK(st.bytes_highest == 1000);
}

TEST_CASE("an item keeps its length and QoS-id") {
    for (const SchedulerPolicy& known : scheduler_policies()) {
        AnyScheduler s = made(known.name);
        const SchedItem item{PduToken{7}, 123, QosId{3}};
        std::array<Enqueue, 1> result{};
        enqueue(s, {}, std::span(&item, 1), result);
        CHECK(result[0] == Enqueue::accepted);
        std::array<SchedItem, 2> out;
        CHECK(dequeue(s, {}, 122, out) == 0);
        REQUIRE(dequeue(s, {}, 123, out) == 1);
        CHECK(out[0] == item);
        CHECK(dequeue(s, {}, kAll, out) == 0);
    }
}

TEST_CASE("marks begin above the threshold") {
    for (const SchedulerPolicy& known : scheduler_policies()) {
        AnyScheduler s = made(known.name, {{"mark_bytes", "500"}});
        CHECK(put(s, 1, 500) == Enqueue::accepted);
        CHECK(put(s, 2, 1) == Enqueue::marked);
        CHECK(take(s, 1) == Tokens{1});
        CHECK(put(s, 3, 499) == Enqueue::accepted);
        CHECK(stats(s, 0).pdus_marked == 1);
    }
}

TEST_CASE("strict priority") {
    AnyScheduler s = made("pfifo", {{"levels", "3"}, {"queue_bytes", "100"}});
    put(s, 1, 50, 2);
    put(s, 2, 50, 65535);  // the last queue takes what is beyond it
    put(s, 3, 60, 1);
    put(s, 4, 10, 0);
    CHECK(put(s, 5, 1, 2) == Enqueue::dropped);
    CHECK(stats(s, 2).pdus_dropped == 1);
    CHECK(stats(s, 1).pdus_dropped == 0);
    CHECK(queue_backlog(s, 2) == Backlog{2, 100});
    CHECK(take(s, 100, 69) == Tokens{4});  // 3 is next, and 1 does not overtake it
    put(s, 6, 10, 0);
    CHECK(take(s) == Tokens{6, 3, 1, 2});
}

TEST_CASE("queue 63 exists, and turns go on behind it") {
    for (const char* name : {"wrr", "drr"}) {
        std::string weights = "1";
        for (int i = 1; i < 64; ++i) weights += ":1";
        AnyScheduler s = made(name, {{"weights", weights}});
        put(s, 1, 1500, 63);
        put(s, 2, 1500, 63);
        put(s, 3, 1500, 0);
        CHECK(take(s).size() == 3);
    }
    AnyScheduler s = made("pfifo", {{"levels", "64"}});
    put(s, 1, 1, 63);
    put(s, 2, 1, 62);
    CHECK(take(s) == Tokens{2, 1});
}

TEST_CASE("weighted round robin: turns by credit, the last PDU may overdraw, debts are kept") {
    AnyScheduler s = made("wrr", {{"weights", "1:2"}, {"quantum", "1000"}});
    for (std::uintptr_t i = 0; i < 6; ++i) {
        put(s, 10 + i, 600, 0);
        put(s, 20 + i, 1000, 1);
    }
    // Queue 1 has 2000: two. Queue 0 has 1000: 600, 600 and owes 200; then 800: 600, 600, owes 400.
    CHECK(take(s) == Tokens{20, 21, 10, 11, 22, 23, 12, 13, 24, 25, 14, 15});
}

TEST_CASE("deficit round robin: nothing is overdrawn, what is left counts") {
    AnyScheduler s = made("drr", {{"weights", "1:2"}, {"quantum", "1000"}});
    for (std::uintptr_t i = 0; i < 6; ++i) {
        put(s, 10 + i, 600, 0);
        put(s, 20 + i, 1000, 1);
    }
    // Queue 0 gets 1000: one, 400 left; then 1400: two, 200 left; then 1200: two.
    CHECK(take(s) == Tokens{20, 21, 10, 22, 23, 11, 12, 24, 25, 13, 14, 15});
}

TEST_CASE("deficit round robin: a queue that was empty begins anew; budgets do not end a turn") {
    AnyScheduler s = made("drr", {{"weights", "1:1"}, {"quantum", "1000"}});
    put(s, 1, 100, 1);
    CHECK(take(s) == Tokens{1});
    for (std::uintptr_t i = 0; i < 30; ++i) put(s, 100 + i, 100, 1);
    for (std::uintptr_t i = 0; i < 30; ++i) put(s, 200 + i, 100, 0);
    // 900 that were left over would make a first turn of 19.
    Tokens all;
    while (backlog(s).pdus > 0) {
        const Tokens some = take(s, 100, 150);
        REQUIRE(some.size() == 1);
        all.push_back(some[0]);
    }
    REQUIRE(all.size() == 60);
    for (std::size_t turn = 1; turn < 6; ++turn) {
        CAPTURE(turn);
        CHECK(all[10 * turn] / 100 != all[10 * turn - 1] / 100);
        CHECK(all[10 * turn] / 100 == all[10 * turn + 9] / 100);
    }
}

TEST_CASE("QoS cubes: deadlines of what is guaranteed") {
    // Delay classes of 100 us and 10 ms, 8 Mbit/s each: 1000 bytes are 1 ms.
    AnyScheduler s = made("qos", {{"delays_us", "100:10000"},
                                  {"cube.1", "rate=8M,burst=2000,delay=1"},
                                  {"cube.2", "rate=8M,burst=2000,delay=0"}});
    put(s, 10, 1000, 1, us(0));
    put(s, 20, 1000, 2, us(5));
    CHECK(take(s, 10, kAll, us(10)) == Tokens{20, 10});
    // 9.9 ms later an urgent PDU is only as urgent as one that has waited so long.
    put(s, 11, 100, 1, us(20000));
    put(s, 21, 100, 2, us(29901));
    CHECK(take(s, 10, kAll, us(29910)) == Tokens{11, 21});
}

TEST_CASE("QoS cubes: beyond its rate a cube has no deadline, only a share") {
    AnyScheduler s = made("qos", {{"delays_us", "100"},
                                  {"cube.1", "rate=8M,burst=2000"},
                                  {"cube.2", "weight=1"},
                                  {"shared_bytes", "1M"}});
    for (std::uintptr_t i = 0; i < 100; ++i) {
        REQUIRE(put(s, 100 + i, 1000, 1, us(0)) == Enqueue::accepted);
        REQUIRE(put(s, 200 + i, 1000, 2, us(0)) == Enqueue::accepted);
    }
    // The burst and one PDU are guaranteed, then they alternate.
    const Tokens first = take(s, 33, kAll, us(0));
    std::size_t of_cube_1 = 0;
    for (const std::uintptr_t token : first) of_cube_1 += token < 200 ? 1 : 0;
    CHECK(first[0] == 100);
    CHECK(first[1] == 101);
    CHECK(first[2] == 102);
    CHECK(of_cube_1 == 3 + 15);
    auto& qos = std::get<QosScheduler>(s);
    CHECK(qos.bytes_guaranteed(0) == 3000);
    // A millisecond is another PDU, whatever it had from the share.
    take(s, 1, kAll, us(1000));
    CHECK(qos.bytes_guaranteed(0) == 4000);
    take(s, 5, kAll, us(1001));
    CHECK(qos.bytes_guaranteed(0) == 4000);
}

TEST_CASE("QoS cubes: nothing starves, also when too much was promised") {
    AnyScheduler s = made("qos", {{"delays_us", "100"},
                                  {"cube.1", "rate=1G,burst=1M"},
                                  {"cube.2", "weight=1"},
                                  {"shared_bytes", "10M"}});
    std::uint64_t sent_2 = 0;
    std::uint64_t sent = 0;
    // A link of 100 Mbit/s: 1000 bytes in 80 us.
    for (std::int64_t t = 0; t < 2000; ++t) {
        put(s, 1, 1000, 1, us(80 * t));
        put(s, 1, 1000, 1, us(80 * t));
        put(s, 2, 1000, 2, us(80 * t));
        for (const std::uintptr_t token : take(s, 1, kAll, us(80 * t))) {
            ++sent;
            sent_2 += token == 2 ? 1 : 0;
        }
    }
    CHECK(sent == 2000);
    CHECK(sent_2 >= 2000 / 16 / 2 - 1);
    CHECK(sent_2 <= 2000 / 16 + 1);
}

TEST_CASE("QoS cubes: memory by loss class, and some for each") {
    AnyScheduler s = made("qos", {{"cube.1", "loss=0"},
                                  {"cube.2", "loss=3"},
                                  {"cube.3", "loss=3"},
                                  {"own_bytes", "1000"},
                                  {"shared_bytes", "4000"}});
    for (int i = 0; i < 2; ++i) CHECK(put(s, 1, 1000, 2) == Enqueue::accepted);
    CHECK(put(s, 1, 1000, 2) == Enqueue::dropped);  // a quarter of what is shared is its limit
    CHECK(put(s, 1, 1000, 3) == Enqueue::accepted);
    CHECK(put(s, 1, 1, 3) == Enqueue::dropped);
    for (int i = 0; i < 4; ++i) CHECK(put(s, 1, 1000, 1) == Enqueue::accepted);
    CHECK(put(s, 1, 1, 1) == Enqueue::dropped);
    CHECK(backlog(s) == Backlog{7, 7000});
    CHECK(stats(s, 0).pdus_dropped == 1);
    // All of it comes back.
    CHECK(take(s).size() == 7);
    for (int i = 0; i < 5; ++i) CHECK(put(s, 1, 1000, 1) == Enqueue::accepted);
    CHECK(put(s, 1, 1, 1) == Enqueue::dropped);
}

TEST_CASE("QoS cubes: QoS-ids that no cube has") {
    AnyScheduler s = made("qos", {{"cube.5", "delay=1"}, {"cube.900", ""}, {"default", "900"}});
    put(s, 1, 10, 5);
    put(s, 2, 10, 0);
    put(s, 3, 10, 65535);
    put(s, 4, 10, 900);
    CHECK(queue_backlog(s, 0).pdus == 1);
    CHECK(queue_backlog(s, 1).pdus == 3);
    CHECK(std::get<QosScheduler>(s).id(1) == QosId{900});
}

TEST_CASE("every policy is made by name and counts its queues") {
    std::vector<std::string_view> names;
    for (const SchedulerPolicy& known : scheduler_policies()) {
        names.push_back(known.name);
        CHECK_FALSE(known.help.empty());
        CHECK(queues(made(known.name)) >= 1);
    }
    CHECK(names == std::vector<std::string_view>{"fifo", "pfifo", "wrr", "drr", "qos"});
    CHECK(queues(made("pfifo", {{"levels", "8"}})) == 8);
    CHECK(queues(made("wrr", {{"weights", "1:2:3"}})) == 3);
}

TEST_CASE("parameters that are wrong are named, with what was expected") {
    const auto error = [](std::string_view name, const std::vector<Param>& params) {
        auto scheduler = make_scheduler(name, params);
        return scheduler ? std::string() : scheduler.error().message;
    };
    CHECK(error("red", {}) ==
          "scheduler 'red' is not known, expected one of fifo, pfifo, wrr, drr, qos");
    CHECK(error("fifo", {{"levels", "2"}}) ==
          "scheduler fifo: parameter 'levels' is not known, expected one of queue_bytes, "
          "queue_pdus, mark_bytes");
    CHECK(error("pfifo", {{"levels", "65"}}) ==
          "scheduler pfifo: parameter 'levels' is '65', expected a number from 1 to 64");
    CHECK(error("pfifo", {{"levels", "2"}, {"levels", "3"}}) ==
          "scheduler pfifo: parameter 'levels' is given twice, expected once");
    for (const char* bad : {"", "1:", ":1", "1:0", "1;2", "1:2x", "-1", "1001"})
        CHECK(error("wrr", {{"weights", bad}}) ==
              fmt::format("scheduler wrr: parameter 'weights' is '{}', expected up to 64 numbers "
                          "from 1 to 1000 with colons between them",
                          bad));
    CHECK(error("drr", {{"quantum", "255"}}) ==
          "scheduler drr: parameter 'quantum' is '255', expected a number from 256 to 1048576");
    CHECK(error("qos", {{"cube.1", "rate=1G"}, {"link", "1G"}}) ==
          "scheduler qos: QoS cubes are guaranteed 1000000000 bit/s, expected at most 937500000, "
          "15/16 of the link");
    CHECK(error("qos", {{"cube.1", "rate=937500k"}, {"link", "1G"}}).empty());
    CHECK(error("qos", {{"cube.1", "rate"}}) ==
          "scheduler qos: parameter 'cube.1' has 'rate', expected KEY=NUMBER");
    CHECK(error("qos", {{"cube.1", "speed=1"}}) ==
          "scheduler qos, cube.1: parameter 'speed' is not known, expected one of rate, burst, "
          "weight, delay, loss");
    CHECK(error("qos", {{"cube.1", "delay=8"}}) ==
          "scheduler qos, cube.1: parameter 'delay' is '8', expected a number from 0 to 7");
    CHECK(error("qos", {{"cube.x", ""}}) ==
          "scheduler qos: parameter 'cube.x' is not known, expected 'cube.' and a number up to "
          "65535");
    CHECK(error("qos", {{"cube.1", ""}, {"cube.01", ""}}) ==
          "scheduler qos: QoS cube 1 is given twice, expected once");
    CHECK(error("qos", {{"cube.1", ""}, {"default", "2"}}) ==
          "scheduler qos: parameter 'default' is 2, expected the number of a cube");
    CHECK(error("qos", {{"cube", ""}}) ==
          "scheduler qos: parameter 'cube' is not known, expected one of cube.N, delays_us, "
          "shared_bytes, own_bytes, queue_pdus, mark_bytes, link, default");
}

TEST_CASE("numbers with units") {
    std::uint64_t n = 0;
    CHECK((policy::parse_number("0", n) && n == 0));
    CHECK((policy::parse_number("10k", n) && n == 10000));
    CHECK((policy::parse_number("2M", n) && n == 2000000));
    CHECK((policy::parse_number("18446744073G", n) && n == 18446744073000000000u));
    for (const char* bad : {"", "k", "1K", "1kk", " 1", "1 ", "+1", "1.5k", "18446744074G",
                            "18446744073709551616"})
        CHECK_FALSE(policy::parse_number(bad, n));
}

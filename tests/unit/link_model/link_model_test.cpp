#include <catch2/catch.hpp>

#include "link_model/link_model.hpp"

using namespace sluice;
using namespace sluice::link_model;

TEST_CASE("a link without effects passes everything at once", "[link_model]") {
    LinkModel link;
    Rng rng(1);
    const LinkVerdict v = link.apply(Instant{5}, rng, 1500);
    CHECK(v.fate == Fate::pass);
    CHECK(v.copies == 1);
    CHECK(v.at[0] == Instant{5});
}

TEST_CASE("loss and duplication happen as often as they were asked for", "[link_model]") {
    Config config;
    config.loss = Loss::uniform(0.2);
    config.duplicate = 0.1;
    LinkModel link(config);
    Rng rng(7);
    int lost = 0;
    int doubled = 0;
    for (int i = 0; i < 100000; ++i) {
        const LinkVerdict v = link.apply(Instant{i}, rng, 100);
        lost += v.fate == Fate::lost ? 1 : 0;
        doubled += v.copies == 2 ? 1 : 0;
        CHECK((v.fate == Fate::pass) == (v.copies > 0));
    }
    CHECK(lost > 19000);
    CHECK(lost < 21000);
    CHECK(doubled > 7500);
    CHECK(doubled < 8500);
}

TEST_CASE("burst loss comes in runs of the expected length", "[link_model]") {
    Config config;
    config.loss = Loss::burst(0.01, 0.25);
    LinkModel link(config);
    Rng rng(3);
    int lost = 0;
    int runs = 0;
    bool before = false;
    for (int i = 0; i < 200000; ++i) {
        const bool is_lost = link.apply(Instant{i}, rng, 100).fate == Fate::lost;
        lost += is_lost ? 1 : 0;
        runs += is_lost && !before ? 1 : 0;
        before = is_lost;
    }
    REQUIRE(runs > 0);
    const double mean = static_cast<double>(lost) / runs;
    CHECK(mean > 3.7);
    CHECK(mean < 4.3);
}

TEST_CASE("the rate spaces frames, and room is limited", "[link_model]") {
    Config config;
    config.rate = Rate::limited(8000000, 3000);  // 1 byte a microsecond
    config.delay = Delay::fixed(Duration::milliseconds(1));
    LinkModel link(config);
    Rng rng(1);
    CHECK(link.apply(Instant{0}, rng, 1500).at[0] == Instant{1500000 + 1000000});
    CHECK(link.apply(Instant{0}, rng, 1500).at[0] == Instant{3000000 + 1000000});
    CHECK(link.apply(Instant{0}, rng, 1500).fate == Fate::no_room);
    CHECK(link.backlog_bytes(Instant{0}) == 3000);
    CHECK(link.backlog_bytes(Instant{1500000}) == 1500);
    CHECK(link.apply(Instant{1500000}, rng, 1500).at[0] == Instant{4500000 + 1000000});
    CHECK(link.backlog_bytes(Instant{9000000}) == 0);
}

TEST_CASE("order is kept by any delay, and broken only by reordering", "[link_model]") {
    Config config;
    config.delay = Delay::uniform(Duration::milliseconds(1), Duration::milliseconds(9));
    config.duplicate = 0.2;
    LinkModel link(config);
    Rng rng(11);
    Instant last{};
    for (int i = 0; i < 10000; ++i) {
        const LinkVerdict v = link.apply(Instant{i * 1000}, rng, 100);
        for (int copy = 0; copy < v.copies; ++copy) {
            CHECK(v.at[copy] >= last);
            last = v.at[copy];
        }
    }
    config.reorder = Reorder::late(0.1, Duration::milliseconds(20));
    link.set_config(config);
    int overtaken = 0;
    for (int i = 0; i < 10000; ++i)
        overtaken += link.apply(last, rng, 100).overtaken ? 1 : 0;
    CHECK(overtaken > 900);
    CHECK(overtaken < 1100);
}

TEST_CASE("the same seed draws the same fates", "[link_model]") {
    Config config;
    config.loss = Loss::burst(0.1, 0.5, 0.8);
    config.duplicate = 0.1;
    config.delay = Delay::uniform(Duration{0}, Duration{1000});
    config.reorder = Reorder::late(0.1, Duration{500});
    LinkModel a(config);
    LinkModel b(config);
    Rng rng_a(42);
    Rng rng_b(42);
    for (int i = 0; i < 1000; ++i) {
        const LinkVerdict va = a.apply(Instant{i}, rng_a, 64);
        const LinkVerdict vb = b.apply(Instant{i}, rng_b, 64);
        CHECK(va.fate == vb.fate);
        CHECK(va.copies == vb.copies);
        CHECK(va.at[0] == vb.at[0]);
        CHECK(va.at[1] == vb.at[1]);
    }
}

TEST_CASE("configurations that make no sense are refused", "[link_model]") {
    const auto bad = [](auto change) {
        Config c;
        change(c);
        return !check(c).has_value();
    };
    CHECK(check(Config{}));
    CHECK(bad([](Config& c) { c.loss = Loss::uniform(1.1); }));
    CHECK(bad([](Config& c) { c.duplicate = -0.1; }));
    CHECK(bad([](Config& c) { c.loss = Loss::burst(0.1, 0); }));
    CHECK(bad([](Config& c) { c.rate = Rate::limited(0, 100); }));
    CHECK(bad([](Config& c) { c.delay = Delay::uniform(Duration{2}, Duration{1}); }));
    CHECK(bad([](Config& c) { c.reorder = Reorder::late(0.1, Duration{-1}); }));
}

#include "control/units.hpp"

#include <catch2/catch.hpp>

using namespace sluice;
using namespace sluice::control;

TEST_CASE("numbers parse completely or not at all") {
    CHECK(parse_uint("42") == 42u);
    CHECK(parse_uint("0x2a") == 42u);
    CHECK(parse_uint("18446744073709551615") == UINT64_MAX);
    for (const char* bad : {"", "-1", "+1", "1 ", " 1", "1k", "18446744073709551616", "0x", "0xg"})
        CHECK_FALSE(parse_uint(bad));
    CHECK(parse_int("-42") == -42);
    CHECK_FALSE(parse_int("4.2"));
    CHECK(parse_real("1e-3") == 1e-3);
    for (const char* bad : {"", "nan", "inf", "1e999", "1,5"}) CHECK_FALSE(parse_real(bad));
}

TEST_CASE("shares are between 0 and 1") {
    CHECK(parse_share("0.25") == 0.25);
    CHECK(parse_share("1%") == 0.01);
    CHECK(parse_share("100%") == 1.0);
    for (const char* bad : {"", "%", "101%", "1.1", "-0.1"}) CHECK_FALSE(parse_share(bad));
}

TEST_CASE("rates are powers of 1000, sizes of 1024") {
    CHECK(parse_rate("800") == 800u);
    CHECK(parse_rate("1k") == 1000u);
    CHECK(parse_rate("10M") == 10000000u);
    CHECK(parse_rate("2.5G") == 2500000000u);
    for (const char* bad : {"", "k", "1kk", "1.5", "1.", ".5M", "-1M", "10Mbps", "99999999999T"})
        CHECK_FALSE(parse_rate(bad));
    CHECK(parse_size("2K") == 2048u);
    CHECK(parse_size("64KiB") == 65536u);
    CHECK(parse_size("1.5G") == 1610612736u);
    CHECK(parse_size("9B") == 9u);
    for (const char* bad : {"", "1KB", "1Ki", "1i", "2KK", "1.5", "99999999T"})
        CHECK_FALSE(parse_size(bad));
}

TEST_CASE("durations need a unit") {
    CHECK(parse_duration("10s") == Duration::seconds(10));
    CHECK(parse_duration("5ms") == Duration::milliseconds(5));
    CHECK(parse_duration("2us") == Duration::microseconds(2));
    CHECK(parse_duration("1.5s") == Duration::milliseconds(1500));
    CHECK(parse_duration("100ns") == Duration::nanoseconds(100));
    CHECK(parse_duration("2min") == Duration::seconds(120));
    CHECK(parse_duration("0") == Duration{});
    for (const char* bad : {"", "5", "-5ms", "5 ms", "5m", "9999999999999h"})
        CHECK_FALSE(parse_duration(bad));
}
